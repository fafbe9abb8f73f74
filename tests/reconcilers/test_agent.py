"""reconcile of an Agent against an in-memory cluster: what stands there afterwards, not which calls were made."""

import copy
import json

import pytest

from agentfleet.errors import NotReady, Transient
from agentfleet.objects import Key, Manifest
from tests.agents import MCP, agent_manifest, phi, served, service
from tests.builders import NAMESPACE
from tests.reconcilers.agents import AGENT, DEPLOYMENT, SECRET, AgentWorld


@pytest.fixture
def world() -> AgentWorld:
    return AgentWorld()


async def test_an_agent_becomes_pods_that_are_reached(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    assert world.names("Service") == {"helper-agent", "helper-agent-pods"}
    assert world.names("ServiceAccount") == {"helper-agent"}
    assert world.names("NetworkPolicy") == {"helper-agent"}
    assert world.names("PodDisruptionBudget") == set()
    assert world.cluster.objects[DEPLOYMENT]["spec"]["replicas"] == 1
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("ModelReady") == ("True", "Loaded")
    assert world.condition("ToolsReady") is None, "it has none"
    assert world.condition("Reconciling") is None
    assert world.condition("Stalled") is None
    assert world.status["url"] == "http://helper-agent.demo.svc.cluster.local/v1"
    assert world.status["a2aUrl"] == "http://helper-agent.demo.svc.cluster.local/a2a"
    assert (world.status["replicas"], world.status["readyReplicas"]) == (1, 1)
    assert (world.status["model"], world.status["privacy"]) == ("phi", "Standard")
    assert world.status["observedGeneration"] == 1


async def test_pods_find_the_configuration_of_their_revision(world: AgentWorld) -> None:
    world.agent(instructions="Be kind.")
    await world.settle()
    [name] = world.names("ConfigMap")
    assert {"name": "config", "configMap": {"name": name}} in world.template()["spec"]["volumes"]
    told = json.loads(world.cluster.objects[Key("ConfigMap", NAMESPACE, name)]["data"]["agent.json"])
    assert (told["instructions"], told["revision"]) == ("Be kind.", world.status["revision"])
    assert world.template()["metadata"]["labels"]["agentfleet.dev/revision"] == world.status["revision"]
    assert name == f"helper-agent-{world.status['revision']}"


async def test_the_second_pass_and_a_restart_write_nothing(world: AgentWorld) -> None:
    world.agent(tools=[MCP], scaling={"minReplicas": 2, "maxReplicas": 2})
    await world.settle()
    world.cluster.writes.clear()
    await world.once()
    assert world.cluster.writes == []
    world.start()
    world.later(3600)
    await world.once()
    assert world.cluster.writes == []


async def test_the_users_object_is_never_written_but_for_status(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    assert {verb for verb, key in world.cluster.writes if key.kind == "Agent"} == {"apply_status"}


async def test_a_changed_spec_is_rolled_out_and_what_it_leaves_goes_last(world: AgentWorld) -> None:
    world.agent(scaling={"minReplicas": 2, "maxReplicas": 2})
    await world.settle()
    [old] = world.names("ConfigMap")
    assert world.names("PodDisruptionBudget") == {"helper-agent"}
    world.agent(instructions="Be brief.")
    await world.once()
    assert len(world.names("ConfigMap")) == 2, "pods that run use the old one"
    assert world.names("PodDisruptionBudget") == {"helper-agent"}
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Reconciling") == ("True", "RollingOut")
    await world.settle()
    [new] = world.names("ConfigMap")
    assert new != old
    assert world.names("PodDisruptionBudget") == set()
    assert world.condition("Reconciling") is None


POLICY = Key("NetworkPolicy", NAMESPACE, "helper-agent")


def ways_out(world: AgentWorld) -> str:
    return json.dumps(world.cluster.objects[POLICY]["spec"]["egress"])


async def test_pods_of_the_former_model_reach_it_until_they_are_gone(world: AgentWorld) -> None:
    world.cluster.put(served("ModelServer", "qwen"))
    world.cluster.put(service("qwen-model-pods", NAMESPACE, 8000))
    world.agent()
    await world.settle()
    world.agent(model={"modelServerRef": {"name": "qwen"}})
    await world.once()
    assert '"phi"' in ways_out(world)
    assert '"qwen"' in ways_out(world)
    world.cluster.writes.clear()
    await world.once()
    assert world.cluster.writes == []
    await world.settle()
    assert '"phi"' not in ways_out(world)


async def test_offline_holds_from_when_it_is_said(world: AgentWorld) -> None:
    world.agent(model={"external": {"url": "https://api.example.com/v1", "model": "gpt"}})
    await world.settle()
    assert "0.0.0.0/0" in ways_out(world)
    world.agent(privacy={"mode": "Offline"})
    await world.once()
    assert "0.0.0.0/0" not in ways_out(world)


async def test_a_pod_on_its_way_out_keeps_its_configuration(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    [old] = world.names("ConfigMap")
    going = copy.deepcopy(world.cluster.objects[Key("Pod", NAMESPACE, "helper-agent-0")])
    going["metadata"] |= {"name": "going", "uid": "uid-going", "deletionTimestamp": "2026-11-21T10:05:00Z"}
    world.agent(instructions="Be brief.")
    world.cluster.put(going)
    await world.settle()
    assert old in world.names("ConfigMap")
    world.cluster.remove(Key("Pod", NAMESPACE, "going"))
    await world.settle()
    assert old not in world.names("ConfigMap")


async def test_replicas_that_were_changed_by_hand_are_put_back(world: AgentWorld) -> None:
    world.agent(scaling={"minReplicas": 2, "maxReplicas": 3})
    await world.settle()
    await world.cluster.scale(DEPLOYMENT, 7)
    await world.settle()
    assert world.cluster.objects[DEPLOYMENT]["spec"]["replicas"] == 2


async def test_an_agent_that_may_sleep_has_one_pod(world: AgentWorld) -> None:
    world.agent(scaling={"minReplicas": 0})
    await world.settle()
    assert world.cluster.objects[DEPLOYMENT]["spec"]["replicas"] == 1


async def test_drift_is_mended(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    found = copy.deepcopy(world.cluster.objects[Key("Service", NAMESPACE, "helper-agent")])
    found["spec"]["ports"][0]["targetPort"] = "theirs"
    world.cluster.put(found)
    await world.settle()
    [port] = world.cluster.objects[Key("Service", NAMESPACE, "helper-agent")]["spec"]["ports"]
    assert port["targetPort"] == "http"


async def test_what_belongs_to_others_is_never_taken_over(world: AgentWorld) -> None:
    theirs = service("helper-agent", NAMESPACE, 80)
    world.cluster.put(theirs)
    world.agent()
    await world.once()
    assert world.condition("Stalled") == ("True", "NameConflict")
    assert DEPLOYMENT not in world.cluster.objects


# --- references ----------------------------------------------------------------------------------------------------


async def test_a_model_that_is_missing_stalls_until_it_comes(world: AgentWorld) -> None:
    world.cluster.remove(Key("ModelServer", NAMESPACE, "phi"))
    world.agent()
    await world.once()
    assert world.condition("Stalled") == ("True", "ReferenceNotFound")
    assert world.condition("Ready") == ("False", "ReferenceNotFound")
    assert "ModelServer/demo/phi" in world.message("Ready")
    assert DEPLOYMENT not in world.cluster.objects
    assert world.references.parents(Key("ModelServer", NAMESPACE, "phi")) == [AGENT], "its coming wakes the agent"
    come = phi()[0]
    come["metadata"]["uid"] = "uid-of-another"
    world.cluster.put(come)
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Stalled") is None


async def test_a_reference_that_goes_leaves_the_running_pods_alone(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    before = world.template()
    world.cluster.remove(Key("ModelServer", NAMESPACE, "phi"))
    await world.settle()
    assert world.condition("Stalled") == ("True", "ReferenceNotFound")
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("ModelReady") == ("True", "Loaded"), "pods say so"
    assert world.template() == before


async def test_a_model_that_is_not_ready_is_waited_for_by_the_pods(world: AgentWorld) -> None:
    world.cluster.put(served("ModelServer", "phi", ready="False"))
    world.agent()
    await world.once()
    world.run_deployment(ready=False)
    await world.once()
    assert world.condition("Ready") == ("False", "ModelNotReady")
    assert world.condition("ModelReady") == ("False", "ModelNotReady")
    assert world.condition("Stalled") is None


async def test_another_agent_wakes_it_when_it_comes(world: AgentWorld) -> None:
    world.agent(tools=[{"name": "boss", "agent": {"name": "boss"}}])
    await world.once()
    assert world.condition("Stalled") == ("True", "ReferenceNotFound")
    assert AGENT in world.references.parents(Key("Agent", NAMESPACE, "boss"))
    world.cluster.put(agent_manifest("boss"))
    await world.settle()
    assert world.condition("ToolsReady") == ("True", "ToolsFound")


async def test_a_circle_is_told_and_its_end_wakes_the_agent(world: AgentWorld) -> None:
    back = [{"name": "back", "agent": {"name": "helper"}}]
    world.cluster.put(agent_manifest("boss", tools=back))
    world.agent(tools=[{"name": "boss", "agent": {"name": "boss"}}])
    await world.once()
    assert world.condition("Stalled") == ("True", "AgentCycle")
    assert AGENT in world.references.parents(Key("Agent", NAMESPACE, "boss"))


async def test_services_of_others_are_asked_for_and_looked_at_again(world: AgentWorld) -> None:
    ref = {"apiVersion": "v1", "kind": "Service", "name": "tickets"}
    world.agent(tools=[{"name": "tickets", "mcp": {"serverRef": ref}}])
    assert await world.once() is not None, "no watch tells of it"
    assert world.condition("Stalled") == ("True", "ReferenceNotFound")
    foreign = service("tickets", NAMESPACE, 3000)
    # A watch of what is managed by others would not show it: only the API server has it.
    world.cluster.on_change = lambda seen, deleted: None
    world.cluster.put(foreign)
    world.cluster.on_change = lambda seen, deleted: world.cache.observe(seen, deleted=deleted)
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert await world.once() == pytest.approx(60)


async def test_labels_of_its_namespace_are_watched_where_they_decide(world: AgentWorld) -> None:
    selector = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}
    world.cluster.put(served("ModelServer", "far", "other", allowedNamespaces=selector))
    world.agent(model={"modelServerRef": {"name": "far", "namespace": "other"}})
    await world.once()
    assert world.condition("Stalled") == ("True", "RefNotPermitted")
    assert world.references.parents(Key("Namespace", "", NAMESPACE)) == [AGENT]
    metadata = {"name": NAMESPACE, "labels": {"team": "a"}}
    world.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


# --- identity ------------------------------------------------------------------------------------------------------


async def test_the_key_of_identities_is_made_once_and_never_changed(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    made = world.cluster.objects[SECRET]
    world.start()
    world.agent(instructions="Be brief.")
    await world.settle()
    assert world.cluster.objects[SECRET] == made
    assert {verb for verb, key in world.cluster.writes if key == SECRET} <= {"create"}


# --- pods that do not serve ----------------------------------------------------------------------------------------


KEPT: Manifest = {"store": "PersistentVolume"}
CLAIM = Key("PersistentVolumeClaim", NAMESPACE, "helper-agent-sessions")


async def test_sessions_are_never_deleted_by_a_change_of_the_spec(world: AgentWorld) -> None:
    world.agent(session=KEPT)
    await world.settle()
    assert CLAIM in world.cluster.objects
    world.agent()
    await world.settle()
    assert CLAIM in world.cluster.objects
    world.cluster.remove(AGENT)
    assert CLAIM not in world.cluster.objects, "they go with the agent"


# --- errors and the end --------------------------------------------------------------------------------------------


async def test_an_error_in_the_middle_is_made_good_by_the_next_pass(world: AgentWorld) -> None:
    world.agent()
    world.cluster.fail = lambda verb, key: Transient("503") if key == DEPLOYMENT else None
    with pytest.raises(Transient):
        await world.once()
    world.cluster.fail = lambda verb, key: None
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_child_of_a_deleted_namesake_is_waited_for(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    former = copy.deepcopy(world.cluster.objects[DEPLOYMENT])
    former["metadata"]["ownerReferences"][0]["uid"] = "former"
    world.cluster.put(former)
    with pytest.raises(NotReady):
        await world.once()


async def test_an_agent_that_is_gone_is_forgotten(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    world.cluster.remove(AGENT)
    assert await world.once() is None
    assert world.references.parents(Key("ModelServer", NAMESPACE, "phi")) == []
    assert world.names("Service") == set()


async def test_a_ghost_gets_no_children(world: AgentWorld) -> None:
    world.agent()
    await world.settle()
    world.cluster.on_change = lambda seen, deleted: (
        None if seen["kind"] == "Agent" else world.cache.observe(seen, deleted=deleted)
    )
    world.cluster.remove(AGENT)
    world.cluster.writes.clear()
    await world.once()
    assert world.cluster.writes == []
