"""What must be there before pods start: a look at the source, the claim, and a cache that is filled. Pure.

Jobs are named by what they do, so a Job that is there is never applied again and one that is done stays as the record
of it. A failed Job is made anew after a while: its cause may have gone without a trace that a watch shows.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from agentfleet.engines import ENGINES
from agentfleet.engines.base import gpu_count
from agentfleet.engines.sources import parse_source
from agentfleet.manifests.loader import LOADER, inspect_job, load_job
from agentfleet.manifests.service import cache_claim
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.demands import demand_of
from agentfleet.planning.failures import Failure, loader_failure
from agentfleet.planning.nodes import mismatch, takes_pods
from agentfleet.planning.observed import Observed
from agentfleet.resources.conditions import timestamp
from agentfleet.resources.facts import ModelFacts
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import SourceFacts
from agentfleet.settings import Settings

RETRY = timedelta(minutes=30)
"""A Job that has used up its tries is made anew so long after the last; a corrected spec makes another at once."""

_AT_ONCE = 8
"""Nodes that load at the same time: a fleet of sites must not all pull from one source at once."""

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
    notes: tuple[str, ...] = ()
    """What went wrong without holding anything up."""


@dataclass(frozen=True)
class Inspection:
    """The look at a source: what it found, or what has to happen first."""

    job: str
    """Name of its Job."""
    source: SourceFacts | None = None
    loading: Loading = field(default_factory=Loading)


def inspection(server: ModelServer, observed: Observed, settings: Settings, occasion: str, now: datetime) -> Inspection:
    """Have the source looked at once per `occasion`; the facts as soon as they are there."""
    job = inspect_job(server, settings, occasion)
    name, live = job["metadata"]["name"], _live(job, observed)
    if live is not None and _succeeded(live):
        for pod in _pods(job, observed):
            source = source_found(server, pod.get("status", {}).get("containerStatuses", ()), now)
            if source:
                return Inspection(name, source=source)
        # Its pod is gone, and with it what it found.
        return Inspection(name, loading=Loading(delete=((key_of(job), live["metadata"]["uid"]),), done=False))
    return Inspection(name, loading=_progress(server, [job], observed, now))


def loading(server: ModelServer, observed: Observed, settings: Settings, now: datetime) -> Loading:
    """The claim and the Jobs that fill the cache before pods start."""
    claim = cache_claim(server)
    claims = (claim,) if claim else ()
    cache = server.spec.cache
    if cache is not None and cache.type == "HostPath":
        progress = _node_progress(server, observed, settings, now)
    else:
        progress = _progress(server, list(_claim_jobs(server, settings)), observed, now)
    return replace(progress, apply=(*claims, *progress.apply))


def _claim_jobs(server: ModelServer, settings: Settings) -> Iterable[Manifest]:
    cache = server.spec.cache
    if cache is None or cache.type == "Ephemeral" or not parse_source(server.model.uri).downloaded:
        return
    if cache.preload is not False:
        yield load_job(server, settings)


def _node_progress(server: ModelServer, observed: Observed, settings: Settings, now: datetime) -> Loading:
    """One Job for each node that pods may run on; they need not wait for more than the first of them.

    A pod checks and fills its node's folder by itself, so a site with a thin line or a full disk must hold up no other.
    The Job of a node that is away stays as it is: its return is no reason to load again.
    """
    cache = server.spec.cache
    if cache is None or not cache.preload or not parse_source(server.model.uri).downloaded:
        return Loading(delete=_stale(server, [], observed))
    demand = demand_of(server, settings.site_label, gpus=gpu_count(ENGINES[server.spec.engine], server))
    nodes = [node for node in observed.nodes or () if mismatch(node, demand) is None]
    jobs = [load_job(server, settings, node.name) for node in nodes]
    begun = [job for job in jobs if _live(job, observed)]
    # One that fails waits for its next try, and must not keep others from their first.
    unfinished = sum(_is_at_work(live, observed) for job in begun if (live := _live(job, observed)))
    missing = [job for job, node in zip(jobs, nodes, strict=True) if takes_pods(node, demand) and job not in begun]
    at_work = [*begun, *missing[: max(0, _AT_ONCE - unfinished)]]
    progress = _progress(server, at_work, observed, now)
    filled = not at_work or any(_succeeded(live) for job in jobs if (live := _live(job, observed)))
    return replace(
        progress,
        delete=(*progress.delete, *_stale(server, jobs, observed)),
        done=progress.done or filled,
        notes=(progress.failure.message,) if filled and progress.failure else (),
        failure=None if filled else progress.failure,
    )


def _progress(server: ModelServer, jobs: list[Manifest], observed: Observed, now: datetime) -> Loading:
    """Jobs that are missing are made, failed ones made anew; done when all have succeeded, and former ones go then."""
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
    stale = _stale(server, jobs, observed) if done else ()
    return Loading(tuple(apply), (*delete, *stale), done, failure, tuple(waiting))


def _stale(server: ModelServer, jobs: list[Manifest], observed: Observed) -> tuple[tuple[Key, str], ...]:
    """Load Jobs of former wishes."""
    kept = {job["metadata"]["name"] for job in jobs}
    return tuple(
        (key_of(live), live["metadata"]["uid"])
        for live in observed.jobs
        if live["metadata"]["name"] not in kept and live["metadata"]["name"].startswith(f"{server.name}-model-load-")
    )


def _live(job: Manifest, observed: Observed) -> Manifest | None:
    name = job["metadata"]["name"]
    return next((live for live in observed.jobs if live["metadata"]["name"] == name), None)


def _is_at_work(job: Manifest, observed: Observed) -> bool:
    return not (_succeeded(job) or _failed_at(job) or _why_stuck(job, observed))


def _succeeded(job: Manifest) -> bool:
    return any(c["type"] == "Complete" and c["status"] == "True" for c in job.get("status", {}).get("conditions", ()))


def _failed_at(job: Manifest) -> datetime | None:
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] == "Failed" and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def _pods(job: Manifest, observed: Observed) -> list[Manifest]:
    """The pods of a Job's tries, the last one first."""
    name = job["metadata"]["name"]
    found = [pod for pod in observed.loader_pods if pod["metadata"].get("labels", {}).get(_JOB_NAME) == name]
    return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)


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
