"""Events for humans: what changed about an object since its last status. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from agentfleet.manifests.names import digest
from agentfleet.objects import FIELD_MANAGER, Manifest
from agentfleet.planning.interim import AnyStatus, Status
from agentfleet.resources.agent_status import AgentStatus
from agentfleet.resources.conditions import (
    CAPACITY_BLOCKED,
    CONFLICTING_AUTOSCALER,
    METRICS_AVAILABLE,
    READY,
    RECONCILING,
    STALLED,
    Condition,
    timestamp,
)
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.resources.scaling_status import ScalingStatus

Words = tuple[str, str, str]
"""Type, reason and message of an Event."""

_LONGEST = 1024

_TROUBLE = {METRICS_AVAILABLE: "False", CAPACITY_BLOCKED: "True", CONFLICTING_AUTOSCALER: "True"}
"""Conditions of the scaling loop, and the status that is bad news."""

_SILENT = ("Holding", "Superseded", "Expired", "Rejected")
_APPLIED = {"scale_out": "ScaledOut", "scale_in": "ScaledIn", "scale_up": "ScaledUp", "scale_down": "ScaledDown"}
_STATES = {
    "Recommended": ("Normal", "ScalingRecommended"),
    "AwaitingApproval": ("Normal", "AwaitingApproval"),
    "Blocked": ("Warning", "ScalingBlocked"),
}
"""Type and reason of the Event about a decision that is not applied."""

_CLOSED = {"Expired": ("Warning", "ApprovalExpired"), "Rejected": ("Normal", "ScalingRejected")}
"""The same about one that never will be; by then the next one may be there already."""


def events(parent: Manifest, before: Status, after: Status, now: datetime) -> list[Manifest]:
    """One Event for each condition that changed its status or reason in a way that somebody wants to know."""
    old = {condition.type: condition for condition in before.conditions}
    new = {condition.type: condition for condition in after.conditions}
    said = []
    first = not old
    if _changed(old.get(STALLED), new.get(STALLED)):
        said.append(("Warning", new[STALLED].reason, new[STALLED].message))
    elif STALLED in old and STALLED not in new:
        said.append(("Normal", "Recovered", f"No longer stalled by {old[STALLED].reason}."))
    if first:
        pass  # being born in the wanted state is no news
    elif _changed(old.get(READY), new.get(READY)) and new[READY].status == "True":
        said.append(("Normal", new[READY].reason, new[READY].message))
    elif (
        READY in old
        and old[READY].status == "True"
        and new[READY].status != "True"
        and new[READY].reason != "WaitingForPods"
    ):
        said.append(("Warning", new[READY].reason, new[READY].message))
    if not first and after.revision and _is_rolled_out(before, after):
        said.append(("Normal", "RolledOut", f"Revision {after.revision} is rolled out."))
    said += _of_the_loop(old, new)
    said += _of_scaling(_scaling(before), _scaling(after))
    # Ready and Stalled may say the same.
    return [event_of(parent, *words, now) for words in dict.fromkeys(said)]


def _scaling(status: AnyStatus) -> ScalingStatus | None:
    return status.scaling if isinstance(status, ModelServerStatus | AgentStatus) else None


def _is_rolled_out(before: Status, after: Status) -> bool:
    """Whether the revision in status is served since now. A ModelServer's is there from then on, a route's from when it
    is wanted."""
    if isinstance(after, ModelServerStatus):
        return after.revision != before.revision
    is_converging = [any(c.type in (RECONCILING, STALLED) for c in status.conditions) for status in (before, after)]
    return is_converging == [True, False]


def _of_the_loop(old: Mapping[str, Condition], new: Mapping[str, Condition]) -> Iterable[Words]:
    """Thresholds have Events of their own: there may be several behind one condition."""
    for kind, bad in _TROUBLE.items():
        before, after = old.get(kind), new.get(kind)
        if after is not None and after.status == bad and _changed(before, after):
            yield "Warning", after.reason, after.message
        elif before is not None and before.status == bad and (after is None or after.status not in (bad, "Unknown")):
            yield "Normal", "Recovered", f"No longer held up by {before.reason}."


def _of_scaling(before: ScalingStatus | None, after: ScalingStatus | None) -> Iterable[Words]:
    """The decision that was taken, or what became of it."""
    known = set(before.history) if before else set()
    for past in after.history if after else ():
        if past.state in _CLOSED and past not in known:
            told = f"{past.action} from {past.from_} to {past.to}, proposed at {past.time}."
            yield *_CLOSED[past.state], told
    decision, former = after.decision if after else None, before.decision if before else None
    if decision is None or (former is not None and (former.id, former.state) == (decision.id, decision.state)):
        return
    if decision.state in _SILENT:
        return
    kind, reason = _STATES.get(decision.state, ("Normal", _APPLIED.get(decision.action, "")))
    if not reason:
        return
    unit = "replicas" if decision.action in ("scale_out", "scale_in") else "tensor parallel size"
    change = f"{decision.from_} → {decision.to} {unit}" if decision.action != "hold" else f"stays at {decision.from_}"
    name = f" (decision {decision.id})" if decision.state == "AwaitingApproval" else ""
    yield kind, reason, f"{decision.action}: {change}{name}. {decision.reason}"


def _changed(old: Condition | None, new: Condition | None) -> bool:
    return new is not None and (old is None or (old.status, old.reason) != (new.status, new.reason))


def event_of(parent: Manifest, kind: str, reason: str, message: str, now: datetime) -> Manifest:
    """One Event about an object."""
    metadata = parent["metadata"]
    name = f"{metadata['name']}.{digest([metadata['uid'], reason, message, timestamp(now)], 16)}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": parent["apiVersion"],
            "kind": parent["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": kind,
        "reason": reason,
        "message": message[:_LONGEST],
        "count": 1,
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "reportingComponent": FIELD_MANAGER,
        "source": {"component": FIELD_MANAGER},
    }
