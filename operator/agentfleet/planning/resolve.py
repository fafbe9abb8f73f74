"""A spec with all that it leaves open filled in: profile, scenario, parallel sizes, pinned revision. Pure.

    spec ─ profiles (what the nodes have room for) ─ scenario (a table) ─ sizing (facts and GPU memory) ─▶ resolved spec

The result is an ordinary ModelServer, so engines and manifests know nothing of profiles, scenarios or Auto. What the
spec says itself is never changed; what is chosen, and why, goes to status.plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agentfleet.engines import ENGINES
from agentfleet.engines.base import gpu_count, node_count, parallel_sizes
from agentfleet.engines.sources import parse_source
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.names import digest
from agentfleet.planning.demands import demand_of
from agentfleet.planning.filled import with_nodes, with_numbers, with_revision, with_sizing
from agentfleet.planning.hardware import Choice, choose, gpu_memory_of, gpus_per_node
from agentfleet.planning.kv_type import kv_cache_bits
from agentfleet.planning.nodes import Demand, NodeView
from agentfleet.planning.profiles import Candidate, candidates
from agentfleet.planning.scenarios import with_scenario
from agentfleet.planning.sizing import size
from agentfleet.planning.sizing_types import Sizing, SizingRequest
from agentfleet.resources.base import quantity_value
from agentfleet.resources.engine_options import VLLMOptions
from agentfleet.resources.facts import ModelFacts
from agentfleet.resources.gpu import Parallelism
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import SizePlan, SourceFacts
from agentfleet.settings import Settings

_LONGEST_NOTE = 512
_MOST_NOTES = 32
_NOT_OF_PODS = ("replicas", "scaling", "thresholds")


@dataclass(frozen=True)
class Basis:
    """The hardware that sizes are reckoned with; None is unknown."""

    gpu_memory: int | None = None
    """Bytes of one GPU."""
    gpus_per_node: int | None = None


@dataclass(frozen=True)
class Situation:
    """What resolving looks at besides spec and settings. None and absent are unknown."""

    now: datetime
    nodes: tuple[NodeView, ...] | None = None
    sources: Mapping[str, SourceFacts] = field(default_factory=dict)
    """By URI: what was read of the model's files."""
    profile: str | None = None
    """The profile that runs now."""
    better: Mapping[str, datetime] = field(default_factory=dict)
    """Better profiles that had room at the last look, and since when."""
    settled: Basis | None = None
    """What the sizes of this very spec were reckoned with before; None while it is new."""
    held: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Node → what the server's own pods hold there."""


@dataclass(frozen=True)
class Resolution:
    """A server that can be built, and how it came about."""

    server: ModelServer
    plan: SizePlan
    profile: str | None = None
    better: Mapping[str, datetime] = field(default_factory=dict)
    """Better profiles that have room now, and since when."""
    after: float | None = None
    """Seconds after which the choice of profile may change without an event."""
    inspect: ModelServer | None = None
    """Set where the files of this server's model have to be read before anything is decided."""


@dataclass(frozen=True)
class _Sized:
    candidate: Candidate
    server: ModelServer
    sizing: Sizing | None
    notes: tuple[str, ...]
    unknown: bool
    """The model's files have to be read first."""
    basis: Basis


def resolve(server: ModelServer, situation: Situation, settings: Settings) -> Resolution:
    """The resolved server; InvalidSpec where no profile can run it, or where its explicit sizes cannot work."""
    sized, refused = _sized_by_profile(server, situation, settings)
    choice = _choose(server, sized, situation, settings)
    chosen = sized[choice.name if choice else next(iter(sized))]
    why = (choice.text, *(f"{name}: {text}." for name, text in choice.rejected)) if choice else ()
    return Resolution(
        server=chosen.server,
        plan=_plan(chosen, (*refused, *why), choice, wish_digest(server)),
        profile=chosen.candidate.profile,
        better=choice.since if choice else {},
        after=choice.after if choice else None,
        inspect=chosen.server if chosen.unknown else None,
    )


