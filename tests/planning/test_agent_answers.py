"""What pods of an Agent say, put together."""

from agentfleet.planning.agent_answers import said_by

STARTS = {"ready": False, "problems": {"model": "It has not answered yet.", "tools": "crm: no answer."}}


def test_a_pod_that_serves_knows_better_than_one_that_starts() -> None:
    said = said_by({"a": STARTS, "b": {"ready": True, "problems": {}}})
    assert (said.model, said.tools) == ("", "")
    said = said_by({"a": STARTS, "b": {"ready": True, "problems": {"model": "It is gone."}}})
    assert (said.model, said.tools) == ("It has not answered yet.", "")


def test_pods_that_all_start_are_believed() -> None:
    assert said_by({"a": STARTS}).problems == "It has not answered yet. crm: no answer."
