"""The sidecar's Prometheus page. A number that is not known has no sample: missing is not zero."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agentfleet.sidecar.drain import DrainResult
from agentfleet.sidecar.models import LoadedModel, ModelState
from agentfleet.sidecar.speed import Probes
from agentfleet.sidecar.supervisor import Status

PREFIX = "agentfleet_sidecar_"
DRAIN_BUCKETS = (1, 5, 15, 30, 35, 40, 50, 65, 95, 155, 335, 635)
"""Seconds; a drain takes the DNS delay at least, 35 s by default."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read anew for each scrape. `loaded` is None where the engine has no such list or did not answer."""

    status: Status
    in_flight: int | None
    loaded: Sequence[LoadedModel] | None


class Telemetry:
    """All metrics of the process, on a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._gauges = _GaugeCollector()
        self._registry.register(self._gauges)
        self._pulled = Counter(
            PREFIX + "pull_bytes",
            "Bytes of models that arrived in pulls, as the engine reported them.",
            ["model"],
            registry=self._registry,
        )
        self._drained = Histogram(
            PREFIX + "drain_seconds",
            "Time until a drain was answered, DNS delay included.",
            ["result"],
            buckets=DRAIN_BUCKETS,
            registry=self._registry,
        )

        self._unloaded = Counter(
            "agentfleet_models_unloaded",
            "Models that went from the engine's memory because they were idle or memory was short.",
            ["reason"],
            registry=self._registry,
        )
        self._updated = Counter(
            "agentfleet_model_updates",
            "Scheduled updates of models, one for each model and slot.",
            ["result"],
            registry=self._registry,
        )

    def unloaded(self, reason: str) -> None:
        """Counts a model that went."""
        self._unloaded.labels(reason).inc()

    def updated(self, result: str) -> None:
        """Counts an update, whatever came of it."""
        self._updated.labels(result).inc()

    def pulled(self, model: str, arrived: int) -> None:
        """Counts bytes of a pull."""
        self._pulled.labels(model).inc(arrived)

    def drained(self, result: DrainResult) -> None:
        """Records a finished drain."""
        self._drained.labels(result.result).observe(result.waited)

    def show_probes(self, probes: Callable[[], Mapping[str, Probes]]) -> None:
        """Show what a SpeedProbe found."""
        self._registry.register(_ProbeCollector(probes))

    def page(self, gauges: Gauges) -> bytes:
        """The page in the text format."""
        self._gauges.current = gauges
        return generate_latest(self._registry)


class _GaugeCollector(Collector):
    """Turns Gauges into metric families; nothing is kept from scrape to scrape, so nothing can go stale."""

    def __init__(self) -> None:
        self.current: Gauges | None = None

    def collect(self) -> Iterable[Metric]:
        if self.current is None:
            return
        status = self.current.status
        yield _gauge("ready", "1 while the pod may serve.", float(status.ready))
        yield _gauge("in_flight", "Requests that the engine has queued or in work.", self.current.in_flight)
        tally = Tally(model.state for model in status.models)
        models = GaugeMetricFamily(PREFIX + "models", "Models by state.", labels=["state"])
        for state in ModelState:
            models.add_metric([state], tally[state])
        yield models
        if self.current.loaded is not None:
            yield from _memory(self.current.loaded)


class _ProbeCollector(Collector):
    """What the active probes of an Ollama engine found."""

    def __init__(self, probes: Callable[[], Mapping[str, Probes]]) -> None:
        self._probes = probes

    def collect(self) -> Iterable[Metric]:
        speed = _by_model("probe_tokens_per_second", "Speed of one answer, at the last active probe.")
        load = _by_model("probe_load_seconds", "Time that the last active probe waited for the model to be loaded.")
        success = _by_model("probe_last_success_timestamp_seconds", "When an active probe succeeded last.")
        results = _by_model("probe_results", "The last 100 active probes, by result.", "result")
        seconds = _by_model("probe_seconds", "Time until the answer, of the last 100 active probes.", "statistic")
        for name, probes in self._probes().items():
            if (current := probes.current) is not None:
                speed.add_metric([name], current.tokens_per_second)
                load.add_metric([name], current.load_seconds)
                seconds.add_metric([name, "last"], current.seconds)
            if probes.succeeded_at is not None:
                success.add_metric([name], probes.succeeded_at)
            answers = [probe.seconds for probe in probes.last if probe is not None]
            results.add_metric([name, "Succeeded"], len(answers))
            results.add_metric([name, "Failed"], len(probes.last) - len(answers))
            if answers:
                seconds.add_metric([name, "min"], min(answers))
                seconds.add_metric([name, "mean"], sum(answers) / len(answers))
                seconds.add_metric([name, "max"], max(answers))
        return speed, load, success, results, seconds


def _by_model(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, documentation, labels=["model", *labels])


def _gauge(name: str, documentation: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, documentation)
    if value is not None:
        family.add_metric([], value)
    return family


def _memory(loaded: Sequence[LoadedModel]) -> Iterable[Metric]:
    yield _gauge("loaded_models", "Models that are in the engine's memory.", len(loaded))
    total = GaugeMetricFamily(PREFIX + "loaded_model_bytes", "Memory of a loaded model.", labels=["model"])
    vram = GaugeMetricFamily(PREFIX + "loaded_model_vram_bytes", "GPU memory of a loaded model.", labels=["model"])
    for model in loaded:
        total.add_metric([model.name], model.size)
        vram.add_metric([model.name], model.size_vram)
    yield total
    yield vram