def wish_digest(server: ModelServer) -> str:
    """Tells one spec from another but for what changes no pod: how many there are, and what is watched."""
    return digest({name: value for name, value in server.spec.dump().items() if name not in _NOT_OF_PODS})


def _choose(
    server: ModelServer, sized: Mapping[str | None, _Sized], situation: Situation, settings: Settings
) -> Choice | None:
    """The profile that the nodes have room for; None where there is nothing to choose."""
    if not server.spec.profiles:
        return None
    return choose(
        [(name, _demand(each.server, settings)) for name, each in sized.items() if name is not None],
        situation.nodes,
        server.replicas,
        current=situation.profile,
        held=situation.held,
        since=situation.better,
        now=situation.now,
        dwell=settings.profile_dwell,
    )


def _sized_by_profile(
    server: ModelServer, situation: Situation, settings: Settings
) -> tuple[dict[str | None, _Sized], tuple[str, ...]]:
    """Each profile with the first form of the model that can run on it; and why the others cannot."""
    sized: dict[str | None, _Sized] = {}
    refusals: list[InvalidSpec] = []
    notes: list[str] = []
    for candidate in candidates(server, settings):
        if candidate.profile in sized:
            continue
        try:
            sized[candidate.profile] = _size(candidate, situation, settings)
        except InvalidSpec as error:
            refusals.append(error)
            notes.append(f"{candidate.profile or 'The spec'}: {error.message}")
    if not sized:
        raise refusals[0]
    return sized, tuple(notes)


def _size(candidate: Candidate, situation: Situation, settings: Settings) -> _Sized:
    server = candidate.server
    source = situation.sources.get(server.model.uri)
    facts = known_facts(server, source)
    # Files that were read and tell nothing are no reason to read them again.
    unknown = source is None and needs_facts(server)
    server, notes = with_scenario(with_revision(server, source), facts)
    notes = (*candidate.notes, *notes)
    basis = _basis(candidate, server, situation, settings)
    if facts is None:
        untold = () if source is None else ("The model's files do not tell its shape: give it in model.facts.",)
        server = with_nodes(with_numbers(server), basis.gpus_per_node)
        return _Sized(candidate, server, None, (*notes, *untold), unknown, basis)
    # Facts that came along with a download judge and change nothing: what runs, runs.
    informative = server.model.facts is None and not needs_facts(candidate.server)
    try:
        sizing = size(sizing_request(server, facts, basis, firm=_names_its_length(candidate.server)))
    except InvalidSpec as error:
        if informative:
            plain = with_nodes(with_numbers(server), basis.gpus_per_node)
            return _Sized(candidate, plain, None, (*notes, error.message), unknown, basis)
        raise
    if informative:
        plain = with_nodes(with_numbers(server), basis.gpus_per_node)
        return _Sized(candidate, plain, sizing, (*notes, *sizing.explanation), unknown, basis)
    return _Sized(candidate, with_sizing(server, sizing), sizing, (*notes, *sizing.explanation), unknown, basis)


def _basis(candidate: Candidate, server: ModelServer, situation: Situation, settings: Settings) -> Basis:
    """What the sizes are reckoned with. It is settled while a spec or its profile is new and kept then: a node that
    comes or goes must not lay out anew, or refuse, what runs."""
    if situation.settled is not None and candidate.profile == situation.profile:
        return situation.settled
    return basis_of(server, situation.nodes, settings)


def basis_of(server: ModelServer, nodes: tuple[NodeView, ...] | None, settings: Settings) -> Basis:
    """What the nodes that a server may run on tell about their GPUs now."""
    demand = _demand(with_numbers(server), settings)
    given = server.spec.gpu.memory if server.spec.gpu else None
    return Basis(
        gpu_memory=quantity_value(given) if given else gpu_memory_of(nodes, demand),
        gpus_per_node=gpus_per_node(nodes, demand),
    )


