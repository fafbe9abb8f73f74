"""What a ModelServer's status says: conditions, counts and models, from what was planned and seen. Pure.

Conditions follow kstatus. Ready is about requests (does the wanted minimum serve?), Reconciling about a changed spec
that is still being rolled out, Stalled about causes that only a human can remove; the three are independent, so an old
revision may serve (Ready) while its successor is stuck (Stalled).
"""

from dataclasses import dataclass
from datetime import datetime

from agentfleet.errors import InvalidSpec, NotReady
from agentfleet.manifests.inferencepool import KIND as POOL_KIND
from agentfleet.manifests.inferencepool import wants_pool
from agentfleet.manifests.names import REVISION_LABEL, pod_selector, url
from agentfleet.planning.causes import cause_of, has_started, known_reason, model_failed
from agentfleet.planning.coldstart import cold_start
from agentfleet.planning.failures import Failure, is_ready
from agentfleet.planning.interim import waiting
from agentfleet.planning.models import engine_version, loader_models, served_models, sources_told
from agentfleet.planning.observed import Observed
from agentfleet.planning.plan import Plan
from agentfleet.planning.preparation import Preparation
from agentfleet.planning.questions import changes_by_itself
from agentfleet.planning.scaling_types import Wanted
from agentfleet.resources.conditions import (
    EXPOSED,
    MODEL_READY,
    OF_THE_LOOP,
    READY,
    RECONCILING,
    STALLED,
    ConditionStatus,
    explain,
    merge_conditions,
)
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus, ServedModel
from agentfleet.settings import Settings

_FIRST_LOOKS = 2.0
_LATER_LOOKS = 10.0
_RARE_LOOKS = 60.0
"""Seconds between looks while pods are on their way, since what sidecars and events say raises no watch event: a tenth
of the time that it takes already, within these bounds. A thousand servers that cannot start must cost little. Rarely
where all pods serve and only an extra model cannot be had."""


@dataclass(frozen=True)
class Assessment:
    """A status to write, and when to look again."""

    status: ModelServerStatus
    after: float | None


@dataclass(frozen=True)
class _Numbers:
    wanted: int
    pods: int
    ready: int
    updated: int
    updated_ready: int
    old: int
    started: int
    """Pods whose engine has answered or ended once, whatever it does now."""

    @property
    def rolled_out(self) -> bool:
        return self.updated_ready >= self.wanted and not self.old


def assess(
    server: ModelServer,
    before: ModelServerStatus,
    observed: Observed,
    plan: Plan,
    settings: Settings,
    now: datetime,
    beside: Wanted | None = None,
) -> Assessment:
    """The status of a ModelServer whose plan has been carried out; `beside` are conditions of other parts."""
    revision = plan.revision
    numbers = _count(plan, observed)
    converged = numbers.rolled_out or (before.revision == revision and not numbers.old)
    models = served_models(server, before, observed, revision)
    cause = cause_of(server, observed, revision, settings, now) or model_failed(models)
    wanted = _ready(numbers, converged=converged, cause=cause, old=before.revision)
    if cause and not cause.transient and not (converged and wanted[READY][0] == "True"):
        wanted[STALLED] = ("True", cause.reason, explain(cause.reason, cause.message))
    elif not converged:
        reason = cause.reason if cause else "RollingOut"
        message = (
            explain(cause.reason, cause.message)
            if cause
            else f"{numbers.updated_ready} of {numbers.wanted} new pods serve."
        )
        wanted[RECONCILING] = ("True", reason, message)
    wanted[MODEL_READY] = _model_ready(models, numbers)
    if wants_pool(server):
        wanted[EXPOSED] = _exposed(observed)
    status = before.model_copy(
        update={
            "observed_generation": server.generation,
            "url": server.spec.external.url if server.spec.external else url(server, settings.cluster_domain),
            "selector": pod_selector(server),
            "replicas": numbers.pods,
            "ready_replicas": numbers.ready,
            "updated_replicas": numbers.updated,
            "revision": revision if converged else before.revision,
            "rollout": plan.rollout,
            "models": models,
            "engine_version": engine_version(before, observed, revision),
            "cold_start": cold_start(before.cold_start, observed.pods),
            "sources": sources_told(server, before, observed, revision, now),
            "conditions": merge_conditions(before.conditions, wanted | (beside or {}), server.generation, now),
        }
    )
    if changes_by_itself(server):
        return Assessment(status, _RARE_LOOKS if numbers.ready else _look_again(observed, now))
    if numbers.wanted == 0 or (numbers.rolled_out and all(model.state == "Ready" for model in models)):
        # That a CRD has come raises no event.
        waits = wants_pool(server) and POOL_KIND not in observed.served
        return Assessment(status, _RARE_LOOKS if waits else None)
    # Once rolled out, a pod that is lost or waits is no reason to ask again and again: its return is an event.
    settled = numbers.rolled_out or (converged and wanted[READY][0] == "True")
    return Assessment(status, _RARE_LOOKS if settled else _look_again(observed, now))


