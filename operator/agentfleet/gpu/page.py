"""Writes what is known as a Prometheus page. Pure: what is shown is handed in."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agentfleet.gpu import names
from agentfleet.gpu.readings import Device, Holder, Reading, Source


@dataclass(frozen=True, slots=True)
class View:
    """What the page shows."""

    node: str
    source: Source
    up: bool
    """Whether the source answered, lately."""
    age: float | None
    """Seconds since the last look; None before the first."""
    driver: str
    readings: tuple[Reading, ...]
    holders: Mapping[Device, tuple[Holder, ...]]
    pod_resources_up: bool
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(call, error) → how often."""
    xids: Mapping[tuple[str, int], int] = field(default_factory=dict)


def page(view: View) -> bytes:
    """The text format, version 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Families(view))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, view: View) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        yield from _exporter(self._view)
        yield from _devices(self._view)
        yield from _measures(self._view)


def _exporter(view: View) -> Iterator[Metric]:
    yield _gauge(
        names.EXPORTER_UP,
        "1 while the source of these numbers answers.",
        {"node": view.node, "source": view.source},
        float(view.up),
    )
    if view.age is not None:
        yield _gauge(names.SAMPLE_AGE, "Seconds since the GPUs were last looked at.", {}, view.age)
    yield _gauge(
        names.POD_RESOURCES_UP,
        "1 while the kubelet tells which container holds which device.",
        {},
        float(view.pod_resources_up),
    )
    if view.driver:
        yield _gauge(names.DRIVER, "The driver, by label.", {"version": view.driver}, 1.0)
    errors = CounterMetricFamily(names.ERRORS, "Calls that failed.", labels=["call", "error"])
    for (call, error), count in sorted(view.errors.items()):
        errors.add_metric([call, error], count)
    yield errors


def _devices(view: View) -> Iterator[Metric]:
    up = GaugeMetricFamily(names.UP, "1 while the device answers, 0 once it is lost.", labels=names.LABELS)
    supported = GaugeMetricFamily(
        names.SUPPORTED, "0 for a measure that the device does not have.", labels=[*names.LABELS, "measure"]
    )
    allocated = GaugeMetricFamily(
        names.ALLOCATED,
        "Shares of the device that a container holds: 1 for a device that is not shared.",
        labels=names.LABELS,
    )
    xids = CounterMetricFamily(names.XID_ERRORS, "XID errors that the driver reported.", labels=["uuid", "xid"])
    for reading in view.readings:
        labels = _labels(reading.device, _only(view.holders.get(reading.device, ())))
        up.add_metric(labels, float(reading.up))
        for measure in reading.unsupported:
            supported.add_metric([*labels, measure], 0.0)
        for holder in view.holders.get(reading.device, ()):
            allocated.add_metric(_labels(reading.device, holder), holder.shares)
    for (uuid, xid), count in sorted(view.xids.items()):
        xids.add_metric([uuid, str(xid)], count)
    yield from (up, supported, allocated, xids)


def _measures(view: View) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
        name: GaugeMetricFamily(names.PREFIX + name, text, labels=names.LABELS) for name, text in names.GAUGES.items()
    }
    families |= {
        name: CounterMetricFamily(names.PREFIX + name, text, labels=names.LABELS)
        for name, text in names.COUNTERS.items()
    }
    for reading in view.readings:
        labels = _labels(reading.device, _only(view.holders.get(reading.device, ())))
        for measure, value in reading.values.items():
            families[measure].add_metric(labels, value)
    return (family for family in families.values() if family.samples)


def _only(holders: Sequence[Holder]) -> Holder | None:
    """The holder, where there is one: nobody can tell apart what each of several uses."""
    return holders[0] if len(holders) == 1 else None


def _labels(device: Device, holder: Holder | None) -> list[str]:
    own = [device.gpu, device.uuid, device.model, device.profile, device.instance]
    return own + ([holder.namespace, holder.pod, holder.container] if holder else ["", "", ""])


def _gauge(name: str, text: str, labels: Mapping[str, str], value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
