"""A spec on a hardware profile: what the profile fills in, and which form of the model suits it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from agentfleet.errors import InvalidSpec
from agentfleet.planning.quantization import advice
from agentfleet.planning.sizing_types import gib
from agentfleet.resources.base import Contract, quantity_value
from agentfleet.resources.model import Model, Variant
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.pods import EnvVar, Placement, Resources
from agentfleet.resources.profile import Profile
from agentfleet.settings import Settings

_Part = TypeVar("_Part", bound=Contract)


@dataclass(frozen=True)
class Candidate:
    """One way to run a ModelServer."""

    profile: str | None
    server: ModelServer
    """The server with the profile's fields and the form of the model that goes with them."""
    memory: int | None
    """Bytes that the profile has for the model; None where that is not known."""
    notes: tuple[str, ...] = ()


def candidates(server: ModelServer, settings: Settings) -> tuple[Candidate, ...]:
    """The server on each of its profiles, in order of preference; as it is where it names none.

    A profile that cannot run the model at all is left out; InvalidSpec where none can, or where a name is unknown.
    """
    names = server.spec.profiles or ((server.spec.profile,) if server.spec.profile else ())
    if not names:
        return (Candidate(None, server, _memory(server, None)),)
    found, problems = [], []
    for name in names:
        profile = settings.profiles.get(name)
        if profile is None:
            legal = ", ".join(sorted(settings.profiles)) or "none"
            raise InvalidSpec("NoSuchProfile", f"profile {name} is not in the operator's settings; those are: {legal}.")
        merged = with_profile(server, profile)
        if lacking := _lacking_gpus(name, merged):
            problems.append(lacking)
            continue
        forms = list(_forms(name, merged, server, profile))
        found += forms
        if not forms:
            problems.append(f"profile {name} runs engine {profile.engine}, for which model.variants has nothing")
    if not found:
        raise InvalidSpec("NoUsableProfile", "; ".join(problems) + ".")
    return tuple(found)


def with_profile(server: ModelServer, profile: Profile) -> ModelServer:
    """The server with the profile's fields where its own spec has none."""
    spec = server.spec
    other = profile.engine is not None and profile.engine != spec.engine
    update: dict[str, Any] = {
        "engine": profile.engine or spec.engine,
        # An image and arguments are made for one engine.
        "image": profile.image if other else spec.image or profile.image,
        "extra_args": () if other else spec.extra_args,
        "scenario": None if other and profile.engine != "VLLM" else spec.scenario,
        "adapters": () if other and profile.engine != "VLLM" else spec.adapters,
        "gpu": profile.gpu if other else _merged(spec.gpu, profile.gpu),
        "parallelism": profile.parallelism if other else _merged(spec.parallelism, profile.parallelism),
        "resources": _resources(spec.resources, profile.resources),
        "placement": _placement(spec.placement, profile),
        "vllm": _merged(spec.vllm, profile.vllm),
        "llama_cpp": _merged(spec.llama_cpp, profile.llama_cpp),
        "ollama": _merged(spec.ollama, profile.ollama),
        "env": _env(spec.env, profile),
    }
    return server.model_copy(update={"spec": spec.model_copy(update=update)})


def _forms(name: str, server: ModelServer, asked: ModelServer, profile: Profile) -> Iterable[Candidate]:
    """The model itself where its engine is the profile's, then its variants for that engine that have the memory."""
    memory = _memory(server, profile)
    if server.spec.engine == asked.spec.engine:
        yield Candidate(name, server, memory)
    for variant in _by_advice(asked.model.variants, memory):
        if (variant.engine or asked.spec.engine) != server.spec.engine:
            continue
        if variant.memory and memory is not None and quantity_value(variant.memory) > memory:
            continue
        form: Model = asked.model.model_copy(update={"uri": variant.uri, "sha256": variant.sha256, "facts": None})
        form = form.model_copy(update={"name": asked.model_name})
        spec = server.spec.model_copy(update={"model": form})
        notes = [f"Variant {variant.name} of the model is used ({variant.uri})."]
        if memory is not None and _is_advised(variant, memory):
            found = advice(memory)
            notes.append(
                f"{found.quantization} is advised for {gib(memory)}, a {found.device.lower()} device"
                f" ({found.models} model{'s' if found.models > 1 else ''} at once): {found.reason}."
            )
        yield Candidate(name, server.model_copy(update={"spec": spec}), memory, tuple(notes))


