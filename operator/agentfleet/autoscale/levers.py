"""Larger or smaller replicas: when more of them do not help, and when a smaller one would do. Pure.

More replicas shorten queues; they never make one answer faster. So a larger tensor parallel size is called for only
where even an idle replica misses the goal, or where its KV cache has no room for a handful of requests. What another
size would do is reckoned from the learnt step, with what larger sizes were measured to gain.
"""

from dataclasses import dataclass

from agentfleet.autoscale.decision import Action, Decision, Goal, Situation
from agentfleet.autoscale.limits import Capacity

_LASTING_UP = 600.0
_LASTING_DOWN = 7200.0
"""Seconds that it must have been so."""
_UNUSED = 0.2
"""Load of the fewest replicas below which they are larger than need be."""
_GAIN_TTFT, _GAIN_TPOT = 0.95, 0.75
"""Twice the GPUs make prefill 1.93 times as fast, and a token 1.68 times (A100 with NVLink; halving is the reverse)."""
_ROOM = 0.5
"""Of the goal that a smaller replica may take when idle."""
_FEW_REQUESTS = 4.0
_PREEMPTED = 0.05
"""Preemptions for each request that are no longer chance."""


@dataclass(frozen=True, slots=True)
class Size:
    """What the loop knows that concerns the size of replicas."""

    capacity: Capacity
    load: float
    """Share of the capacity that the peak of the last hours takes of the replicas that there are."""
    at_once: float | None
    """Requests of mean length for which the KV cache has room; None where not known."""
    preempted: float
    """Preemptions for each request."""


class Levers:
    """Since when something speaks for another size."""

    __slots__ = ("_idle_since", "_short_since")

    def __init__(self) -> None:
        self._short_since: float | None = None
        self._idle_since: float | None = None

    def note(self, size: Size | None, situation: Situation, goal: Goal, now: float) -> None:
        """One tick. None: nothing is known, which ends nothing and begins nothing."""
        if size is None:
            return
        short = _shortage(size, goal) is not None
        self._short_since = (self._short_since if self._short_since is not None else now) if short else None
        unused = situation.wanted == situation.minimum and size.load < _UNUSED
        self._idle_since = (self._idle_since if self._idle_since is not None else now) if unused else None

    def decide(self, size: Size, situation: Situation, goal: Goal, now: float) -> Decision | None:
        """None where nothing speaks for another size, or none would help."""
        shortage = _shortage(size, goal)
        if shortage is not None and self._lasts(self._short_since, now, _LASTING_UP):
            larger = [tensor for tensor in situation.tensors if situation.tensor < tensor <= goal.max_tensor]
            for tensor in larger:
                if _shortage(_at(size, tensor / situation.tensor), goal) is None:
                    return _told("scale_up", "Latency", shortage, tensor, situation, size, now)
            return None
        if self._lasts(self._idle_since, now, _LASTING_DOWN):
            smaller = [tensor for tensor in situation.tensors if tensor < situation.tensor]
            for tensor in smaller:
                share = tensor / situation.tensor
                if _shortage(_at(size, share), goal, _ROOM) is None and size.load / share < 2 * _UNUSED:
                    reason = f"Load was below {_UNUSED:g} of the fewest replicas for two hours."
                    return _told("scale_down", "Unused", reason, tensor, situation, size, now)
        return None

    def _lasts(self, since: float | None, now: float, long: float) -> bool:
        return since is not None and now - since >= long


def _shortage(size: Size, goal: Goal, share: float = 1.0) -> str | None:
    """What even an idle replica misses; None: nothing."""
    ttft, tpot = size.capacity.unloaded_ttft, size.capacity.unloaded_tpot
    if ttft is not None and ttft > goal.time_to_first_token * share:
        return (
            f"Even idle, a replica takes {ttft:.3g} s to the first token; the goal is {goal.time_to_first_token:g} s."
        )
    if tpot is not None and tpot > goal.time_per_output_token * share:
        goal_ms = 1000 * goal.time_per_output_token
        return f"Even idle, a replica takes {1000 * tpot:.3g} ms for a token; the goal is {goal_ms:g} ms."
    if size.at_once is not None and size.at_once < _FEW_REQUESTS and size.preempted > _PREEMPTED:
        return f"The KV cache has room for {size.at_once:.1f} requests, and {size.preempted:.0%} are put back for it."
    return None


def _at(size: Size, times: float) -> Size:
    """The same with so many times the GPUs."""
    capacity = size.capacity
    ttft, tpot = capacity.unloaded_ttft, capacity.unloaded_tpot
    scaled = Capacity(
        per_replica=capacity.per_replica * times,
        batch=capacity.batch,
        hard=capacity.hard,
        usable=capacity.usable,
        known=capacity.known,
        seconds=capacity.seconds,
        unloaded_ttft=None if ttft is None else ttft / times**_GAIN_TTFT,
        unloaded_tpot=None if tpot is None else tpot / times**_GAIN_TPOT,
    )
    # Weights leave more than a proportional share of twice the memory to the cache; proportional is the safe guess.
    return Size(scaled, size.load / times, size.at_once * times if size.at_once is not None else None, 0.0)


def _told(
    action: Action, binding: str, reason: str, tensor: int, situation: Situation, size: Size, now: float
) -> Decision:
    after = _at(size, tensor / situation.tensor).capacity
    inputs = {"load": size.load, "preempted": size.preempted}
    for name, value in (("idleTtft", size.capacity.unloaded_ttft), ("idleTpot", size.capacity.unloaded_tpot)):
        if value is not None:
            inputs[name] = value
    foretold = "" if after.unloaded_tpot is None else f" and {1000 * after.unloaded_tpot:.3g} ms for a token"
    first = "" if after.unloaded_ttft is None else f" {after.unloaded_ttft:.3g} s to the first token"
    return Decision(
        time=now,
        action=action,
        start=situation.tensor,
        target=tensor,
        binding="Latency" if binding == "Latency" else "Unused",
        reason=f"{reason} With tensor parallel size {tensor} it should be{first}{foretold}.",
        inputs=inputs,
    )
