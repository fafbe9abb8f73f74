"""The report of a window (an hour; ten minutes for Ollama), and the advice that plain thresholds give. Pure.

Advice is for people: what is applied is decided by demand and capacity (policy.py), because utilisation and latency
say too little about either. No decision reads anything of this.
"""

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf, isfinite
from typing import Final

from agentfleet.autoscale.folding import Folded
from agentfleet.autoscale.samples import Histogram
from agentfleet.resources.conditions import timestamp
from agentfleet.resources.scaling_status import LatencyReport, Recommendation, Report

WINDOW: Final = 3600.0
WINDOW_OLLAMA: Final = 600.0
STEP: Final = 300.0
"""How often advice is given, in seconds, and what it looks back on."""

BUSY_GPU: Final = 0.95
IDLE_GPU: Final = 0.20
IDLE_REQUESTS: Final = 1.0
"""Requests per second below which a replica whose GPU idles is called unused."""

MOST_ADVICE: Final = 16


class Window:
    """Sums over the samples of a while, of one replica or of all of a server."""

    __slots__ = (
        "_answered", "_bounds", "_counts", "_failed", "_fastest", "_gpu", "_gpu_samples", "_latency", "_looks",
        "_most_waiting", "_requests", "_slowest", "_timed", "samples", "since",
    )  # fmt: skip

    def __init__(self, since: float) -> None:
        self.since = since
        self.samples = 0
        self._looks = self._answered = 0
        self._requests: float | None = None
        self._failed = 0.0
        self._latency = self._timed = 0.0
        self._slowest, self._fastest = -inf, inf
        self._bounds: tuple[float, ...] = ()
        self._counts = array("d")
        self._gpu = 0.0
        self._gpu_samples = 0
        self._most_waiting: float | None = None

    def add(self, folded: Folded) -> None:
        """Take in a sample; a replica that did not answer counts for availability only."""
        self._looks += folded.looks
        self._answered += folded.answered
        if folded.gpu is not None:
            self._gpu += folded.gpu
            self._gpu_samples += 1
        if folded.most_waiting is not None:
            self._most_waiting = max(folded.most_waiting, self._most_waiting or 0.0)
        growth = folded.growth
        if growth is None:
            return
        self.samples += 1
        if growth.requests is not None:
            self._requests = (self._requests or 0.0) + growth.requests
            self._failed += growth.failed or 0.0
        if folded.latency is None:
            return
        self._slowest = max(self._slowest, folded.latency)
        self._fastest = min(self._fastest, folded.latency)
        if growth.latencies is not None:
            self._add_latencies(growth.latencies)
        else:
            # A mean stands for the requests that ended meanwhile, an active probe for itself.
            weight = growth.requests or 1.0
            self._latency += folded.latency * weight
            self._timed += weight

    def _add_latencies(self, histogram: Histogram) -> None:
        self._latency += histogram.sum
        self._timed += histogram.count
        if histogram.bounds != self._bounds:  # the first, or another version of the engine
            self._bounds, self._counts = histogram.bounds, array("d", bytes(8 * len(histogram.bounds)))
        for place, count in enumerate(histogram.counts):
            self._counts[place] += count

    @property
    def latency(self) -> float | None:
        """Mean seconds of a request."""
        return self._latency / self._timed if self._timed else None

    @property
    def gpu(self) -> float | None:
        """Mean share of the time that GPUs were busy."""
        return self._gpu / self._gpu_samples if self._gpu_samples else None

    def requests_per_second(self, until: float) -> float | None:
        """Requests of all replicas together."""
        if self._requests is None or until <= self.since:
            return None
        return self._requests / (until - self.since)

    def report(self, until: float, advice: tuple[Recommendation, ...] = ()) -> Report:
        """All of it, as status shows it."""
        requests = self.requests_per_second(until)
        return Report(
            window=_length(until - self.since),
            until=timestamp(datetime.fromtimestamp(until, UTC)),
            samples=self.samples,
            requests_per_second=_decimal(requests),
            error_rate_percent=_percent(self._failed, self._requests),
            latency=self._latencies(),
            gpu_utilization_percent=None if self.gpu is None else _decimal(self.gpu * 100, 1),
            max_queue=None if self._most_waiting is None else round(self._most_waiting),
            availability_percent=_percent(self._answered, self._looks),
            recommendations=advice,
        )

    def _latencies(self) -> LatencyReport | None:
        if self.latency is None:
            return None
        return LatencyReport(
            mean=_decimal(self.latency),
            p50=_decimal(quantile(0.50, self._bounds, self._counts)),
            p95=_decimal(quantile(0.95, self._bounds, self._counts)),
            max=_decimal(max(self._slowest, _slowest_bucket(self._bounds, self._counts))),
            min=_decimal(self._fastest),
        )