def _by_advice(variants: tuple[Variant, ...], memory: int | None) -> list[Variant]:
    """Variants in order of preference: as the spec lists them, but where none says what memory it needs, the one whose
    file name tells the quantization that suits the profile's memory comes first."""
    if memory is None or any(variant.memory for variant in variants):
        return list(variants)
    return sorted(variants, key=lambda variant: not _is_advised(variant, memory))


def _is_advised(variant: Variant, memory: int) -> bool:
    return advice(memory).quantization.lower() in variant.uri.lower()


def _memory(server: ModelServer, profile: Profile | None) -> int | None:
    """What there is for the model: the profile's word, else GPU memory × GPUs, else the memory limit."""
    if profile and profile.memory:
        return quantity_value(profile.memory)
    gpu = server.spec.gpu
    if gpu and gpu.memory and gpu.count != 0:
        tensor, pipeline = _sizes(server)
        return quantity_value(gpu.memory) * (gpu.count or tensor * pipeline)
    limits = (server.spec.resources.limits if server.spec.resources else None) or {}
    return quantity_value(limits["memory"]) if "memory" in limits and gpu and gpu.count == 0 else None


def _sizes(server: ModelServer) -> tuple[int, int]:
    """Parallel sizes as far as they are numbers."""
    parallelism = server.spec.parallelism
    tensor, pipeline = (parallelism.tensor, parallelism.pipeline) if parallelism else (None, None)
    return (tensor if isinstance(tensor, int) else 1), (pipeline if isinstance(pipeline, int) else 1)


def _lacking_gpus(name: str, server: ModelServer) -> str | None:
    """What the API server checks of a spec alone, for a spec with its profile; None where all is well."""
    tensor, pipeline = _sizes(server)
    count = server.spec.gpu.count if server.spec.gpu else None
    if server.spec.engine == "VLLM" and count and count < tensor * pipeline:
        return f"profile {name}: gpu.count is {count}, but parallelism.tensor × pipeline is {tensor * pipeline}"
    return None


def _merged(own: _Part | None, profiles: _Part | None) -> _Part | None:
    """`own` with the profile's values in fields that it leaves unset."""
    if own is None or profiles is None:
        return own or profiles
    unset = {name for name in type(own).model_fields if getattr(own, name) in (None, ())}
    return own.model_copy(update={name: getattr(profiles, name) for name in unset})


def _resources(own: Resources | None, profiles: Resources | None) -> Resources | None:
    if own is None or profiles is None:
        return own or profiles
    return Resources(
        requests={**(profiles.requests or {}), **(own.requests or {})} or None,
        limits={**(profiles.limits or {}), **(own.limits or {})} or None,
    )


def _placement(own: Placement | None, profile: Profile) -> Placement | None:
    if not (profile.node_selector or profile.tolerations or profile.scheduler_name or profile.priority_class_name):
        return own
    base = own or Placement()
    return base.model_copy(
        update={
            "node_selector": {**(profile.node_selector or {}), **(base.node_selector or {})} or None,
            "tolerations": (*base.tolerations, *profile.tolerations),
            "scheduler_name": base.scheduler_name or profile.scheduler_name,
            "priority_class_name": base.priority_class_name or profile.priority_class_name,
        }
    )


def _env(own: tuple[EnvVar, ...], profile: Profile) -> tuple[EnvVar, ...]:
    given = {variable.name for variable in own}
    more = (EnvVar(name=name, value=value) for name, value in sorted((profile.env or {}).items()) if name not in given)
    return (*own, *more)
