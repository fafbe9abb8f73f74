"""What a policy can see: samples of engines as the operator scrapes them, and the series of a Prometheus.

Everything passes through here, so that faults hit every policy alike. Samples are of the time at which they were
taken; who acts on them later acts on old news.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from agentfleet.autoscale.samples import EngineSample
from agentfleet.simulator.engine import Engine
from agentfleet.simulator.faults import GAUGES, Faults, holds
from agentfleet.simulator.fleet import Fleet, Pod
from agentfleet.simulator.traces import stream

SCRAPE_INTERVAL = 15.0
"""Prometheus, as its operator's chart has it."""

DCGM_INTERVAL = 30.0
"""DCGM exporter's default: how often it looks at the GPU."""

UTILIZATION_PERIOD = 1.0
"""Seconds that NVML's utilization looks back over: the share of them in which any kernel ran."""

PROBE_INTERVAL = 30.0
PROBE_VALID = 90.0
"""Seconds between two probes of an idle Ollama, and for which the speed of the last one is taken for its speed."""
PROBE_TOKENS = 32


class Telemetry:
    """The operator's own scrape of one engine."""

    def __init__(self, fleet: Fleet, faults: Faults) -> None:
        self._fleet = fleet
        self._faults = faults
        self._draw = stream(fleet.seed, "telemetry")
        self._probed: dict[str, float] = {}
        """Replica → when the sidecar asked its engine, for it was idle."""

    def lost(self) -> bool:
        """Whether a look fails now."""
        return holds(self._faults.outage, self._fleet.now) or self._draw.random() < self._faults.lost_scrapes

    def sample(self, pod: Pod) -> EngineSample | None:
        """What its engine says, in as many fields as an engine of that kind has; None where it does not answer."""
        engine = self._fleet.refresh(pod)
        if engine is None or self.lost():
            return None
        now = self._fleet.now
        full = engine.sample(now)
        if self._fleet.profile.engine == "LlamaCpp":
            full = _as_llama_cpp(full, engine.ended_tokens)
        elif self._fleet.profile.engine == "Ollama":
            full = self._as_ollama(pod, full, engine)
        if holds(self._faults.renamed, now):
            names = self._faults.renamed_fields
            return replace(full, **dict.fromkeys(names), missing=names)  # type: ignore[arg-type]
        if holds(self._faults.nan, now):
            return replace(full, **dict.fromkeys(self._faults.nan_fields, math.nan))  # type: ignore[arg-type]
        return full

    def _as_ollama(self, pod: Pod, full: EngineSample, engine: Engine) -> EngineSample:
        """Ollama counts nothing; the sidecar sees what is in flight, and asks for an answer itself now and then, but
        only where nobody else asks."""
        profile, now = self._fleet.profile, full.at
        if engine.load == 0 and now - self._probed.get(pod.name, -PROBE_INTERVAL) >= PROBE_INTERVAL:
            self._probed[pod.name] = now
        known = now - self._probed.get(pod.name, -math.inf) <= PROBE_VALID
        return EngineSample(
            at=now,
            started_at=full.started_at,
            running=float(min(engine.load, profile.max_running)),
            waiting=float(max(0, engine.load - profile.max_running)),
            max_running=full.max_running,
            tokens_per_second=1 / profile.step_seconds(1, 1, PROBE_TOKENS) if known else None,
        )


def _as_llama_cpp(full: EngineSample, ended_tokens: int) -> EngineSample:
    """llama-server: tokens and their seconds, counted when a request ends; no requests, no KV cache, no histograms."""
    return EngineSample(
        at=full.at,
        started_at=full.started_at,
        running=full.running,
        waiting=full.waiting,
        max_running=full.max_running,
        prompt_tokens=full.prompt_tokens,
        output_tokens=float(ended_tokens),
        prompt_seconds=full.prompt_seconds,
        output_seconds=full.output_seconds,
        steps=full.steps,
    )


class Prometheus:
    """One metric of all pods, as old as the last scrape. A target that did not answer has no value, as Prometheus marks
    it stale at once."""

    def __init__(self, fleet: Fleet, faults: Faults, read: Callable[[Pod], float | None]) -> None:
        self._fleet = fleet
        self._telemetry = Telemetry(fleet, faults)
        self._read = read
        self.values: Mapping[str, float] = {}
        # not in step with whoever asks
        fleet.every(SCRAPE_INTERVAL, self._scrape, first=stream(fleet.seed, "prometheus").uniform(0, SCRAPE_INTERVAL))

    def _scrape(self) -> None:
        values = {}
        for pod in self._fleet.pods:
            value = None if self._telemetry.lost() else self._read(pod)
            if value is not None:
                values[pod.name] = value
        self.values = values


def engine_metric(fleet: Fleet, faults: Faults, read: Callable[[EngineSample], float]) -> Prometheus:
    """Of what engines export about the requests in them: subject to renaming and NaN."""

    def value(pod: Pod) -> float | None:
        engine = fleet.refresh(pod)
        renamed = holds(faults.renamed, fleet.now) and not GAUGES.isdisjoint(faults.renamed_fields)
        if engine is None or renamed:
            return None
        broken = holds(faults.nan, fleet.now) and not GAUGES.isdisjoint(faults.nan_fields)
        return math.nan if broken else read(engine.sample(fleet.now))

    return Prometheus(fleet, faults, value)


def gpu_metric(fleet: Fleet, faults: Faults) -> Prometheus:
    """DCGM_FI_DEV_GPU_UTIL in percent: that of a pod that loads its model is 0."""
    before: dict[str, float] = {}
    seen: dict[str, float] = {}

    def busy(pod: Pod) -> float:
        engine = fleet.refresh(pod)
        return engine.busy_until(fleet.now) if engine else 0.0

    def begin() -> None:
        before.update({pod.name: busy(pod) for pod in fleet.pods})

    def look() -> None:
        seen.clear()
        for pod in fleet.pods:
            if pod.scheduled is not None and pod.name in before:
                share = max(0.0, busy(pod) - before[pod.name]) / UTILIZATION_PERIOD
                seen[pod.name] = 100 * min(1.0, share)

    start = stream(fleet.seed, "dcgm").uniform(UTILIZATION_PERIOD, DCGM_INTERVAL)
    fleet.every(DCGM_INTERVAL, begin, first=start - UTILIZATION_PERIOD)
    fleet.every(DCGM_INTERVAL, look, first=start)
    return Prometheus(fleet, faults, lambda pod: seen.get(pod.name))
