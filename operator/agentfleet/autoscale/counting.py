"""What an engine's counters grew by between two moments, across restarts of the engine. Pure.

A counter that is smaller than before, or another start time, means that it began anew at zero: what came before is kept
as a run of its own, so nothing is lost but what happened between the last look and the end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from agentfleet.autoscale.samples import EngineSample, Histogram

_COUNTERS = ("completed", "failed", "aborted", "prompt_tokens", "output_tokens", "cpu_seconds", "steps")
_SAME_START = 1.0
"""Start times are compared with room for rounding."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What was counted within `seconds`; None where the engine does not say."""

    seconds: float
    completed: float | None
    failed: float | None
    aborted: float | None
    prompt_tokens: float | None
    output_tokens: float | None
    cpu_seconds: float | None
    in_it: float | None
    """Growth of the requests that run or wait."""
    latencies: Histogram | None
    """Times of the requests that ended."""

    @property
    def requests(self) -> float | None:
        """Requests that ended, well or not; those that clients gave up are neither."""
        return None if self.completed is None else self.completed + (self.failed or 0.0)

    @property
    def arrived(self) -> float | None:
        """Requests that came."""
        if self.requests is None or self.in_it is None:
            return None
        return max(0.0, self.requests + (self.aborted or 0.0) + self.in_it)


class Counting:
    """Follows the counters of one engine."""

    __slots__ = ("_base", "_last", "_runs", "_seen")

    def __init__(self) -> None:
        self._base: EngineSample | None = None  # None: the run began within
        self._last: EngineSample | None = None
        self._runs: list[tuple[EngineSample | None, EngineSample]] = []
        self._seen = False

    def add(self, sample: EngineSample) -> None:
        """Take in an answer; answers come in order of time."""
        if self._last is None:
            self._base = sample
        elif _began_anew(self._last, sample):
            self._runs.append((self._base, self._last))
            self._base = None
        self._last = sample
        self._seen = True

    def take(self) -> Growth | None:
        """Growth since the last one that was not None.

        None where no answer came, or only the first ever: the counters go on meanwhile, and the next growth covers it.
        """
        if self._last is None or not self._seen:
            return None
        runs = [*self._runs, (self._base, self._last)]
        began = next((base.at for base, _ in runs if base is not None), None)
        if began is None or began >= self._last.at:
            return None
        growth = Growth(
            seconds=self._last.at - began,
            completed=_total(runs, lambda sample: sample.completed),
            failed=_total(runs, lambda sample: sample.failed),
            aborted=_total(runs, lambda sample: sample.aborted),
            prompt_tokens=_total(runs, lambda sample: sample.prompt_tokens),
            output_tokens=_total(runs, lambda sample: sample.output_tokens),
            cpu_seconds=_total(runs, lambda sample: sample.cpu_seconds),
            in_it=_in_it_growth(runs[0][0], self._last),
            latencies=_latencies(runs),
        )
        # The histograms that nobody compares would be the larger part of what is kept.
        self._base = replace(self._last, time_to_first_token=None, time_per_output_token=None)
        self._runs = []
        self._seen = False
        return growth


_Runs = list[tuple[EngineSample | None, EngineSample]]


def _began_anew(last: EngineSample, sample: EngineSample) -> bool:
    if last.started_at is not None and sample.started_at is not None:
        return abs(sample.started_at - last.started_at) > _SAME_START
    for name in _COUNTERS:
        before, now = getattr(last, name), getattr(sample, name)
        if before is not None and now is not None and now < before:
            return True
    return False


def _total(runs: _Runs, value: Callable[[EngineSample], float | None]) -> float | None:
    total = 0.0
    for base, last in runs:
        first, end = 0.0 if base is None else value(base), value(last)
        if first is None or end is None:
            return None
        total += max(0.0, end - first)
    return total


def _in_it_growth(first: EngineSample | None, last: EngineSample) -> float | None:
    """Requests that an engine lost when it died have arrived all the same, and are counted by their going away."""
    before, now = 0.0 if first is None else _in_it(first), _in_it(last)
    return None if before is None or now is None else now - before


def _in_it(sample: EngineSample) -> float | None:
    return None if sample.running is None else sample.running + (sample.waiting or 0.0)


def _latencies(runs: _Runs) -> Histogram | None:
    last = runs[-1][1].request_time
    if last is None:
        return None
    counts, seconds = [0.0] * len(last.bounds), 0.0
    for base, end in runs:
        first, after = None if base is None else base.request_time, end.request_time
        if after is None or after.bounds != last.bounds or (base is not None and first is None):
            return None
        if first is not None and first.bounds != last.bounds:
            return None
        before = [0.0] * len(counts) if first is None else first.counts
        counts = [sum_ + max(0.0, now - then) for sum_, now, then in zip(counts, after.counts, before, strict=True)]
        seconds += max(0.0, after.sum - (0.0 if first is None else first.sum))
    return Histogram(last.bounds, tuple(counts), seconds)
