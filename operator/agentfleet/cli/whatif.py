"""What `simulate` needs of a ModelServer: its record, one replica as it was learnt, and the goals to compare. Pure.

The simulator takes rates and mean lengths. An engine that counts no steps (llama.cpp, Ollama) is taken for one whose
steps all take the same time, such that it carries what was learnt.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml
from pydantic import ValidationError

from agentfleet.autoscale.decision import Goal, Learnt, Step
from agentfleet.cli.server import Server, decimal
from agentfleet.errors import AgentfleetError
from agentfleet.objects import Manifest
from agentfleet.planning.learnt import learnt_before
from agentfleet.planning.scaling_goal import goal_of
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.scaling_status import Capacity
from agentfleet.simulator.profiles import Profile
from agentfleet.simulator.replay import Recorded, learnt_profile

NOW, CHANGED, APPLY = "now", "changed", "mode Apply"

_MAX_NUM_SEQS = 256
_PROMPT_TOKENS, _OUTPUT_TOKENS = 256.0, 128.0
_WITHOUT_UID = {"uid": "", "generation": 0}
_NOT_SIMULATED = ("schedule", "vertical", "approval", "maxGpus")


class NothingToSimulate(AgentfleetError):
    """Too little is known, or the change changes nothing that could be simulated."""


def record(samples: Mapping[str, Any]) -> list[Recorded]:
    """Rates and mean lengths, interval by interval. One without is unknown, not idle: the one before holds on."""
    interval = samples["interval"]
    demand = {_slot(each, interval): each["requestsPerSecond"] for each in samples.get("demand") or ()}
    slots: dict[int, list[Mapping[str, Any]]] = {}
    for replica in samples["replicas"]:
        for each in replica["samples"]:
            slots.setdefault(_slot(each, interval), []).append(each)
    looks = []
    prompt, output = _PROMPT_TOKENS, _OUTPUT_TOKENS
    for slot in sorted(slots.keys() | demand.keys()):
        seen = slots.get(slot, [])
        rate = demand[slot] if slot in demand else _sum(each.get("requestsPerSecond") for each in seen)
        prompt = _mean(seen, "promptTokens") or prompt
        output = _mean(seen, "outputTokens") or output
        if rate is not None:
            looks.append(Recorded(slot * interval, rate, prompt, output))
    if len(looks) < 2:
        raise NothingToSimulate(
            "no two samples say how many requests came: there is one each half minute, and an engine that counts none"
            " (LlamaCpp) needs a route before it"
        )
    # the last sample is as long as the others
    return [*looks, Recorded(looks[-1].seconds + interval, 0.0, prompt, output)]


def _slot(sample: Mapping[str, Any], interval: float) -> int:
    return int(sample["at"] // interval)


def _sum(values: Iterator[float | None]) -> float | None:
    """None where one is unknown: a part of the demand is not the demand."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _mean(samples: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Of all requests: replicas that had more of them count for more."""
    weighted = [(each[name], each.get("requestsPerSecond") or 0.0) for each in samples if each.get(name) is not None]
    weight = sum(requests for _, requests in weighted)
    return sum(value * requests for value, requests in weighted) / weight if weight else None


def profile_of(server: Server) -> Profile:
    """One replica as the loop has come to know it."""
    capacity, plan = server.capacity, server.status.get("plan") or {}
    output = decimal(capacity.get("outputTokens")) or _OUTPUT_TOKENS
    context = (decimal(capacity.get("promptTokens")) or _PROMPT_TOKENS) + output
    gpus = plan.get("gpusPerReplica") or 1
    if capacity.get("step"):
        most = (server.spec.get("vllm") or {}).get("maxNumSeqs") or _MAX_NUM_SEQS
        step = Step(*(float(capacity["step"][name]) for name in ("base", "perToken", "perKvToken")))
        kv_tokens = plan.get("kvCacheTokens") or math.ceil(most * context)
        return learnt_profile(step, int(kv_tokens), most, gpus_per_replica=gpus)
    concurrency, rate = decimal(capacity.get("concurrency")), server.requests_per_second
    if not concurrency or not rate:
        lacks = "how long answers take cannot be" if concurrency else "what a replica can carry has not been"
        raise NothingToSimulate(f"{server.namespace}/{server.name}: {lacks} learnt yet (status.capacity)")
    most = max(1, round(concurrency))
    return learnt_profile(
        Step(most / (rate * output), 0.0, 0.0), math.ceil(8 * most * context), most, gpus_per_replica=gpus
    )


def learnt_of(server: Server) -> Learnt | None:
    """What the loop starts with: the live one knows it, too. Only a model of steps fits the simulated engine."""
    if not server.capacity.get("step"):
        return None
    capacity = Capacity.model_validate(server.capacity)
    return learnt_before(capacity, capacity.key)


def goals(server: Server, changes: Sequence[tuple[str, str]]) -> dict[str, Goal]:
    """The goals to compare: as it is now, in mode Apply where that is not in force, and with the changes."""
    asked = _validated(server, {})
    found = {NOW: goal_of(asked)}
    if server.mode != "Apply":
        # outside of Apply the number is what somebody has set: the loop may not move it
        found[NOW] = replace(found[NOW], minimum=asked.replicas, maximum=max(1, asked.replicas))
        found[APPLY] = goal_of(_validated(server, {"scaling.mode": "Apply"}))
    if changes:
        found[CHANGED] = goal_of(_validated(server, {"scaling.mode": "Apply"} | dict(changes)))
    usual = found.get(APPLY, found[NOW])
    if found.get(CHANGED) == usual:
        raise NothingToSimulate(
            f"--set {' '.join(path for path, _ in changes)} changes nothing that is simulated; "
            f"neither are scaling.{', scaling.'.join(_NOT_SIMULATED)}"
        )
    if len(found) == 1:
        raise NothingToSimulate("there is nothing to compare: name a change, such as --set scaling.minReplicas=2")
    return found


def _validated(server: Server, changes: Mapping[str, str]) -> ModelServer:
    manifest = copy.deepcopy(server.manifest)
    manifest["metadata"] = _WITHOUT_UID | manifest["metadata"]
    for path, text in changes.items():
        _set(manifest["spec"], path, text)
    if "maxReplicas" not in (manifest["spec"].get("scaling") or {}):
        # what the loop would take; mode Apply wants it written down
        manifest["spec"].setdefault("scaling", {})["maxReplicas"] = max(8, manifest["spec"].get("replicas", 1))
    try:
        changed = ModelServer.from_manifest(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise NothingToSimulate(f"spec.{where}: {first['msg']}, got {first['input']!r}") from error
    for path in changes:
        _expect(changed.spec.dump(), path)
    scaling = changed.spec.scaling
    if scaling and (scaling.min_replicas or 0) > (scaling.max_replicas or math.inf):
        raise NothingToSimulate(f"minReplicas is {scaling.min_replicas}, above maxReplicas, {scaling.max_replicas}")
    return changed


def _set(spec: Manifest, path: str, text: str) -> None:
    *parents, last = path.split(".")
    place = spec
    for depth, parent in enumerate(parents, 1):
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise NothingToSimulate(f"--set {path}: {'.'.join(parents[:depth])} is no group of fields")
    place[last] = yaml.safe_load(text)


def _expect(spec: Manifest, path: str) -> None:
    """Unknown fields are ignored where the contract is read; here they are mistakes."""
    place: Any = spec
    for part in path.split("."):
        if not isinstance(place, Mapping) or part not in place:
            raise NothingToSimulate(f"--set {path}: the spec has no such field; see `kubectl explain ms.spec.scaling`")
        place = place[part]
