"""The scaling loop's metrics, made when Prometheus asks: series exist as long as their ModelServers do.

What is not known has no series, never a zero. A standby watches nothing, so it has none of these.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agentfleet.monitor.loop import ScalingLoop
from agentfleet.monitor.watched import Watched

_SERVER = ("namespace", "name")

_VALUES: dict[str, tuple[str, Callable[[Watched], float | None]]] = {
    "desired_replicas": ("Replicas that there shall be, by whoever decides.", lambda each: each.wanted),
    "recommended_replicas": (
        "Replicas that the loop calls for.",
        lambda each: each.advice.decision.target if each.advice and each.advice.decision else None,
    ),
    "ready_replicas": ("Replicas that serve.", lambda each: sum(replica.ready for replica in each.pods.replicas)),
    "capacity_requests_per_second": (
        "Requests per second that one replica carries within the goal, as learnt.",
        lambda each: each.advice.learnt.requests_per_second if each.advice and each.advice.learnt else None,
    ),
    "capacity_concurrency": (
        "Requests at once that one replica carries within the goal, where its engine counts no requests.",
        lambda each: each.advice.learnt.concurrency if each.advice and each.advice.learnt else None,
    ),
    "data_age_seconds": (
        "Age of the oldest sample that counts, at the last look.",
        lambda each: each.advice.health.oldest if each.advice else None,
    ),
}
_INPUTS = {
    "demand": "Demand at the last look, in the unit of capacity: requests per second, or requests at once.",
    "forecast": "Demand that is expected by the time a new replica serves, in the same unit.",
    "loadFactor": "Share of the learnt capacity that is planned with.",
    "queue": "Requests that wait, in engines and gateways.",
    "pending": "Replicas that are on their way.",
}


class ScalingCollector(Collector):
    """What the loop sees of each ModelServer, and what it makes of it."""

    def __init__(self, loop: ScalingLoop) -> None:
        self._loop = loop

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Everything there is now."""
        yield from self._values()
        yield from self._inputs()
        yield from self._words()

    def _values(self) -> Iterator[GaugeMetricFamily]:
        for name, (words, read) in _VALUES.items():
            gauge = _gauge(name, words)
            for each in self._loop.watched:
                _add(gauge, each, read(each))
            yield gauge

    def _inputs(self) -> Iterator[GaugeMetricFamily]:
        for key, words in _INPUTS.items():
            gauge = _gauge("load_factor" if key == "loadFactor" else key, words)
            for each in self._loop.watched:
                decision = each.advice.decision if each.advice else None
                _add(gauge, each, decision.inputs.get(key) if decision else None)
            yield gauge

    def _words(self) -> Iterator[GaugeMetricFamily]:
        decisions = _gauge("decision_info", "1 for what the loop calls for now, and why.", "action", "binding")
        modes = _gauge("mode_info", "1 for the mode in force: Manual, Recommend or Apply.", "mode")
        for each in self._loop.watched:
            decision = each.advice.decision if each.advice else None
            if decision:
                _add(decisions, each, 1, decision.action, decision.binding)
            if each.standing.mode:
                _add(modes, each, 1, each.standing.mode)
        yield from (decisions, modes)


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"agentfleet_scaling_{name}", words, labels=(*_SERVER, *labels))


def _add(gauge: GaugeMetricFamily, each: Watched, value: float | None, *labels: str) -> None:
    if value is not None:
        gauge.add_metric((each.key.namespace, each.key.name, *labels), value)
