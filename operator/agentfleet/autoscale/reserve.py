"""When no scaling is quick enough: a minReplicas that would have spared most of the misses. Pure.

Load that jumps within a cold start is met by replicas that run already, or not at all. Where that happened again and
again, the fewest replicas that would have met it are suggested, for the user to weigh against their price.
"""

import math
from array import array

from agentfleet.autoscale.sizing import Need

_MEMORY = 4 * 3600.0
_SHORT = 0.005
"""Share of requests that came beyond what there was, from which on something is said."""
_EPISODES = 2
_APART = 600.0
_PERCENTILE = 0.99
_FULL = 0.9


class Reserve:
    """How much came beyond what the replicas that served could carry."""

    __slots__ = ("_beyond", "_came", "_episodes", "_last", "_short_at")

    def __init__(self) -> None:
        self._came = self._beyond = 0.0
        self._last: float | None = None
        self._short_at: float | None = None
        self._episodes: list[float] = []
        """When such times began, those of the last hours."""

    def add(self, now: float, rate: float, capacity: float) -> None:
        """One tick: what came, and what those that serve can carry."""
        seconds = 0.0 if self._last is None else min(15.0, now - self._last)
        keep = math.exp(-seconds / _MEMORY)
        self._last = now
        self._came = self._came * keep + rate * seconds
        self._beyond = self._beyond * keep + max(0.0, rate - capacity) * seconds
        if rate <= capacity * 1.2:
            return
        if self._short_at is None or now - self._short_at > _APART:
            self._episodes = [*(begun for begun in self._episodes if now - begun < _MEMORY), now][-8:]
        self._short_at = now

    def suggested(self, bins: "array[float]", needed: Need | None, minimum: int) -> int | None:
        """`bins`: demand of the last hours by half minutes. None where scaling was quick enough."""
        if needed is None or len(self._episodes) < _EPISODES or self._beyond < _SHORT * self._came or not bins:
            return None
        ordered = sorted(bins)
        peak = ordered[min(len(ordered) - 1, int(_PERCENTILE * len(ordered)))]
        replicas = math.ceil(peak / (_FULL * needed.per_replica))
        return replicas if replicas > minimum else None
