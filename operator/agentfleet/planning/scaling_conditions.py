"""The scaling loop's conditions: MetricsAvailable, ScalingActive, CapacityBlocked, ConflictingAutoscaler. Pure.

CapacityBlocked and ConflictingAutoscaler are there only while they are true. Before the loop has spoken, after a
restart, what was said of it before still holds. Messages hold no live numbers: these would be a write every time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agentfleet.autoscale.decision import Health
from agentfleet.objects import APPROVE_ANNOTATION, Manifest
from agentfleet.planning.autoscalers import Conflict
from agentfleet.planning.failures import PodView, failure, workload_failure
from agentfleet.planning.scaling_decisions import decision_id
from agentfleet.planning.scaling_types import Advice, Wanted
from agentfleet.resources.conditions import (
    CAPACITY_BLOCKED,
    CONFLICTING_AUTOSCALER,
    METRICS_AVAILABLE,
    SCALING_ACTIVE,
    Condition,
    ConditionStatus,
    explain,
)
from agentfleet.resources.scaling import ScalingMode
from agentfleet.resources.scaling_status import ScalingStatus

_Condition = tuple[ConditionStatus, str, str]

_MODES: dict[ScalingMode, _Condition] = {
    "Manual": ("False", "ScalingManual", "spec.replicas is followed, without advice."),
    "Recommend": ("True", "ScalingRecommended", "spec.replicas is followed, with advice."),
    "Apply": ("True", "ScalingApplied", "status.scaling.desired is followed."),
}
_QUALITIES: dict[str, tuple[ConditionStatus, str]] = {
    "Fresh": ("True", "MetricsFound"),
    "Partial": ("False", "MetricsPartial"),
    "Stale": ("False", "MetricsStale"),
    "Missing": ("False", "MetricsMissing"),
    "Starting": ("Unknown", "MetricsStarting"),
    "None": ("Unknown", "ScaledToZero"),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that the conditions speak of, of a ModelServer or an Agent."""

    uid: str
    minimum: int | None
    """scaling.minReplicas."""
    mode: ScalingMode | None
    conflict: Conflict | None
    before: tuple[Condition, ...]
    mode_before: ScalingMode | None
    workloads: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    """All of them."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    scaling: ScalingStatus | None = None


def scaling_conditions(scene: Scene, advice: Advice | None) -> Wanted:
    """All of them that hold now."""
    before = {c.type: (c.status, c.reason, c.message) for c in scene.before}
    health = advice.health if advice else Health("Starting", None)
    wanted: Wanted = {METRICS_AVAILABLE: _metrics(health, scene.scaling)}
    if advice is None:
        wanted[METRICS_AVAILABLE] = before.get(METRICS_AVAILABLE, wanted[METRICS_AVAILABLE])
    if scene.mode is None:
        return wanted
    wanted[SCALING_ACTIVE] = _active(scene, scene.mode, advice) if advice else _MODES[scene.mode]
    if advice is None and scene.mode == scene.mode_before:
        wanted[SCALING_ACTIVE] = before.get(SCALING_ACTIVE, wanted[SCALING_ACTIVE])
    blocked = _blocked(scene.workloads, scene.pods)
    if blocked:
        wanted[CAPACITY_BLOCKED] = blocked
    if scene.conflict:
        message = explain("OtherAutoscaler", f"{scene.conflict}.")
        wanted[CONFLICTING_AUTOSCALER] = ("True", "OtherAutoscaler", message)
    return wanted


def _metrics(health: Health, scaling: ScalingStatus | None) -> _Condition:
    if health.missing_metrics:
        message = f"The engine's metrics lack {', '.join(health.missing_metrics)}."
        return "False", "MetricsRenamed", explain("MetricsRenamed", message)
    none_yet = health.quality == "None" and (scaling is None or scaling.desired)
    status, reason = _QUALITIES["Starting" if none_yet else health.quality]
    return status, reason, explain(reason, _words(health))


def _words(health: Health) -> str:
    if health.quality == "None":
        return "There are no pods."
    if health.quality == "Starting":
        return "No pod is ready yet."
    silent = f"{', '.join(health.silent)} {'does' if len(health.silent) == 1 else 'do'} not answer."
    if health.quality == "Fresh":
        return "All ready pods answer."
    return silent if health.silent else "No pod has answered for too long."


def _active(scene: Scene, mode: ScalingMode, advice: Advice) -> _Condition:
    if mode == "Manual":
        return _MODES[mode]
    if scene.scaling and scene.scaling.decision and scene.scaling.decision.state == "AwaitingApproval":
        return _awaiting(scene, scene.scaling)
    if advice.health.quality == "Missing":
        return "False", "MetricsMissing", explain("MetricsMissing", "There is nothing to decide by.")
    held = _held(scene, advice)
    if held:
        return held
    if scene.minimum == 0 and not advice.gateway:
        message = "minReplicas is 0, and nothing tells of requests while there are no pods: 1 is kept."
        return "True", "NoDemandSource", explain("NoDemandSource", message)
    return _MODES[mode]


def _held(scene: Scene, advice: Advice) -> _Condition | None:
    """What keeps the loop from doing what the load calls for."""
    decision = scene.scaling.decision if scene.scaling else None
    if decision is None or decision.state != "Blocked" or advice.decision is None:
        return None
    reasons = {"Paused": "ScalingPaused", "ReversalBreaker": "ReversalBreaker"}
    reasons["Budget"] = "BudgetExceeded" if advice.budget_known else "BudgetUnknown"
    reason = reasons.get(decision.binding)
    return None if reason is None else ("False", reason, explain(reason, decision.reason))


def _awaiting(scene: Scene, scaling: ScalingStatus) -> _Condition:
    """Also says so where the annotation names another decision than the one that waits."""
    decision = scaling.decision
    if decision is None:
        raise ValueError("no decision awaits approval")
    change = f"{decision.action} from {decision.from_} to {decision.to} (decision {decision.id})"
    said = scene.annotations.get(APPROVE_ANNOTATION)
    past = {decision_id(scene.uid, each): each.state for each in scaling.history}
    # A decision that was approved and applied is still named there: nobody takes the annotation off.
    if said in (None, decision.id) or past.get(said) == "Applied":
        return (
            "False",
            "AwaitingApproval",
            explain("AwaitingApproval", f"{change} awaits approval until {decision.expires}."),
        )
    fate = f"which is {past[said]}" if said in past else "which is not known"
    message = f"The annotation {APPROVE_ANNOTATION} names {said}, {fate}; {change} awaits approval."
    return "False", "ApprovalUnknown", explain("ApprovalUnknown", message)


def _blocked(workloads: Iterable[Manifest], pods: Iterable[Manifest]) -> _Condition | None:
    """Replicas that there is no room for."""
    for manifest in workloads:
        found = workload_failure(manifest)
        if found and found.reason == "QuotaExceeded":
            return "True", found.reason, explain(found.reason, found.message)
    for pod in pods:
        found = None if "deletionTimestamp" in pod["metadata"] else failure(PodView(pod))
        if found and found.reason == "Unschedulable":
            message = f"Pod {pod['metadata']['name']}: {found.message}"
            return "True", found.reason, explain(found.reason, message)
    return None
