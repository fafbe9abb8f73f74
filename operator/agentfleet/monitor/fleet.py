"""How the fleet is: healthy ModelServers of all, and which of them, of Agents and of AgentRoutes have a problem. Read
from the cache when metrics are.

Objects are parsed only when they have changed, so that a scrape of ten thousand stays cheap. Nothing is decided here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from agentfleet.cache import Cache
from agentfleet.objects import Key
from agentfleet.resources import conditions as c

State = Literal["healthy", "progressing", "failed"]
"""Ready is True, Unknown (or not said yet), or False."""

STATES: Final[tuple[State, ...]] = ("healthy", "progressing", "failed")

WRONG: Final[Mapping[str, str]] = {
    c.READY: "False",
    c.STALLED: "True",
    c.ACCEPTED: "False",
    c.RESOLVED_REFS: "False",
    c.PROGRAMMED: "False",
    c.METRICS_AVAILABLE: "False",
    c.CAPACITY_BLOCKED: "True",
    c.CONFLICTING_AUTOSCALER: "True",
    c.THRESHOLD_EXCEEDED: "True",
    c.MODEL_READY: "False",
    c.TOOLS_READY: "False",
    c.ALERTING: "True",
}
"""Condition → the status that is a problem. A kind has some of them."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the conditions of one object come to."""

    state: State
    problems: tuple[tuple[str, str], ...] = ()
    """(type, reason) of the conditions that are wrong."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """All ModelServers together."""

    states: Mapping[State, int]

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.states.values())

    @property
    def healthy_percent(self) -> float | None:
        """Share of the healthy ones; None where there are none at all."""
        return 100 * self.states["healthy"] / self.total if self.total else None

    @property
    def overall(self) -> Literal["healthy", "degraded"]:
        """Degraded where not all are healthy."""
        return "healthy" if self.states["healthy"] == self.total else "degraded"


def health_of(conditions: Iterable[Mapping[str, Any]]) -> Health:
    """From the conditions of a status, as plain data."""
    statuses = {condition["type"]: (condition["status"], condition["reason"]) for condition in conditions}
    ready = statuses.get(c.READY, ("Unknown", ""))[0]
    state: State = "healthy" if ready == "True" else "failed" if ready == "False" else "progressing"
    problems = [(kind, statuses[kind][1]) for kind, wrong in WRONG.items() if statuses.get(kind, ("",))[0] == wrong]
    return Health(state, tuple(problems))


def fleet_of(healths: Iterable[Health]) -> Fleet:
    """The sum of many."""
    states: dict[State, int] = dict.fromkeys(STATES, 0)
    for health in healths:
        states[health.state] += 1
    return Fleet(states)


class FleetView:
    """The health of each object of a kind in the cache."""

    def __init__(self, cache: Cache, kind: str = "ModelServer") -> None:
        self._cache = cache
        self._kind = kind
        self._known: dict[Key, tuple[int | None, Health]] = {}

    def look(self) -> Mapping[Key, Health]:
        """As of now."""
        known = {}
        for key in self._cache.keys(self._kind):
            version = self._cache.version(key)
            before = self._known.get(key)
            known[key] = before if before is not None and before[0] == version else (version, self._health(key))
        self._known = known
        return {key: health for key, (_, health) in known.items()}

    def _health(self, key: Key) -> Health:
        manifest = self._cache.get(key) or {}
        return health_of(manifest.get("status", {}).get("conditions", ()))
