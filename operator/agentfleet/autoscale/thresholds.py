"""Thresholds: what is worth an alert, and for how long it must have lasted. Pure.

Alerts tell people; no decision reads them. A value that is not known neither raises nor clears one: a server that goes
silent in the middle of trouble stays in trouble until it says otherwise.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from agentfleet.autoscale.folding import Folded
from agentfleet.durations import parse_duration
from agentfleet.resources.base import quantity_value
from agentfleet.resources.conditions import ConditionStatus, timestamp
from agentfleet.resources.scaling import Thresholds

AlertType = Literal["gpu_utilization", "gpu_memory", "memory", "cpu", "latency", "queue_length", "error_rate"]
Severity = Literal["warning", "critical"]

FEWEST_REQUESTS: Final = 20
"""Fewer say nothing about a rate of errors, unless none of them failed."""
LOOK_BACK: Final = 10
"""Samples among which so many requests are looked for."""
MOST_TOLD: Final = 8
"""Alerts that a condition's message lists."""

SEVERITIES: Final[Mapping[AlertType, Severity]] = {
    "gpu_utilization": "warning",
    "gpu_memory": "critical",
    "memory": "critical",
    "cpu": "warning",
    "latency": "warning",
    "queue_length": "warning",
    "error_rate": "critical",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for one server. Shares are 0 to 1, times seconds, memory bytes."""

    values: Mapping[AlertType, float]
    lasting: float
    """Seconds that a value must have been above before it is told."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A value of one replica that has been above its threshold for long enough."""

    instance: str
    type: AlertType
    severity: Severity
    since: float
    value: float
    threshold: float

    def __str__(self) -> str:
        show = _SHOWN[self.type]
        return f"{self.type} of {self.instance} is {show(self.value)}, above {show(self.threshold)} ({self.severity})"


def limits_of(engine: str, spec: Thresholds | None) -> Limits:
    """Thresholds of a spec, its engine's defaults filled in."""
    spec = spec or Thresholds()
    ollama = engine == "Ollama"
    values: dict[AlertType, float] = {
        "gpu_utilization": (spec.gpu_utilization_percent or 95) / 100,
        "memory": (spec.memory_percent or 85) / 100,
        "cpu": (spec.cpu_percent or 80) / 100,
        "latency": parse_duration(spec.latency or ("2s" if ollama else "3s")),
        "queue_length": float(spec.queue_length or 50),
        "error_rate": (spec.error_rate_percent or (5 if ollama else 10)) / 100,
    }
    if spec.gpu_memory is not None:
        values["gpu_memory"] = float(quantity_value(spec.gpu_memory))
    return Limits(values, parse_duration(spec.for_ or "1m"))


Reading = Mapping[AlertType, float | None]
"""What one replica shows; None is not known."""


@dataclass(slots=True)
class _Excess:
    """A value above its threshold."""

    since: float
    value: float
    told: bool = False


class _Instance:
    __slots__ = ("ended", "excesses")

    def __init__(self) -> None:
        self.excesses: dict[AlertType, _Excess] = {}
        self.ended: tuple[tuple[float, float], ...] = ()
        """(requests, failed) of the last samples, newest first."""


class Alarms:
    """The alerts of one server."""

    def __init__(self) -> None:
        self._instances: dict[str, _Instance] = {}
        self._limits: Mapping[AlertType, float] = {}

    def judge(self, samples: Collection[Folded], limits: Limits) -> tuple[list[Alert], list[Alert]]:
        """Take in one sample of each replica there is; gives what is raised and what is cleared by them.

        Replicas without a sample are gone, and their alerts with them.
        """
        before = {(alert.instance, alert.type): alert for alert in self.alerts}
        self._limits = limits.values
        self._instances = {folded.replica: self._instances.get(folded.replica, _Instance()) for folded in samples}
        for folded in samples:
            self._judge(self._instances[folded.replica], folded, limits)
        after = {(alert.instance, alert.type): alert for alert in self.alerts}
        raised = [alert for key, alert in after.items() if key not in before]
        return raised, [alert for key, alert in before.items() if key not in after]

    @staticmethod
    def _judge(instance: _Instance, folded: Folded, limits: Limits) -> None:
        instance.ended = _with_ended(instance.ended, folded)
        readings = _readings(folded, instance.ended)
        for kind in SEVERITIES:
            limit, value = limits.values.get(kind), readings[kind]
            if limit is None:
                instance.excesses.pop(kind, None)
            elif value is None:
                continue
            elif value <= limit:
                instance.excesses.pop(kind, None)
            else:
                excess = instance.excesses.setdefault(kind, _Excess(folded.since, value))
                excess.value = value
                excess.told = excess.told or folded.at - excess.since >= limits.lasting

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """What has lasted for long enough: critical ones first, then by replica and type."""
        told = [
            Alert(name, kind, SEVERITIES[kind], excess.since, excess.value, self._limits[kind])
            for name, instance in self._instances.items()
            for kind, excess in instance.excesses.items()
            if excess.told
        ]
        return tuple(sorted(told, key=lambda alert: (alert.severity, alert.instance, alert.type)))


def _with_ended(ended: tuple[tuple[float, float], ...], folded: Folded) -> tuple[tuple[float, float], ...]:
    growth = folded.growth
    if growth is None or growth.completed is None or growth.failed is None:
        return ended
    return ((growth.completed + growth.failed, growth.failed), *ended)[:LOOK_BACK]


def _readings(folded: Folded, ended: tuple[tuple[float, float], ...]) -> Reading:
    return {
        "gpu_utilization": folded.gpu,
        "gpu_memory": folded.gpu_memory / folded.gpus if folded.gpu_memory is not None and folded.gpus else None,
        "memory": folded.memory_share,
        "cpu": folded.cpu_share,
        "latency": _latency(folded),
        "queue_length": folded.waiting,
        "error_rate": _error_rate(folded, ended),
    }


def _latency(folded: Folded) -> float | None:
    """A replica that nobody asks is not slow; one that works on requests and ends none says nothing yet."""
    idle = folded.growth is not None and folded.growth.requests == 0 and not folded.running and not folded.waiting
    return 0.0 if idle else folded.latency


def _error_rate(folded: Folded, ended: tuple[tuple[float, float], ...]) -> float | None:
    """Among the last requests, as few of them as will do."""
    if folded.growth is None or folded.growth.failed is None:
        return None
    requests = failed = 0.0
    for requests_then, failed_then in ended:
        requests += requests_then
        failed += failed_then
        if requests >= FEWEST_REQUESTS:
            return failed / requests
    return None if failed else 0.0


def condition(alerts: tuple[Alert, ...]) -> tuple[ConditionStatus, str, str] | None:
    """ThresholdExceeded as status, reason and message; None where all is well."""
    if not alerts:
        return None
    told = [f"{alert} since {_time(alert.since)}" for alert in alerts[:MOST_TOLD]]
    if len(alerts) > MOST_TOLD:
        told.append(f"and {len(alerts) - MOST_TOLD} more")
    return "True", "AboveThreshold", "; ".join(told) + "."


def raised_words(alert: Alert) -> tuple[str, str, str]:
    """Type, reason and message of the Event that tells of `alert`."""
    return "Warning", "AboveThreshold", f"{alert} since {_time(alert.since)}."


def cleared_words(alert: Alert) -> tuple[str, str, str]:
    """The same of its end."""
    limit = _SHOWN[alert.type](alert.threshold)
    return "Normal", "BelowThreshold", f"{alert.type} of {alert.instance} is no longer above {limit}."


def _time(at: float) -> str:
    return timestamp(datetime.fromtimestamp(at, UTC))


def _percent(value: float) -> str:
    return f"{value:.0%}"


_SHOWN: Mapping[AlertType, Callable[[float], str]] = {
    "gpu_utilization": _percent,
    "gpu_memory": lambda value: f"{value / 2**30:.3g} GiB",
    "memory": _percent,
    "cpu": _percent,
    "latency": lambda value: f"{value:.3g} s",
    "queue_length": lambda value: f"{value:.3g} requests",
    "error_rate": _percent,
}
