"""What must be there before pods start: a look at the source, the claim, and a cache that is filled. Pure.

Jobs are named by what they do, so a Job that is there is never applied again and one that is done stays as the record
of it. A failed Job is made anew after a while: its cause may have gone without a trace that a watch shows.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from agentfleet.engines.sources import parse_source
from agentfleet.manifests.loader import LOADER, inspect_job, load_job
from agentfleet.manifests.service import cache_claim
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.failures import Failure, loader_failure
from agentfleet.planning.observed import Observed
from agentfleet.resources.conditions import timestamp
from agentfleet.resources.facts import ModelFacts
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import SourceFacts
from agentfleet.settings import Settings

RETRY = timedelta(seconds=60)
"""A failed Job is made anew this long after its failure."""

_JOB_NAME = "batch.kubernetes.io/job-name"


@dataclass(frozen=True)
class Loading:
    """What loading asks for now."""

    apply: tuple[Manifest, ...] = ()
    delete: tuple[tuple[Key, str], ...] = ()
    done: bool = True
    """Whether pods may start."""
    failure: Failure | None = None
    waiting: tuple[str, ...] = ()
    """Names of Jobs that are at work."""


@dataclass(frozen=True)
class Inspection:
    """The look at a source: what it found, or what has to happen first."""

    source: SourceFacts | None = None
    loading: Loading = field(default_factory=Loading)


def inspection(server: ModelServer, observed: Observed, settings: Settings, occasion: str, now: datetime) -> Inspection:
    """Have the source looked at once per `occasion`; the facts as soon as they are there."""
    job = inspect_job(server, settings, occasion)
    live = _live(job, observed)
    if live is not None and _succeeded(live):
        for pod in _pods(job, observed):
            source = source_found(server, pod.get("status", {}).get("containerStatuses", ()), now)
            if source:
                return Inspection(source=source)
        # Its pod is gone, and with it what it found.
        return Inspection(loading=Loading(delete=((key_of(job), live["metadata"]["uid"]),), done=False))
    return Inspection(loading=_progress([job], observed, now))


def loading(server: ModelServer, observed: Observed, settings: Settings, now: datetime) -> Loading:
    """The claim and the Jobs that fill the cache before pods start."""
    claim = cache_claim(server)
    claims = (claim,) if claim else ()
    jobs = list(_load_jobs(server, observed, settings))
    progress = _progress(jobs, observed, now)
    stale = _stale(jobs, observed) if progress.done else ()
    return Loading(
        apply=(*claims, *progress.apply),
        delete=(*progress.delete, *stale),
        done=progress.done,
        failure=progress.failure,
        waiting=progress.waiting,
    )


def _load_jobs(server: ModelServer, observed: Observed, settings: Settings) -> Iterable[Manifest]:
    cache = server.spec.cache
    if cache is None or cache.type == "Ephemeral" or not parse_source(server.model.uri).downloaded:
        return
    if cache.type == "HostPath":
        if cache.preload:
            for node in _nodes(server, observed, settings):
                yield load_job(server, settings, node)
    elif cache.preload is not False:
        yield load_job(server, settings)


def _nodes(server: ModelServer, observed: Observed, settings: Settings) -> list[str]:
    """Ready nodes that the placement allows; none where nodes are not watched, and pods then load for themselves."""
    placement = server.spec.placement
    wanted = dict(placement.node_selector or {}) if placement else {}
    sites = placement.sites if placement else ()
    return [
        node.name
        for node in observed.nodes or ()
        if node.ready
        and node.schedulable
        and all(node.labels.get(name) == value for name, value in wanted.items())
        and (not sites or node.labels.get(settings.site_label) in sites)
    ]


def _progress(jobs: list[Manifest], observed: Observed, now: datetime) -> Loading:
    """Jobs that are missing are made, failed ones made anew; done when all have succeeded."""
    apply: list[Manifest] = []
    delete: list[tuple[Key, str]] = []
    waiting: list[str] = []
    failure: Failure | None = None
    for job in jobs:
        live = _live(job, observed)
        if live is None:
            apply.append(job)
            waiting.append(job["metadata"]["name"])
        elif failed_at := _failed_at(live):
            failure = failure or _why(live, observed)
            if now - failed_at >= RETRY:
                delete.append((key_of(job), live["metadata"]["uid"]))
        elif not _succeeded(live):
            waiting.append(live["metadata"]["name"])
            failure = failure or _why_stuck(live, observed)
    done = not waiting and failure is None and not delete
    return Loading(tuple(apply), tuple(delete), done, failure, tuple(waiting))


def _stale(jobs: list[Manifest], observed: Observed) -> tuple[tuple[Key, str], ...]:
    """Jobs of former wishes."""
    kept = {job["metadata"]["name"] for job in jobs}
    return tuple(
        (key_of(live), live["metadata"]["uid"])
        for live in observed.jobs
        if live["metadata"]["name"] not in kept and "-model-load-" in live["metadata"]["name"]
    )


def _live(job: Manifest, observed: Observed) -> Manifest | None:
    name = job["metadata"]["name"]
    return next((live for live in observed.jobs if live["metadata"]["name"] == name), None)


def _succeeded(job: Manifest) -> bool:
    return any(c["type"] == "Complete" and c["status"] == "True" for c in job.get("status", {}).get("conditions", ()))


def _failed_at(job: Manifest) -> datetime | None:
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] == "Failed" and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def _pods(job: Manifest, observed: Observed) -> list[Manifest]:
    name = job["metadata"]["name"]
    return [pod for pod in observed.loader_pods if pod["metadata"].get("labels", {}).get(_JOB_NAME) == name]


def _why(job: Manifest, observed: Observed) -> Failure:
    for pod in _pods(job, observed):
        found = loader_failure(pod)
        if found:
            return found
    return Failure("EngineDied", f"Job {job['metadata']['name']} failed; see its pods' logs.")


def _why_stuck(job: Manifest, observed: Observed) -> Failure | None:
    """What keeps a Job from working that nobody but a human can change: image, Secret, node."""
    found = (loader_failure(pod) for pod in _pods(job, observed))
    return next((failure for failure in found if failure), None)


def source_found(server: ModelServer, containers: Iterable[Mapping[str, Any]], now: datetime) -> SourceFacts | None:
    """What a loader among `containers` (statuses) wrote when it was done; None where none did."""
    for container in containers:
        ended = container.get("state", {}).get("terminated", {})
        if container["name"] == LOADER and ended.get("exitCode") == 0:
            try:
                said = json.loads(ended.get("message", ""))
                return SourceFacts(
                    uri=server.model.uri,
                    revision=str(said["revision"])[:256] if said.get("revision") else None,
                    facts=ModelFacts.model_validate(said["facts"]) if said.get("facts") else None,
                    checked_at=timestamp(now),
                )
            except (ValueError, AttributeError, TypeError):
                # An older loader, or one that was cut short: nothing is known from it.
                return None
    return None
