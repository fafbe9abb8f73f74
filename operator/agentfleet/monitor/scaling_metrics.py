"""The scaling loop's metrics, made when Prometheus asks: series exist as long as their ModelServers and Agents do.

Those of Agents have names of their own, agentfleet_agent_scaling_*, for an Agent may be called as a ModelServer is.

What is not known has no series, never a zero. A standby watches nothing, so it has none of these.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agentfleet.monitor.loop import ScalingLoop
from agentfleet.monitor.watched import Watched

_SERVER = ("namespace", "name")
_PREFIXES = {"ModelServer": "agentfleet_scaling_", "Agent": "agentfleet_agent_scaling_"}

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
    """What the loop sees of each ModelServer and Agent, and what it makes of it."""

    def __init__(self, loop: ScalingLoop) -> None:
        self._loop = loop

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Everything there is now."""
        for kind, prefix in _PREFIXES.items():
            watched = [each for each in self._loop.watched if each.key.kind == kind]
            yield from _values(prefix, watched)
            yield from _inputs(prefix, watched)
            yield from _words(prefix, watched)


def _values(prefix: str, watched: Iterable[Watched]) -> Iterator[GaugeMetricFamily]:
    for name, (words, read) in _VALUES.items():
        gauge = _gauge(prefix + name, words)
        for each in watched:
            _add(gauge, each, read(each))
        yield gauge


def _inputs(prefix: str, watched: Iterable[Watched]) -> Iterator[GaugeMetricFamily]:
    for key, words in _INPUTS.items():
        gauge = _gauge(prefix + ("load_factor" if key == "loadFactor" else key), words)
        for each in watched:
            decision = each.advice.decision if each.advice else None
            _add(gauge, each, decision.inputs.get(key) if decision else None)
        yield gauge


def _words(prefix: str, watched: Iterable[Watched]) -> Iterator[GaugeMetricFamily]:
    decisions = _gauge(prefix + "decision_info", "1 for what the loop calls for now, and why.", "action", "binding")
    modes = _gauge(prefix + "mode_info", "1 for the mode in force: Manual, Recommend or Apply.", "mode")
    for each in watched:
        decision = each.advice.decision if each.advice else None
        if decision:
            _add(decisions, each, 1, decision.action, decision.binding)
        if each.standing.mode:
            _add(modes, each, 1, each.standing.mode)
    yield from (decisions, modes)


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, labels=(*_SERVER, *labels))


def _add(gauge: GaugeMetricFamily, each: Watched, value: float | None, *labels: str) -> None:
    if value is not None:
        gauge.add_metric((each.key.namespace, each.key.name, *labels), value)
