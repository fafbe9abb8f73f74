"""What one replica did between two looks, from its counters. Pure.

A smaller value than before, or another start of the process, means that a counter began anew: such an interval says
nothing, and the next one starts from there.
"""

from dataclasses import dataclass
from operator import attrgetter

from agentfleet.autoscale.samples import EngineSample, Histogram

_VLLM = attrgetter(
    "running", "waiting", "completed", "prompt_tokens", "output_tokens", "steps", "step_tokens", "kv_used"
)
_LLAMA_CPP = attrgetter("running", "waiting", "prompt_tokens", "output_tokens", "prompt_seconds", "output_seconds")
DECISIVE = (
    "running", "waiting", "completed", "prompt_tokens", "output_tokens", "prompt_seconds", "output_seconds", "steps",
    "step_tokens", "kv_used", "kv_tokens",
)  # fmt: skip
"""What demand and capacity are reckoned from; histograms and preemptions are not among them."""
_decisive = attrgetter(*DECISIVE)


class Look:
    """The last whole sample of one replica."""

    __slots__ = ("lost", "rate", "sample", "since", "stood_since")

    def __init__(self, sample: EngineSample, since: float) -> None:
        self.sample = sample
        self.lost = _never_told(sample)
        """What the engine does not tell any more, or should: nothing is decided on a number that nobody says."""
        self.since = since
        """When it was first seen."""
        self.rate: float | None = None
        """Arrivals per second at the last look."""
        self.stood_since: float | None = None
        """Since when it has had work and done none of it: its page answers, and the engine behind it hangs."""

    def note_progress(self, sample: EngineSample) -> None:
        """To be called before `sample` takes the place of the last."""
        counters = [
            (getattr(self.sample, name), getattr(sample, name))
            for name in ("steps", "step_tokens", "output_tokens", "completed", "prompt_tokens")
        ]
        told = [(before, now) for before, now in counters if before is not None and now is not None]
        works = bool(self.sample.running and sample.running)
        if not (works and told and all(before == now for before, now in told)):
            self.stood_since = None
        elif self.stood_since is None:
            self.stood_since = self.sample.at

    def compare(self, sample: EngineSample) -> None:
        """Notes what `sample`, of the same engine, lacks; it may be a sample that is not whole."""
        lost = _never_told(sample)
        if sample.started_at == self.sample.started_at:
            now, before = _decisive(sample), _decisive(self.sample)
            lost += tuple(
                name
                for name, new, old in zip(DECISIVE, now, before, strict=True)
                if new is None and name not in lost and (old is not None or name in self.lost)
            )
        self.lost = lost


def _never_told(sample: EngineSample) -> tuple[str, ...]:
    """Fields that every engine of this kind has under some name, where the page is known to lack something."""
    if not sample.missing:
        return ()
    counts_requests = sample.completed is not None or sample.step_tokens is not None
    timed = sample.prompt_seconds is not None or sample.output_seconds is not None
    expected = _LLAMA_CPP if timed and not counts_requests else _VLLM
    if None not in expected(sample):
        return ()
    return tuple(sample.missing)


@dataclass(frozen=True, slots=True)
class Observed:
    """Growth of one histogram."""

    count: float
    sum: float
    within: float
    """How many of them kept to the goal; counted by `Interval.kept`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Growth of counters, and gauges as the mean of both ends. None: nobody says."""

    seconds: float
    running: float
    least_running: float
    waiting: float
    max_running: float | None
    completed: float | None
    arrivals: float | None
    """Requests that came: those that ended, and the growth of those that are in it."""
    admitted: float | None
    """Requests that were taken into work."""
    prompt_tokens: float | None
    output_tokens: float | None
    prompt_seconds: float | None
    output_seconds: float | None
    steps: float | None
    step_tokens: float | None
    kv_held: float | None
    """Tokens in the KV cache."""
    kv_tokens: float | None
    preemptions: float | None
    tokens_per_second: float | None
    before: EngineSample
    after: EngineSample


def interval(before: EngineSample, after: EngineSample) -> Interval | None:
    """None where `after` is of another run of the engine."""
    seconds = after.at - before.at
    restarted = (
        before.started_at is not None and after.started_at is not None and after.started_at > before.started_at + 1.0
    )
    if seconds <= 0 or restarted or _fell(before, after):
        return None
    running, waiting = after.running or 0.0, after.waiting or 0.0
    was_running, was_waiting = before.running or 0.0, before.waiting or 0.0
    ended = _grown(before.completed, after.completed)
    if ended is not None:
        ended += (_grown(before.failed, after.failed) or 0.0) + (_grown(before.aborted, after.aborted) or 0.0)
    held = None
    if after.kv_used is not None and after.kv_tokens is not None:
        held = after.kv_tokens * (after.kv_used + (before.kv_used if before.kv_used is not None else after.kv_used)) / 2
    return Interval(
        seconds=seconds,
        running=(running + was_running) / 2,
        least_running=min(running, was_running),
        waiting=(waiting + was_waiting) / 2,
        max_running=after.max_running,
        completed=_grown(before.completed, after.completed),
        arrivals=None if ended is None else ended + running + waiting - was_running - was_waiting,
        admitted=None if ended is None else ended + running - was_running,
        prompt_tokens=_grown(before.prompt_tokens, after.prompt_tokens),
        output_tokens=_grown(before.output_tokens, after.output_tokens),
        prompt_seconds=_grown(before.prompt_seconds, after.prompt_seconds),
        output_seconds=_grown(before.output_seconds, after.output_seconds),
        steps=_grown(before.steps, after.steps),
        step_tokens=_grown(before.step_tokens, after.step_tokens),
        kv_held=held,
        kv_tokens=after.kv_tokens,
        preemptions=_grown(before.preemptions, after.preemptions),
        tokens_per_second=after.tokens_per_second,
        before=before,
        after=after,
    )


def _fell(before: EngineSample, after: EngineSample) -> bool:
    pairs = (
        (before.completed, after.completed),
        (before.output_tokens, after.output_tokens),
        (before.prompt_tokens, after.prompt_tokens),
        (before.steps, after.steps),
    )
    return any(old is not None and new is not None and new < old for old, new in pairs)


def _grown(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None or after < before else after - before


def kept(before: Histogram | None, after: Histogram | None, goal: float) -> tuple[float, float] | None:
    """How many were observed, and how many of them were at most `goal`; within a bucket they are taken to be spread
    evenly."""
    if before is None or after is None or before.bounds != after.bounds:
        return None
    count = after.count - before.count
    if count < 0:
        return None
    lower, below = 0.0, 0.0
    for bound, new, old in zip(after.bounds, after.counts, before.counts, strict=True):
        grown = new - old
        if bound >= goal:
            share = 0.0 if bound == float("inf") else (goal - lower) / (bound - lower)
            return count, max(0.0, min(count, below + (grown - below) * share))
        lower, below = bound, grown
    return count, count


def mean(before: Histogram | None, after: Histogram | None) -> tuple[float, float] | None:
    """How many were observed, and their mean in seconds."""
    if before is None or after is None:
        return None
    count, total = after.count - before.count, after.sum - before.sum
    return (count, total / count) if count > 0 and total >= 0 else None
