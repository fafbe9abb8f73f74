"""What an Agent says of pods that start, wait, fail or are lost, and of a spec that cannot become any."""

from typing import Any

import pytest

from agentfleet.objects import Key
from tests.agents import MCP
from tests.builders import NAMESPACE
from tests.reconcilers.agents import AgentWorld


@pytest.fixture
def world() -> AgentWorld:
    return AgentWorld()


async def failing(world: AgentWorld, **container: Any) -> None:
    world.agent()
    await world.once()
    world.run_deployment(ready=False, **container)
    await world.once()


async def test_while_pods_are_on_their_way_it_is_in_progress(world: AgentWorld) -> None:
    await failing(world, started=False)
    assert world.condition("Ready") == ("Unknown", "WaitingForPods")
    assert world.condition("ModelReady") == ("Unknown", "WaitingForPods")
    assert world.condition("Reconciling") == ("True", "RollingOut")
    assert await world.once() is not None, "it is looked at again"


async def test_pods_whose_model_or_tools_do_not_answer_are_told_from_those_that_start(world: AgentWorld) -> None:
    await failing(world)
    assert world.condition("Ready") == ("Unknown", "NotAnswering")
    assert "/readyz" in world.message("Ready")


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("model", "ModelReady", "ModelNotReady"),
        ("tools", "ToolsReady", "ToolsNotReady"),
        ("members", "ToolsReady", "ToolsNotReady"),
    ],
)
async def test_pods_say_what_they_wait_for(world: AgentWorld, name: str, kind: str, reason: str) -> None:
    world.answers["helper-agent-0"] = {"ready": False, "problems": {name: "crm: no answer."}, "notes": []}
    world.agent(tools=[MCP])
    await world.once()
    world.run_deployment(ready=False)
    await world.once()
    assert world.condition(kind) == ("False", reason)
    assert world.message(kind) == "crm: no answer."
    assert "crm: no answer." in world.message("Ready")


async def test_a_model_that_goes_away_is_told_of_by_pods_that_serve_on(world: AgentWorld) -> None:
    """They stay in the Service, so that callers get the fallback reply."""
    world.agent(tools=[MCP], scaling={"minReplicas": 2, "maxReplicas": 2})
    gone = {"ready": True, "problems": {"model": "The model does not answer.", "tools": "crm: no answer."}}
    world.answers["helper-agent-0"] = gone
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert "The model does not answer." in world.message("Ready")
    assert world.condition("ModelReady") == ("False", "ModelNotReady")
    assert world.condition("ToolsReady") == ("False", "ToolsNotReady")
    assert await world.once() == pytest.approx(60), "that they are back raises no event"
    world.answers["helper-agent-0"] = {"ready": True, "problems": {}}
    await world.settle()
    assert world.condition("ModelReady") == ("True", "Loaded")
    assert world.condition("ToolsReady") == ("True", "ToolsFound")


async def test_functions_that_cannot_be_read_are_told_of_by_pods_that_serve(world: AgentWorld) -> None:
    world.answers["helper-agent-0"] = {"ready": True, "problems": {}, "notes": ["fn: stock.py, line 3: invalid syntax"]}
    world.agent(tools=[{"name": "fn", "python": {"configMapName": "functions"}}])
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("ToolsReady") == ("False", "ToolsIncomplete")
    assert "stock.py, line 3" in world.message("ToolsReady")
    assert await world.once() == pytest.approx(60), "that it is mended raises no event"
    world.answers.clear()
    await world.settle()
    assert world.condition("ToolsReady") == ("True", "ToolsFound")


@pytest.mark.parametrize("answer", [{}, {"problems": "all", "notes": 7}, {"problems": {"model": None}, "notes": "x"}])
async def test_an_image_of_the_users_own_may_answer_anything(world: AgentWorld, answer: dict[str, Any]) -> None:
    world.answers["helper-agent-0"] = answer
    world.agent(tools=[MCP])
    await world.settle()
    assert world.condition("ToolsReady") == ("True", "ToolsFound")


async def test_a_process_that_ends_says_why(world: AgentWorld) -> None:
    ended = {"terminated": {"exitCode": 2, "message": "agent.json: unknown key\n"}}
    await failing(world, started=False, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)
    assert world.condition("Stalled") == ("True", "AgentDied")
    assert "agent ended with 2: agent.json: unknown key" in world.message("Stalled")


async def test_a_process_that_was_killed_for_memory(world: AgentWorld) -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    await failing(world, started=False, lastState=ended)
    assert world.condition("Stalled") == ("True", "AgentOutOfMemory")


async def test_an_image_that_cannot_be_pulled(world: AgentWorld) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff"}}
    await failing(world, started=False, image="acme/agent:2", state=waiting)
    assert world.condition("Stalled") == ("True", "ImagePullFailed")


async def test_functions_that_are_not_there_are_named(world: AgentWorld) -> None:
    """The ConfigMap is the user's, so kubelet tells: by an Event, once the pod hangs."""
    world.agent(tools=[{"name": "fn", "python": {"configMapName": "functions"}}])
    await world.once()
    world.run_deployment(ready=False, started=False, state={"waiting": {"reason": "ContainerCreating"}})
    pod = world.cluster.objects[Key("Pod", NAMESPACE, "helper-agent-0")]
    said = 'MountVolume.SetUp failed for volume "functions-fn": configmap "functions" not found'
    event = {"reason": "FailedMount", "message": said, "lastTimestamp": "2026-11-21T10:00:05Z"}
    world.cluster.pod_events_by_uid[pod["metadata"]["uid"]] = [event]
    world.later(60)
    await world.once()
    assert world.condition("Stalled") == ("True", "ConfigNotFound")
    assert '"functions" not found' in world.message("Stalled")


async def test_pods_that_are_lost_are_no_rollout(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    world.run_deployment(ready=False)
    await world.once()
    assert world.condition("Ready") == ("False", "NotAnswering")
    assert world.condition("Reconciling") is None
    await world.once()
    assert world.condition("Reconciling") is None
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_spec_that_cannot_be_is_told_and_pods_of_the_former_one_serve(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    before = world.template()
    world.agent(placement={"mode": "PerNode"})
    await world.once()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.condition("Ready") == ("True", "Serving")
    assert world.template() == before


async def test_a_spec_that_was_stored_without_checks_is_told(world: AgentWorld) -> None:
    world.agent(limits={"timeout": "soon"})
    await world.once()
    assert world.condition("Stalled") == ("True", "InvalidSpec")


async def test_callers_whom_nobody_can_judge_are_told_of(world: AgentWorld) -> None:
    access = {"allow": [{"serviceAccounts": ["shop:web"]}]}
    world.agent(access=access, privacy={"mode": "Offline"})
    await world.settle()
    assert "agents.apiServerCIDRs" in world.message("Ready")
    world.agent(access=access)
    await world.settle()
    assert "agents." not in world.message("Ready")


# --- the store of sessions -----------------------------------------------------------------------------------------
