"""What an AgentRoute's status says, from what was planned and seen. Pure.

Ready is about requests: does a gateway take them, and is there a target that could answer? Reconciling is about a
changed spec that gateways do not run yet, Stalled about what only a human can remove.

    Accepted       the spec can be acted on
    ResolvedRefs   every reference is to something that is there and allowed
    Programmed     all gateways have it, and so have Gateways of the cluster that it is attached to
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.resolved import Reason, Resolution, Resolved
from agentfleet.manifests import httproute
from agentfleet.manifests.gateway_names import route_url
from agentfleet.manifests.gateway_pod import DECIDER, HAPROXY, PREPARE
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.planning.failures import Failure, PodView, failure, is_ready
from agentfleet.planning.route_observed import RouteObserved
from agentfleet.planning.route_parents import parents_of
from agentfleet.planning.route_plan import RoutePlan, is_converged
from agentfleet.planning.route_secrets import without_keys
from agentfleet.planning.scaling_types import Wanted
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.agentroute_status import AgentRouteStatus, ParentStatus, TargetStatus
from agentfleet.resources.conditions import (
    ACCEPTED,
    HINTS,
    PROGRAMMED,
    READY,
    RECONCILING,
    RESOLVED_REFS,
    STALLED,
    Condition,
    ConditionStatus,
    explain,
    merge_conditions,
)
from agentfleet.resources.route_targets import Target
from agentfleet.settings import Settings

Words = tuple[ConditionStatus, str, str]
"""Status, reason and message of a condition."""

_HAVE_IT = ("Programmed", "GatewayAPIMissing", "ParentNotAccepted")
"""Reasons of Programmed with which every gateway has its configuration."""

_WAITS_FOR_CRD = ("KindNotInstalled", "GatewayAPIMissing")
_CRD_RETRY = 60.0
_NO_KEY = "ConfigNotFound"
_LONGEST = 512
_LAST_WORDS = 400
_UNRESOLVED: dict[Reason, str] = {
    "NotFound": "TargetNotFound",
    "NotPermitted": "RefNotPermitted",
    "KindNotInstalled": "KindNotInstalled",
}
"""Reasons of targets as those of conditions."""


@dataclass(frozen=True)
class RouteAssessment:
    """A status to write, and when to look again."""

    status: AgentRouteStatus
    after: float | None = None


@dataclass(frozen=True)
class _Numbers:
    wanted: int
    ready: int
    updated: int
    converged: bool
    """All gateways have the newest configuration, whether or not one has been lost since."""


def assess_route(
    route: AgentRoute,
    before: AgentRouteStatus,
    resolution: Resolution,
    plan: RoutePlan,
    observed: RouteObserved,
    settings: Settings,
    now: datetime,
) -> RouteAssessment:
    """The status of an AgentRoute whose plan has been carried out. Watches tell of everything that it depends on, but
    for CRDs."""
    numbers = _count(before, plan, observed)
    parents = parents_of(route, observed)
    cause = _cause(plan, observed)
    wanted: Wanted = {
        ACCEPTED: ("True", "Accepted", "The spec can be acted on."),
        RESOLVED_REFS: _resolved_refs(resolution, _secrets(route, before, resolution, plan, observed)),
        PROGRAMMED: _programmed(route, plan, numbers, parents, observed),
        READY: _ready(resolution, numbers, cause),
    }
    if cause and not cause.transient and not numbers.converged:
        wanted[STALLED] = ("True", cause.reason, explain(cause.reason, cause.message))
    elif plan.revision is not None and not numbers.converged:
        wanted[RECONCILING] = ("True", "RollingOut", _progress(plan, numbers))
    targets = tuple(_target(said, resolution.targets[said.name]) for said in route.spec.targets)
    status = before.model_copy(
        update={
            "observed_generation": route.generation,
            "url": route_url(route, settings.cluster_domain),
            "replicas": plan.replicas,
            "ready_replicas": numbers.ready,
            "revision": plan.revision or before.revision,
            "ready_targets": f"{sum(target.ready for target in targets)}/{len(targets)}",
            "targets": targets,
            "parents": parents,
            "conditions": merge_conditions(before.conditions, wanted, route.generation, now),
        }
    )
    waits = any(c.reason in _WAITS_FOR_CRD for c in status.conditions)
    return RouteAssessment(status, _CRD_RETRY if waits else None)


def route_stalled(
    before: AgentRouteStatus, observed: RouteObserved, error: InvalidSpec, generation: int, now: datetime
) -> AgentRouteStatus:
    """The status of an AgentRoute whose spec cannot be acted on; gateways of the former one go on serving."""
    ready = sum(is_ready(pod) for pod in observed.pods)
    message = explain(error.reason, error.message)
    kept: Wanted = {c.type: _words(c) for c in before.conditions if c.type in (RESOLVED_REFS, PROGRAMMED)}
    wanted: Wanted = kept | {
        ACCEPTED: ("False", error.reason, message),
        STALLED: ("True", error.reason, message),
        READY: ("True", "Serving", f"{ready} gateways of the previous spec serve.")
        if ready
        else ("False", error.reason, message),
    }
    conditions = merge_conditions(before.conditions, wanted, generation, now)
    return before.model_copy(
        update={"observed_generation": generation, "conditions": conditions, "ready_replicas": ready}
    )


def _words(condition: Condition) -> Words:
    return condition.status, condition.reason, condition.message


def _count(before: AgentRouteStatus, plan: RoutePlan, observed: RouteObserved) -> _Numbers:
    ready = [pod for pod in observed.pods if is_ready(pod)]
    new = [pod for pod in ready if pod["metadata"].get("labels", {}).get(REVISION_LABEL) == plan.revision]
    told = any(c.type == PROGRAMMED and c.reason in _HAVE_IT for c in before.conditions)
    converged = is_converged(plan, observed) or (told and before.revision == plan.revision)
    # A gateway that is alone has its successor beside it for a while.
    serving = min(len(ready), plan.replicas) if plan.replicas else len(ready)
    return _Numbers(plan.replicas, serving, min(len(new), serving), converged)


def _cause(plan: RoutePlan, observed: RouteObserved) -> Failure | None:
    """Why pods of the newest revision do not serve: the first that no time will heal, else the first."""
    found = []
    for pod in observed.pods:
        if pod["metadata"].get("labels", {}).get(REVISION_LABEL) == plan.revision:
            view = PodView(pod, mount_failure=observed.mount_failures.get(pod["metadata"]["name"]))
            found.append(failure(view) or _died(view))
    causes = [cause for cause in found if cause]
    return next((cause for cause in causes if not cause.transient), causes[0] if causes else None)


def _died(view: PodView) -> Failure | None:
    """What of a gateway ends again and again, with its last words."""
    for name in (PREPARE, HAPROXY, DECIDER):
        ended = view.ended(name)
        if ended and ended.get("exitCode") != 0:
            said = _last_lines(str(ended.get("message") or ended.get("reason") or "no words"))
            code = ended.get("exitCode")
            return Failure("GatewayDied", f"Container {name} of pod {view.name} ended with {code}: {said}.")
    return None


def _last_lines(text: str) -> str:
    """As many whole lines of the end as there is room for, oldest first; of one that is too long, its beginning."""
    kept: list[str] = []
    for line in reversed([stripped for each in text.splitlines() if (stripped := each.strip().rstrip("."))]):
        if kept and len(" / ".join([line, *kept])) > _LAST_WORDS:
            break
        kept.insert(0, line if len(line) <= _LAST_WORDS else f"{line[:_LAST_WORDS]}…")
    return " / ".join(kept)


def _progress(plan: RoutePlan, numbers: _Numbers) -> str:
    waiting = f" {plan.deferred} sites wait for their turn." if plan.deferred else ""
    return f"{numbers.updated} of {numbers.wanted} gateways serve with the new configuration.{waiting}"


def _secrets(
    route: AgentRoute, before: AgentRouteStatus, resolution: Resolution, plan: RoutePlan, observed: RouteObserved
) -> str:
    """What is wrong with Secrets. An operator that has just begun, and has asked no gateway, repeats what was said."""
    if observed.lacking_secrets is not None:
        return without_keys(route, resolution, observed.lacking_secrets)
    same = plan.revision is not None and plan.revision == before.revision
    told = (c.message for c in before.conditions if c.type == RESOLVED_REFS and c.reason == _NO_KEY)
    return next(told, "").removesuffix(f" {HINTS[_NO_KEY]}") if same else ""


def _resolved_refs(resolution: Resolution, secrets: str) -> Words:
    lost = resolution.unresolved
    if not lost and secrets:
        return "False", _NO_KEY, explain(_NO_KEY, secrets)
    if not lost:
        notes = [found.message for found in resolution.targets.values() if found.ready and found.message]
        return "True", "TargetsResolved", " ".join([f"All {len(resolution.targets)} targets are there.", *notes])
    reason = _UNRESOLVED[lost[0].reason]
    return "False", reason, explain(reason, " ".join([*(found.message for found in lost), *filter(None, [secrets])]))


def _programmed(
    route: AgentRoute,
    plan: RoutePlan,
    numbers: _Numbers,
    parents: tuple[ParentStatus, ...],
    observed: RouteObserved,
) -> Words:
    if plan.revision is None:
        return "False", "NoTarget", explain("NoTarget", "There is nothing to configure.")
    if not numbers.converged:
        return "False", "RollingOut", _progress(plan, numbers)
    if route.spec.parent_refs and httproute.KIND not in observed.served:
        return "False", "GatewayAPIMissing", explain("GatewayAPIMissing", "The API server does not serve HTTPRoutes.")
    refused = [parent.name for parent in parents if parent.accepted != "True"]
    if refused:
        return "False", "ParentNotAccepted", explain("ParentNotAccepted", f"Not by {', '.join(refused)}.")
    return "True", "Programmed", f"{numbers.updated} gateways run revision {plan.revision}."


def _ready(resolution: Resolution, numbers: _Numbers, cause: Failure | None) -> Words:
    targets = tuple(resolution.targets.values())
    for problem in _against(targets, numbers):
        return problem
    if numbers.ready:
        return "True", "Serving", f"{numbers.ready} of {numbers.wanted} gateways serve."
    if cause:
        return ("Unknown" if cause.transient else "False"), cause.reason, explain(cause.reason, cause.message)
    if numbers.converged:
        return "False", "GatewaysUnavailable", explain("GatewaysUnavailable", "No gateway serves.")
    return "Unknown", "WaitingForPods", f"0 of {numbers.wanted} gateways serve."


def _against(targets: tuple[Resolved, ...], numbers: _Numbers) -> Iterator[Words]:
    """What is wrong with the targets, whatever the gateways do."""
    open_to_all = [found for found in targets if found.reason == "CloudWithoutAuth"]
    if open_to_all:
        message = " ".join(found.message for found in open_to_all)
        yield "False", "CloudWithoutAuth", explain("CloudWithoutAuth", message)
    if not numbers.wanted:
        yield "False", "NoTarget", explain("NoTarget", " ".join(found.message for found in targets))
    if not any(found.ready for found in targets):
        message = " ".join(found.message for found in targets)
        yield "False", "TargetNotReady", explain("TargetNotReady", message)


def _target(said: Target, found: Resolved) -> TargetStatus:
    return TargetStatus(
        name=found.name,
        ready=found.ready,
        reason=found.reason,
        message=found.message[:_LONGEST] or None,
        location=found.location,
        site=said.site,
        model=found.endpoint.model if found.endpoint else None,
    )
