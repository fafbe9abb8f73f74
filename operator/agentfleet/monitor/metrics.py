"""Metrics of observations and fleet, made when Prometheus asks: series exist as long as their ModelServers do.

A standby knows no ModelServers, so it has none of these. Values that are not known have no series, never a zero.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agentfleet.cache import Cache
from agentfleet.monitor.fleet import FleetView, Health, fleet_of
from agentfleet.monitor.observations import Observations
from agentfleet.objects import Key
from agentfleet.resources.scaling_status import Report

_SERVER = ("namespace", "name")


class ObservationsCollector(Collector):
    """Reports, advice and thresholds of each ModelServer, and the health of all, of Agents and of AgentRoutes."""

    def __init__(self, observations: Observations, cache: Cache) -> None:
        self._observations = observations
        self._fleet = FleetView(cache)
        self._others = {kind: FleetView(cache, kind) for kind in ("Agent", "AgentRoute")}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Everything there is now."""
        yield from self._of_fleet()
        yield self._thresholds()
        yield from self._reports()

    def _of_fleet(self) -> Iterator[GaugeMetricFamily]:
        healths = self._fleet.look()
        fleet = fleet_of(healths.values())
        states = _gauge("agentfleet_fleet_modelservers", "ModelServers by state of their Ready condition.", "state")
        percent = _gauge("agentfleet_fleet_healthy_percent", "ModelServers that are healthy, of all there are.")
        if fleet.healthy_percent is not None:
            percent.add_metric((), fleet.healthy_percent)
            for state, count in fleet.states.items():
                states.add_metric((state,), count)
        yield from (states, percent, _problems("ModelServer", healths))
        yield from (_problems(kind, view.look()) for kind, view in self._others.items())

    def _thresholds(self) -> GaugeMetricFamily:
        exceeded = _gauge(
            "agentfleet_threshold_exceeded",
            "Replicas that exceed a threshold of their ModelServer for long enough.",
            *_SERVER,
            "type",
            "severity",
        )
        for key, (_, alerts) in self._observations.reports().items():
            for (kind, severity), count in Counter((alert.type, alert.severity) for alert in alerts).items():
                exceeded.add_metric((key.namespace, key.name, kind, severity), count)
        return exceeded

    def _reports(self) -> Iterator[GaugeMetricFamily]:
        values = {
            name: _gauge(f"agentfleet_report_{name}", f"{words}, of the last window.", *_SERVER)
            for name, words in _REPORTED.items()
        }
        latency = _gauge(
            "agentfleet_report_latency_seconds",
            "Time of a request from start to end, of the last window: mean, p50, p95, max or min.",
            *_SERVER,
            "statistic",
        )
        advice = _gauge(
            "agentfleet_recommendation",
            "1 for each piece of advice by the plain thresholds of latency and utilisation.",
            *_SERVER,
            "instance",
            "type",
        )
        for key, (report, _) in self._observations.reports().items():
            if report is None:
                continue
            server = (key.namespace, key.name)
            for name, gauge in values.items():
                _add(gauge, server, getattr(report, name))
            for statistic, seconds in _latencies(report):
                _add(latency, (*server, statistic), seconds)
            for each in report.recommendations:
                advice.add_metric((*server, each.instance, each.type), 1)
        yield from (*values.values(), latency, advice)


def _problems(kind: str, healths: Mapping[Key, Health]) -> GaugeMetricFamily:
    name, words = f"agentfleet_{kind.lower()}_problem", f"1 for each condition of {_ARTICLES[kind]} that is wrong."
    problems = _gauge(name, words, *_SERVER, "condition", "reason")
    for key, health in healths.items():
        for condition, reason in health.problems:
            problems.add_metric((key.namespace, key.name, condition, reason), 1)
    return problems


_ARTICLES = {"ModelServer": "a ModelServer", "Agent": "an Agent", "AgentRoute": "an AgentRoute"}

_REPORTED = {
    "samples": "Half-minute samples of all replicas",
    "requests_per_second": "Requests per second of all replicas",
    "error_rate_percent": "Failed requests",
    "gpu_utilization_percent": "Mean share of the time that GPUs were busy",
    "max_queue": "Most requests of one replica that waited",
    "availability_percent": "Looks at which a wanted replica answered",
}


def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, labels=labels)


def _add(gauge: GaugeMetricFamily, labels: tuple[str, ...], value: str | int | None) -> None:
    if value is not None:
        gauge.add_metric(labels, float(value))


def _latencies(report: Report) -> Iterator[tuple[str, str | None]]:
    if report.latency is not None:
        for statistic in ("mean", "p50", "p95", "max", "min"):
            yield statistic, getattr(report.latency, statistic)
