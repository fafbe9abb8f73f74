"""What pods of an Agent say, put together."""

from agentfleet.objects import Manifest
from agentfleet.planning.agent_answers import pods_to_ask, said_by

STARTS = {"ready": False, "problems": {"model": "It has not answered yet.", "tools": "crm: no answer."}}


def test_a_pod_that_serves_knows_better_than_one_that_starts() -> None:
    said = said_by({"a": STARTS, "b": {"ready": True, "problems": {}}})
    assert (said.model, said.tools) == ("", "")
    said = said_by({"a": STARTS, "b": {"ready": True, "problems": {"model": "It is gone."}}})
    assert (said.model, said.tools) == ("It has not answered yet.", "")


def test_pods_that_all_start_are_believed() -> None:
    assert said_by({"a": STARTS}).problems == "It has not answered yet. crm: no answer."


def pod(name: str, began: str, *, ready: bool) -> Manifest:
    container = {"name": "agent", "started": True, "state": {"running": {"startedAt": began}}}
    beside = {"name": "mesh", "started": True, "state": {"running": {"startedAt": "2026-11-22T09:00:00Z"}}}
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"podIP": f"10.0.0.{name}", "containerStatuses": [beside, container], "conditions": conditions}
    return {"metadata": {"name": name}, "status": status}


def test_of_pods_that_serve_the_one_that_began_first_is_asked() -> None:
    """What has changed since the others began, it has seen as well."""
    newer, older = (pod("1", "2026-11-22T12:00:00Z", ready=True), pod("2", "2026-11-22T10:00:00Z", ready=True))
    assert pods_to_ask([newer, older]) == {"2": "10.0.0.2"}
    starting = [pod(name, "2026-11-22T13:00:00Z", ready=False) for name in "3456"]
    assert pods_to_ask([newer, *starting, older]).keys() == {"3", "4", "5", "2"}
