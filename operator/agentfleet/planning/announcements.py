"""Events for humans: what changed about an object since its last status. Pure."""

from datetime import datetime

from agentfleet.manifests.names import digest
from agentfleet.objects import FIELD_MANAGER, Manifest
from agentfleet.resources.conditions import READY, STALLED, Condition, timestamp
from agentfleet.resources.modelserver_status import ModelServerStatus

_LONGEST = 1024


def events(parent: Manifest, before: ModelServerStatus, after: ModelServerStatus, now: datetime) -> list[Manifest]:
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
    if not first and after.revision and after.revision != before.revision:
        said.append(("Normal", "RolledOut", f"Revision {after.revision} is rolled out."))
    # Ready and Stalled may say the same.
    return [_event(parent, *words, now) for words in dict.fromkeys(said)]


def _changed(old: Condition | None, new: Condition | None) -> bool:
    return new is not None and (old is None or (old.status, old.reason) != (new.status, new.reason))


def _event(parent: Manifest, kind: str, reason: str, message: str, now: datetime) -> Manifest:
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