def needs_facts(server: ModelServer) -> bool:
    """Whether something is to be decided from the model's files that the spec does not tell."""
    spec = server.spec
    if spec.engine != "VLLM" or server.model.facts is not None:
        return False
    parallelism = spec.parallelism
    auto = parallelism is not None and "Auto" in (parallelism.tensor, parallelism.pipeline)
    scheme = parse_source(server.model.uri).scheme
    return (auto or spec.scenario is not None or bool(spec.profiles)) and scheme != "file"


def known_facts(server: ModelServer, source: SourceFacts | None) -> ModelFacts | None:
    given, read = server.model.facts, source.facts if source else None
    if given is not None and given.quantization is None and given.dtype_bytes is None and read is None:
        # Who names parameters and no quantization means the plain 16-bit checkpoint.
        given = given.model_copy(update={"dtype_bytes": 2})
    if given is None or read is None:
        return given or read
    return read.model_copy(update=given.model_dump(exclude_none=True))


def _names_its_length(server: ModelServer) -> bool:
    """Whether the spec itself, not its scenario, says how long a request may be."""
    return server.spec.scenario is None or (server.spec.vllm is not None and server.spec.vllm.max_model_len is not None)


def sizing_request(server: ModelServer, facts: ModelFacts, basis: Basis, *, firm: bool) -> SizingRequest:
    spec = server.spec
    parallelism = spec.parallelism or Parallelism()
    options = spec.vllm or VLLMOptions()
    count = spec.gpu.count if spec.gpu else None
    context, slots = _context(server)
    return SizingRequest(
        facts=facts,
        engine=spec.engine,  # type: ignore[arg-type]  # external engines are not resolved
        gpu_memory_bytes=basis.gpu_memory,
        gpus_per_node=basis.gpus_per_node,
        max_gpus=count if count is not None else (None if ENGINES[spec.engine].gpus_by_default or spec.gpu else 0),
        tensor=parallelism.tensor or 1,
        pipeline=parallelism.pipeline or 1,
        nodes=parallelism.nodes,
        max_model_len=context,
        firm_length=firm,
        kv_bits=kv_cache_bits(spec.extra_args),
        max_num_seqs=slots,
        utilization_percent=options.gpu_memory_utilization_percent or 92,
        gpu_layers=spec.llama_cpp.gpu_layers if spec.llama_cpp else None,
    )


def _context(server: ModelServer) -> tuple[int | None, int | None]:
    """Tokens of one request and requests at once, as far as the spec says."""
    spec = server.spec
    if spec.engine == "VLLM" and spec.vllm:
        return spec.vllm.max_model_len, spec.vllm.max_num_seqs
    if spec.engine == "LlamaCpp" and spec.llama_cpp:
        return spec.llama_cpp.context_size, spec.llama_cpp.slots
    if spec.engine == "Ollama" and spec.ollama:
        return spec.ollama.context_length, spec.ollama.parallel
    return None, None


def _demand(server: ModelServer, settings: Settings) -> Demand:
    pods = node_count(server)
    return demand_of(
        server, settings.site_label, gpus=gpu_count(ENGINES[server.spec.engine], server) // pods, pods=pods
    )


def _plan(sized: _Sized, notes: tuple[str, ...], choice: Choice | None, asked: str) -> SizePlan:
    server, sizing = sized.server, sized.sizing
    tensor, pipeline = parallel_sizes(server)
    vllm = server.spec.engine == "VLLM"
    explanation = [note[:_LONGEST_NOTE] for note in dict.fromkeys((*notes, *sized.notes))]
    return SizePlan(
        profile_reason=choice.reason if choice else None,
        settled_for=asked,
        gpus_per_replica=gpu_count(ENGINES[server.spec.engine], server),
        tensor=tensor if vllm else None,
        pipeline=pipeline if vllm else None,
        nodes=node_count(server),
        gpu_memory_bytes=sized.basis.gpu_memory,
        gpus_per_node=sized.basis.gpus_per_node,
        weights_bytes=sizing.weights_bytes if sizing else None,
        kv_cache_tokens=sizing.kv_cache_tokens if sizing else None,
        explanation=tuple(explanation[:_MOST_NOTES]),
    )
