"""The ticks of one replica folded into one sample per half minute: what history, reports and thresholds are made of.

Pure. Decisions do not come from here: signals.py qualifies every tick, this sums them up for people. What nobody said
stays None all the way.
"""

from dataclasses import dataclass

from agentfleet.autoscale.counting import Counting, Growth
from agentfleet.autoscale.samples import EngineSample, GpuSample, Histogram, Replica, Tick, UsageSample

_OLDEST_GPU = 90.0
"""DCGM exporter renews its values every 30 s; after three of these they say nothing about now."""
_OLDEST_USAGE = 180.0
"""metrics-server gives means of up to a minute, and may be asked twice in vain."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What one replica did from `since` to `at`."""

    replica: str
    since: float
    at: float
    looks: int = 0
    """Ticks at which it should have answered: it has been ready once, and is not being deleted."""
    answered: int = 0
    """Those at which it did."""
    growth: Growth | None = None
    """What its engine counted; None where it did not answer."""
    latency: float | None = None
    """Mean seconds of a request from start to end; None where none ended or nobody says."""
    running: float | None = None
    waiting: float | None = None
    most_waiting: float | None = None
    tokens_per_second: float | None = None
    """Speed of one answer by the active probe."""
    gpus: int = 0
    gpu: float | None = None
    """Share of the time that its GPUs were busy, 0 to 1."""
    gpu_memory: float | None = None
    """Bytes in use, of all its GPUs."""
    gpu_memory_total: float | None = None
    gpu_problem: str | None = None
    cpu: float | None = None
    memory: float | None = None
    cpu_share: float | None = None
    """Of the pod's limit or of its node, whichever is closer to its end."""
    memory_share: float | None = None

    @property
    def latencies(self) -> Histogram | None:
        """Times of the requests that ended."""
        return self.growth.latencies if self.growth else None

    def rate(self, count: float | None) -> float | None:
        """One of the growth's counts per second."""
        return None if count is None or self.growth is None else count / self.growth.seconds


class Fold:
    """Gathers the ticks of one replica until `take`."""

    __slots__ = ("_counting", "_gathered", "_served")

    def __init__(self) -> None:
        self._served = False
        self._counting = Counting()
        self._gathered = _Gathered()

    def add(self, replica: Replica, tick: Tick) -> None:
        """Take in what `tick` says about `replica`."""
        self._served = self._served or replica.ready
        engine = tick.engines.get(replica.name)
        if engine is not None:
            self._counting.add(engine)
        self._gathered.add(replica.name, tick, engine, looked=self._served and not replica.leaving)

    def take(self, replica: str, since: float, at: float) -> Folded:
        """The sum of what came since the last `take`."""
        gathered, self._gathered = self._gathered, _Gathered()
        return gathered.fold(replica, since, at, self._counting.take())


class _Mean:
    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total += value
            self.count += 1

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


class _Gathered:
    """What gauges said since the last `take`."""

    __slots__ = ("answered", "engine", "gpu", "gpu_busy", "looks", "most_waiting", "running", "usage", "waiting")

    def __init__(self) -> None:
        self.looks = self.answered = 0
        self.engine: EngineSample | None = None
        self.running, self.waiting, self.gpu_busy = _Mean(), _Mean(), _Mean()
        self.most_waiting: float | None = None
        self.gpu: GpuSample | None = None
        self.usage: UsageSample | None = None

    def add(self, name: str, tick: Tick, engine: EngineSample | None, *, looked: bool) -> None:
        self.looks += looked
        self.answered += looked and engine is not None
        if engine is not None:
            self.engine = engine
            self.running.add(engine.running)
            self.waiting.add(engine.waiting)
            self.most_waiting = _larger(self.most_waiting, engine.waiting)
        gpu, usage = tick.gpus.get(name), tick.usage.get(name)
        if gpu is not None and tick.now - gpu.at <= _OLDEST_GPU:
            self.gpu = gpu
            self.gpu_busy.add(gpu.utilization)
        if usage is not None and tick.now - usage.at <= _OLDEST_USAGE:
            self.usage = usage

    def fold(self, replica: str, since: float, at: float, growth: Growth | None) -> Folded:
        engine, gpu, usage = self.engine, self.gpu, self.usage or UsageSample(at)
        return Folded(
            replica,
            since,
            at,
            looks=self.looks,
            answered=self.answered,
            growth=growth,
            latency=self._latency(growth),
            running=self.running.value,
            waiting=self.waiting.value,
            most_waiting=self.most_waiting,
            tokens_per_second=engine.tokens_per_second if engine else None,
            gpus=gpu.count if gpu else 0,
            gpu=self.gpu_busy.value,
            gpu_memory=gpu.memory_used if gpu else None,
            gpu_memory_total=gpu.memory_total if gpu else None,
            gpu_problem=gpu.problem if gpu else None,
            cpu=usage.cpu if usage.cpu is not None else _per_second(growth),
            memory=usage.memory if usage.memory is not None or engine is None else engine.rss,
            cpu_share=_larger(usage.cpu_share, usage.node_cpu_share),
            memory_share=_larger(usage.memory_share, usage.node_memory_share),
        )

    def _latency(self, growth: Growth | None) -> float | None:
        """By the engine's own histogram; else by an active probe; else by Little's law: within / ended per second."""
        if growth is None:
            return None
        if growth.latencies is not None:
            return growth.latencies.sum / growth.latencies.count if growth.latencies.count else None
        if self.engine is not None and self.engine.probe_seconds is not None:
            return self.engine.probe_seconds
        if not growth.requests or self.running.value is None:
            return None
        within = self.running.value + (self.waiting.value or 0.0)
        return within * growth.seconds / growth.requests


def _per_second(growth: Growth | None) -> float | None:
    return None if growth is None or growth.cpu_seconds is None else growth.cpu_seconds / growth.seconds


def _larger(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return max(known, default=None)