def quantile(share: float, bounds: tuple[float, ...], counts: Sequence[float]) -> float | None:
    """The value that `share` of a cumulative histogram lies below, as Prometheus reckons it.

    Linear within a bucket; what lies beyond the last finite bound is that bound.
    """
    if not counts or counts[-1] <= 0:
        return None
    rank = share * counts[-1]
    place = next(place for place, count in enumerate(counts) if count >= rank)
    lower, below = (bounds[place - 1], counts[place - 1]) if place else (0.0, 0.0)
    if not isfinite(bounds[place]):
        return lower
    within = counts[place] - below
    return lower + (bounds[place] - lower) * ((rank - below) / within if within else 1.0)


def _slowest_bucket(bounds: tuple[float, ...], counts: Sequence[float]) -> float:
    """Upper bound of the slowest request's bucket; the last finite one for what is beyond."""
    if not counts or counts[-1] <= 0:
        return -inf
    bound = bounds[next(place for place, count in enumerate(counts) if count >= counts[-1])]
    return bound if isfinite(bound) else max(filter(isfinite, bounds), default=-inf)


def recommend(instance: str, window: Window, until: float, slow: float, engine: str) -> tuple[Recommendation, ...]:
    """Advice for one replica by the plain thresholds; `slow` is the latency in seconds that is worth it."""
    length = _length(until - window.since)
    advice = []
    if window.latency is not None and window.latency > slow:
        advice.append(
            Recommendation(
                instance=instance,
                type="scale_up",
                reason=f"Requests took {window.latency:.3g} s on average in {length}, above {slow:g} s.",
                suggestion=_LARGER.get(engine, _LARGER_ELSE),
            )
        )
    if window.gpu is not None and window.gpu > BUSY_GPU:
        advice.append(
            Recommendation(
                instance=instance,
                type="scale_out",
                reason=f"GPUs were busy {window.gpu:.0%} of {length}, above {BUSY_GPU:.0%}.",
                suggestion="Add replicas if requests wait: a busy GPU alone may have room for more of them.",
            )
        )
    requests = window.requests_per_second(until)
    if window.gpu is not None and window.gpu < IDLE_GPU and requests is not None and requests < IDLE_REQUESTS:
        advice.append(
            Recommendation(
                instance=instance,
                type="scale_down",
                reason=f"GPUs were busy {window.gpu:.0%} of {length}, below {IDLE_GPU:.0%},"
                f" at {requests:.2g} requests per second, below {IDLE_REQUESTS:g}.",
                suggestion="Use fewer replicas or smaller GPUs, or scaling.minReplicas 0 behind a route.",
            )
        )
    return tuple(advice)


_LARGER = {
    "VLLM": "Raise parallelism.tensor or use GPUs with more memory; where requests wait, add replicas instead.",
    "LlamaCpp": "Raise llamaCpp.gpuLayers or threads, or use a smaller model; where requests wait, add replicas.",
    "Ollama": "Use a smaller model or a GPU that holds all of it; where requests wait, add replicas.",
}
_LARGER_ELSE = "Use larger replicas; where requests wait, add replicas instead."


def _percent(part: float, whole: float | None) -> str | None:
    return _decimal(100 * part / whole, 2) if whole else None


def _decimal(value: float | None, places: int = 4) -> str | None:
    if value is None or not isfinite(value):
        return None
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") or "0"


def _length(seconds: float) -> str:
    """As a duration without fractions: 1h, 5m, 90s."""
    whole = round(seconds)
    for unit, size in (("h", 3600), ("m", 60)):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"
