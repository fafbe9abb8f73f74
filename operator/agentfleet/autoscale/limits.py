"""What one replica carries: the common form of both ways to learn it. Pure data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of one replica, within the goal, at full load."""

    per_replica: float
    """Requests per second, or requests at once: as demand is counted."""
    batch: float
    """Requests at once at that load."""
    hard: bool
    """No more than `batch` are taken into work: the next one waits, rather than slowing down the others."""
    usable: bool
    """Learnt from a few samples: enough to add replicas …"""
    known: bool
    """… and from enough to take one away."""
    seconds: float | None
    """How long a request is in work at that load; None where nobody counts requests."""
    unloaded_ttft: float | None = None
    """Seconds to the first token of an idle replica."""
    unloaded_tpot: float | None = None
    """Seconds for a token of an idle replica."""


def reachable(goal: float, unloaded: float) -> float:
    """A goal that even an idle replica misses says nothing about how many there should be: twice the idle time is
    planned for instead, and levers.py says that larger replicas are called for."""
    return goal if goal > unloaded * 1.1 else unloaded * 2
