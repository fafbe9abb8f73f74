"""How long pods take to their first answer, phase by phase, from what kubelet writes into their status. Pure."""

import math
from collections.abc import Iterable
from datetime import datetime

from agentfleet.manifests.loader import LOADER
from agentfleet.manifests.pod import ENGINE
from agentfleet.objects import Manifest
from agentfleet.planning.failures import is_ready
from agentfleet.resources.modelserver_status import ColdStart, ColdStartSample

_SAMPLES = 10
_PERCENTILE = 0.9


def cold_start(before: ColdStart | None, pods: Iterable[Manifest], container: str = ENGINE) -> ColdStart | None:
    """The figures with pods that have become ready since; each counts once, and only if `container` never restarted."""
    samples = {sample.pod: sample for sample in (before.samples if before else ())}
    for pod in pods:
        sample = _sample(pod, container) if pod["metadata"]["name"] not in samples and is_ready(pod) else None
        if sample:
            samples[sample.pod] = sample
    # By when the pods were made, so that older ones which go on living never push newer ones out.
    kept = tuple(sorted(samples.values(), key=lambda sample: (sample.created_at, sample.pod))[-_SAMPLES:])
    if not kept or (before and kept == before.samples):
        return before
    return ColdStart(
        schedule=_high([sample.schedule for sample in kept]),
        pull=_high([sample.pull for sample in kept]),
        download=_high([sample.download for sample in kept]),
        load=_high([sample.load for sample in kept]),
        total=_high([sample.total for sample in kept]),
        samples=kept,
    )


def _sample(pod: Manifest, container: str) -> ColdStartSample | None:
    status = pod.get("status", {})
    containers = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    statuses = {each["name"]: each for each in containers}
    engine, loader = statuses.get(container), statuses.get(LOADER)
    if engine is None or engine.get("restartCount") or (loader and loader.get("restartCount")):
        return None
    made = _time(pod["metadata"]["creationTimestamp"])
    scheduled = _condition_time(status, "PodScheduled")
    ready = _condition_time(status, "Ready")
    started = _time(engine.get("state", {}).get("running", {}).get("startedAt"))
    if made is None or scheduled is None or ready is None or started is None:
        return None
    ended = loader["state"].get("terminated", {}) if loader else {}
    loading_from, loading_to = _time(ended.get("startedAt")), _time(ended.get("finishedAt"))
    download = _seconds(loading_from, loading_to) if loading_from and loading_to else 0
    return ColdStartSample(
        pod=pod["metadata"]["name"],
        created_at=pod["metadata"]["creationTimestamp"],
        schedule=_seconds(made, scheduled),
        pull=max(0, _seconds(scheduled, started) - download),
        download=download,
        load=_seconds(started, ready),
        total=_seconds(made, ready),
    )


def _condition_time(status: Manifest, kind: str) -> datetime | None:
    times = (c.get("lastTransitionTime") for c in status.get("conditions", ()) if c["type"] == kind)
    return _time(next(times, None))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _seconds(start: datetime, end: datetime) -> int:
    return max(0, round((end - start).total_seconds()))


def _high(values: list[int]) -> int:
    return sorted(values)[math.ceil(_PERCENTILE * len(values)) - 1]