def stalled(
    before: ModelServerStatus, observed: Observed, error: InvalidSpec, generation: int, now: datetime
) -> ModelServerStatus:
    """The status of a ModelServer whose spec cannot be acted on; what served before goes on serving."""
    ready = sum(is_ready(pod) for pod in observed.pods)
    message = explain(error.reason, error.message)
    # What the loop sees of the pods that serve goes on being so.
    seen: Wanted = {c.type: (c.status, c.reason, c.message) for c in before.conditions if c.type in OF_THE_LOOP}
    wanted: Wanted = seen | {
        STALLED: ("True", error.reason, message),
        READY: ("True", "Serving", f"{ready} pods of the previous spec serve.")
        if ready
        else ("False", error.reason, message),
    }
    conditions = merge_conditions(before.conditions, wanted, generation, now)
    return before.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions,
            "replicas": len(observed.pods),
            "ready_replicas": ready,
        }
    )


def blocked(
    before: ModelServerStatus, observed: Observed, preparation: Preparation, generation: int, now: datetime
) -> ModelServerStatus:
    """The status while the model's files are read or the cache is filled; pods of a former spec go on serving."""
    found = preparation.failure
    if found is not None and not found.transient:
        return stalled(before, observed, InvalidSpec(found.reason, found.message), generation, now)
    reason = found.reason if found else "PreparingModel"
    message = found.message if found else preparation.blocked or ""
    status = waiting(before, NotReady(reason, message.removesuffix("."), after=_LATER_LOOKS), generation, now)
    models = loader_models(preparation.server, observed)
    ready = sum(is_ready(pod) for pod in observed.pods)
    return status.model_copy(
        update={"models": models or before.models, "replicas": len(observed.pods), "ready_replicas": ready}
    )


def _look_again(observed: Observed, now: datetime) -> float:
    unready = [pod for pod in observed.pods if not is_ready(pod)]
    ages = [(now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])).total_seconds() for pod in unready]
    return min(_LATER_LOOKS, max(_FIRST_LOOKS, max(ages, default=0.0) / 10))


def _count(plan: Plan, observed: Observed) -> _Numbers:
    mine = [pod for pod in observed.pods if "deletionTimestamp" not in pod["metadata"]]
    new = [pod for pod in mine if pod["metadata"].get("labels", {}).get(REVISION_LABEL) == plan.revision]
    return _Numbers(
        # Until the number of nodes is known, at least one pod is waited for.
        wanted=plan.wanted if plan.wanted is not None else max(1, len(mine)),
        pods=len(mine),
        ready=sum(is_ready(pod) for pod in mine),
        updated=len(new),
        updated_ready=sum(is_ready(pod) for pod in new),
        started=sum(has_started(pod) for pod in mine),
        old=len(mine) - len(new) + sum(seen.replicas for seen in observed.workloads if seen.revision != plan.revision),
    )


def _ready(numbers: _Numbers, *, converged: bool, cause: Failure | None, old: str | None) -> Wanted:
    if numbers.wanted == 0:
        return {READY: ("True", "ScaledToZero", "No pods are wanted.")}
    # The first time all wanted pods must serve; after that one is enough, so that scaling out is no outage.
    minimum = 1 if old is not None else numbers.wanted
    if numbers.ready >= minimum:
        return {READY: ("True", "Serving", f"{numbers.ready} of {numbers.wanted} pods serve.")}
    if cause:
        status: ConditionStatus = "Unknown" if cause.transient and not converged else "False"
        return {READY: (status, cause.reason, explain(cause.reason, cause.message))}
    if converged and numbers.started:
        return {READY: ("False", "ReplicasUnavailable", explain("ReplicasUnavailable", f"{numbers.ready} pods serve."))}
    return {
        READY: (
            "False" if converged else "Unknown",
            "WaitingForPods",
            f"{numbers.ready} of {numbers.wanted} pods serve.",
        )
    }


def _exposed(observed: Observed) -> tuple[ConditionStatus, str, str]:
    if POOL_KIND in observed.served:
        return "True", "InferencePoolMade", "Gateways find the pods by an InferencePool."
    message = "The API server does not serve inferencepools.inference.networking.k8s.io (v1)."
    return "False", "InferencePoolMissing", explain("InferencePoolMissing", message)


def _model_ready(models: tuple[ServedModel, ...], numbers: _Numbers) -> tuple[ConditionStatus, str, str]:
    if numbers.wanted == 0:
        return "Unknown", "ScaledToZero", "No pods are wanted."
    failed = next((model for model in models if model.state == "Failed"), None)
    if failed:
        reason = known_reason(failed.reason)
        return "False", reason, explain(reason, f"{failed.name}: {failed.message or 'failed.'}")
    waiting = next((model for model in models if model.state != "Ready"), None)
    if waiting is None and models:
        return "True", "Loaded", f"{len(models)} of {len(models)} models are loaded."
    if waiting and waiting.state == "Downloading":
        return "Unknown", "Downloading", f"{waiting.name}: {waiting.progress_percent or 0} % is there."
    return "Unknown", "LoadingModel", f"{waiting.name if waiting else 'The model'} is being loaded."
