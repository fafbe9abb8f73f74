"""The last runs, for alerts and the local history: how long they took, how many failed. The clock is given."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentfleet.runtime.hooks import RunRecord
from agentfleet.runtime.types import Task

_KEPT = 1000
_FAILED = frozenset({"fallback", "error", "timeout"})
_COUNTED = _FAILED | {"ok", "approval"}
"""Runs that tell something about the agent; what callers did wrong, or what was refused, does not."""
_RATIO_OVER = 100


@dataclass(frozen=True)
class _Run:
    ended: float
    duration: float
    failed: bool


class Window:
    """The last runs of this process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._runs: deque[_Run] = deque(maxlen=_KEPT)

    def run(self, _: Task, record: RunRecord) -> None:
        """A run ended."""
        if record.outcome in _COUNTED:
            self._runs.append(_Run(self._clock(), record.duration, record.outcome in _FAILED))

    def p95(self, seconds: float) -> float | None:
        """95th percentile of the durations of the last `seconds`; None without a run."""
        durations = sorted(run.duration for run in self._last(seconds))
        return durations[min(len(durations) - 1, int(0.95 * len(durations)))] if durations else None

    def error_percent(self, seconds: float) -> float | None:
        """How many of the last `seconds` failed; None without a run."""
        runs = self._last(seconds)
        return 100 * sum(run.failed for run in runs) / len(runs) if runs else None

    def completion(self) -> float:
        """Of the last runs, how many were answered; 1 without any."""
        runs = list(self._runs)[-_RATIO_OVER:]
        return 1 - sum(run.failed for run in runs) / len(runs) if runs else 1.0

    def count(self, seconds: float) -> int:
        """Runs of the last `seconds`."""
        return len(self._last(seconds))

    def _last(self, seconds: float) -> Sequence[_Run]:
        since = self._clock() - seconds
        return [run for run in self._runs if run.ended >= since]
