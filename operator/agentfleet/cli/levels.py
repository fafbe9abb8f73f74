"""What a level of load showed, whether it was within the goal, and which level comes next. Pure.

A level is a number of requests at once (a closed loop): each that ends is followed by the next. It is what a replica's
capacity is learnt as, too: the most requests per second of any number at once that keeps the goal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

ENOUGH = 0.95
"""Share of requests within the goal that makes a level good. A level has tens of requests: one outlier may be."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Seconds to the first token, waiting included, and mean seconds for each token after it."""

    ttft: float
    tpot: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request; times in seconds of one clock."""

    began: float
    ended: float
    first_token: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int = 0
    error: str | None = None

    @property
    def ttft(self) -> float:
        """Time to the first token; to the end where there was none."""
        return (self.first_token or self.ended) - self.began

    @property
    def tpot(self) -> float:
        """Mean time of the tokens after the first."""
        if self.first_token is None or self.output_tokens < 2:
            return 0.0
        return (self.ended - self.first_token) / (self.output_tokens - 1)

    def is_within(self, goal: Goal) -> bool:
        return self.error is None and self.ttft <= goal.ttft and self.tpot <= goal.tpot


@dataclass(frozen=True, slots=True)
class Level:
    """All requests of one level; those of them that overlap its window count for its throughput by their share."""

    concurrency: int
    begin: float
    end: float
    outcomes: tuple[Outcome, ...]
    client_cpu: float = 0.0
    """CPUs that measuring it took: near 1, the client was the limit."""

    @property
    def whole(self) -> list[Outcome]:
        """Requests that were answered."""
        return [outcome for outcome in self.outcomes if outcome.error is None]

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error is not None]

    @property
    def requests_per_second(self) -> float:
        return sum(map(self._share, self.whole)) / (self.end - self.begin)

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens."""
        tokens = sum(self._share(outcome) * outcome.output_tokens for outcome in self.whole)
        return tokens / (self.end - self.begin)

    def ttft(self, share: float) -> float:
        """This percentile, as a share of 1."""
        return percentile((outcome.ttft for outcome in self.whole), share)

    def tpot(self, share: float) -> float:
        """This percentile, as a share of 1."""
        return percentile((outcome.tpot for outcome in self.whole), share)

    def within(self, goal: Goal) -> float:
        """Share of its requests that met the goal; failed ones did not."""
        met = sum(outcome.is_within(goal) for outcome in self.outcomes)
        return met / len(self.outcomes) if self.outcomes else 0.0

    def is_good(self, goal: Goal) -> bool:
        return self.within(goal) >= ENOUGH

    def _share(self, outcome: Outcome) -> float:
        length = outcome.ended - outcome.began
        overlap = min(outcome.ended, self.end) - max(outcome.began, self.begin)
        return max(0.0, overlap) / length if length > 0 else float(self.begin <= outcome.began <= self.end)

    def data(self, goal: Goal) -> dict[str, Any]:
        """As -o json shows it."""
        return {
            "concurrency": self.concurrency,
            "requests": len(self.outcomes),
            "failed": len(self.failed),
            "requestsPerSecond": round(self.requests_per_second, 3),
            "outputTokensPerSecond": round(self.tokens_per_second, 1),
            "ttftSeconds": {"p50": round(self.ttft(0.5), 4), "p95": round(self.ttft(0.95), 4)},
            "tpotSeconds": {"p50": round(self.tpot(0.5), 5), "p95": round(self.tpot(0.95), 5)},
            "withinGoalPercent": round(self.within(goal) * 100, 1),
        }


def percentile(values: Iterable[float], share: float) -> float:
    """Between the two nearest values; 0 of none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def next_concurrency(levels: Sequence[Level], goal: Goal, most: int) -> int | None:
    """Twice as many until the goal breaks or `most` is reached, then halfway; None once it is known to a quarter."""
    good, bad = _bracket(levels, goal)
    if bad is None:
        return min(max(1, good * 2), most) if good < most else None
    return (good + bad) // 2 if bad - good > max(1, good // 4) else None


def best(levels: Sequence[Level], goal: Goal) -> Level | None:
    """The level with the most requests per second that kept the goal, as all below it; None where none did."""
    good, _ = _bracket(levels, goal)
    return max(
        (level for level in levels if level.concurrency <= good),
        key=lambda level: level.requests_per_second,
        default=None,
    )


def _bracket(levels: Sequence[Level], goal: Goal) -> tuple[int, int | None]:
    """The largest good number below the smallest bad one, and that; 0 and None where there is none."""
    bad = min((level.concurrency for level in levels if not level.is_good(goal)), default=None)
    good = (level.concurrency for level in levels if level.is_good(goal) and (bad is None or level.concurrency < bad))
    return max(good, default=0), bad
