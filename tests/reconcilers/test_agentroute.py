"""reconcile of an AgentRoute against an in-memory cluster: what stands there afterwards, not which calls were made."""

import copy
from typing import Any

import pytest

from agentfleet.errors import NotReady, Transient
from agentfleet.objects import Key
from tests.builders import NAMESPACE
from tests.reconcilers.routes import ALONE, ROUTE, SECRET, SET, RouteWorld
from tests.world import meta


@pytest.fixture
def world() -> RouteWorld:
    made = RouteWorld()
    made.model_server()
    return made


async def test_a_route_becomes_a_gateway(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    assert world.cluster.objects[SET]["spec"]["replicas"] == 2
    assert world.names("Service") == {"chat-route", "chat-route-gateways", "chat-route-0", "chat-route-1"}
    assert world.names("PodDisruptionBudget") == {"chat-route"}
    assert len(world.names("NetworkPolicy")) == 1
    assert "haproxy.cfg" in world.config()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Programmed") == ("True", "Programmed")
    assert world.condition("Accepted") == ("True", "Accepted")
    assert world.condition("Reconciling") is None
    assert world.status["url"] == "http://chat-route.demo.svc.cluster.local/v1"
    assert (world.status["replicas"], world.status["readyReplicas"]) == (2, 2)
    assert [target["reason"] for target in world.status["targets"]] == ["Serving"]
    assert world.status["observedGeneration"] == 1


async def test_gateways_know_each_other_by_the_addresses_of_their_services(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    for index in range(2):
        address = world.cluster.objects[Key("Service", NAMESPACE, f"chat-route-{index}")]["spec"]["clusterIP"]
        assert address in world.config()["decider.json"]


async def test_while_gateways_are_on_their_way_it_is_in_progress(world: RouteWorld) -> None:
    world.route()
    await world.once()
    assert world.condition("Ready") == ("Unknown", "WaitingForPods")
    assert world.condition("Reconciling") == ("True", "RollingOut")
    assert world.condition("Stalled") is None


async def test_the_second_pass_and_a_restart_write_nothing(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    world.cluster.writes.clear()
    await world.once()
    assert world.cluster.writes == []
    world.start()
    world.later(3600)
    await world.once()
    assert world.cluster.writes == []


async def test_the_users_object_is_never_written_but_for_status(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    assert {verb for verb, key in world.cluster.writes if key.kind == "AgentRoute"} == {"apply_status"}


async def test_a_changed_spec_is_a_new_revision_and_the_old_files_go_when_nobody_uses_them(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    [old] = world.names("ConfigMap")
    revision = world.status["revision"]
    world.route(aliases=["auto", "assistant"])
    await world.once()
    assert len(world.names("ConfigMap")) == 2
    assert old in world.names("ConfigMap")
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("Reconciling") == ("True", "RollingOut")
    await world.settle()
    [new] = world.names("ConfigMap")
    assert new != old
    assert world.status["revision"] != revision
    assert "assistant" in world.config()["route.json"]
    assert world.condition("Reconciling") is None


async def test_more_gateways_are_scaled_and_know_each_other(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    world.route(gateway={"replicas": 3})
    await world.settle()
    assert world.cluster.objects[SET]["spec"]["replicas"] == 3
    assert "chat-route-2" in world.names("Service")
    world.route(gateway={"replicas": 1})
    await world.settle()
    assert SET not in world.cluster.objects
    assert world.cluster.objects[ALONE]["spec"]["replicas"] == 1
    assert world.names("Service") == {"chat-route", "chat-route-gateways"}, "alone, it needs no name of its own"


@pytest.mark.parametrize(("replicas", "key"), [(2, SET), (1, ALONE)])
async def test_gateways_that_were_scaled_by_hand_are_scaled_back(world: RouteWorld, replicas: int, key: Key) -> None:
    world.route(gateway={"replicas": replicas})
    await world.settle()
    scaled = copy.deepcopy(world.cluster.objects[key])
    scaled["spec"]["replicas"] = 5
    world.cluster.put(scaled)
    await world.settle()
    assert world.cluster.objects[key]["spec"]["replicas"] == replicas


async def test_an_invalid_spec_keeps_the_running_gateway(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    config, version = world.config(), world.cluster.objects[SET]["metadata"]["resourceVersion"]
    bad: dict[str, Any] = {"sensitivity": {"custom": [{"name": "x", "pattern": "(a+)+$"}]}}
    world.route(classify=bad)
    await world.settle()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.condition("Accepted") == ("False", "InvalidSpec")
    assert world.condition("Ready") == ("True", "Serving")
    assert (world.config(), world.cluster.objects[SET]["metadata"]["resourceVersion"]) == (config, version)
    world.route()
    await world.settle()
    assert world.condition("Stalled") is None


async def test_an_object_from_before_a_rule_is_stalled_by_name_of_its_field(world: RouteWorld) -> None:
    world.route(queue={"max": -1})
    await world.once()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.message("Stalled").startswith("spec.queue.max: -1: ")
    assert world.names("Service") == set()


async def test_a_foreign_object_with_our_name_is_left_alone(world: RouteWorld) -> None:
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": meta("chat-route"), "spec": {"selector": {"a": "b"}}}
    world.cluster.put(foreign)
    name = Key("Service", NAMESPACE, "chat-route")
    world.cache.drop(name)  # it has none of our labels, so no watch shows it
    world.route()
    assert await world.once() is not None
    assert world.condition("Stalled") == ("True", "NameConflict")
    assert "Service chat-route exists and is not this AgentRoute's." in world.message("Stalled")
    assert world.cluster.objects[name]["spec"] == {"selector": {"a": "b"}}
    world.cluster.remove(name)
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_deleted_route_is_forgotten(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    world.cluster.remove(ROUTE)
    assert await world.once() is None
    assert world.references.parents(Key("ModelServer", NAMESPACE, "phi")) == []
    assert not [key for key in world.cluster.objects if key.kind in ("StatefulSet", "ConfigMap")]


async def test_children_of_a_ghost_are_not_made_again(world: RouteWorld) -> None:
    """The route was deleted during an outage: its children's deletions are seen, its own is not."""
    world.route()
    await world.settle()
    tell = world.cluster.on_change
    world.cluster.on_change = lambda seen, deleted: None if seen["kind"] == "AgentRoute" else tell(seen, deleted)
    world.cluster.remove(ROUTE)
    world.cluster.writes.clear()
    assert await world.once() is None
    assert world.cluster.writes == []
    assert world.cache.get(ROUTE) is None


async def test_children_of_a_deleted_namesake_are_waited_for(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    reborn = copy.deepcopy(world.cluster.objects[ROUTE])
    reborn["metadata"]["uid"] = "99999999-2222-3333-4444-555555555555"
    world.cluster.put(reborn)
    with pytest.raises(NotReady, match="deleted namesake"):
        await world.once()
    assert world.condition("Reconciling") == ("True", "WaitingForDeletion")


async def test_the_identity_key_is_made_once_and_never_read_or_changed(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    key = world.cluster.objects[SECRET]["data"]["key"]
    assert "ownerReferences" not in world.cluster.objects[SECRET]["metadata"], "it outlives the route"
    assert [verb for verb, written in world.cluster.writes if written == SECRET] == ["create"]
    world.start()
    await world.settle()
    assert world.cluster.objects[SECRET]["data"]["key"] == key


async def test_an_identity_key_that_was_deleted_is_made_anew_when_a_gateway_misses_it(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    world.cluster.remove(SECRET)
    await world.once()
    assert SECRET not in world.cluster.objects, "nobody has missed it yet"
    world.run_gateways(ready=False)
    await world.once()
    assert SECRET not in world.cluster.objects, "it is not tried at every pass"
    world.later(61)
    await world.once()
    assert SECRET in world.cluster.objects


async def test_a_secret_of_the_user_that_is_missing_is_told(world: RouteWorld) -> None:
    world.route(auth={"apiKeys": {"secretName": "keys"}})
    await world.once()
    world.run_gateways(ready=False)
    pod = world.cluster.objects[Key("Pod", NAMESPACE, "chat-route-0")]
    words = 'MountVolume.SetUp failed for volume "keys" : secret "keys" not found'
    world.cluster.pod_events_by_uid[pod["metadata"]["uid"]] = [{"reason": "FailedMount", "message": words}]
    world.later(10)
    assert await world.once() is not None, "events raise no watch event"
    assert 'secret "keys" not found' in world.message("Ready")


async def test_a_failing_api_server_is_tried_again(world: RouteWorld) -> None:
    world.route()
    world.cluster.fail = lambda verb, key: Transient("503") if verb == "apply" else None
    with pytest.raises(Transient):
        await world.once()
    world.cluster.fail = lambda verb, key: None
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_bug_is_shown_and_tried_again(world: RouteWorld) -> None:
    world.route()
    world.cluster.fail = lambda verb, key: KeyError("spec") if verb == "apply" else None
    with pytest.raises(KeyError):
        await world.once()
    assert world.condition("Ready") == ("Unknown", "InternalError")


async def test_used_budgets_are_never_taken_away(world: RouteWorld) -> None:
    budget = {"scope": "Key", "tokens": 1000, "window": "Day", "onExceeded": "Reject"}
    world.route(auth={"apiKeys": {"secretName": "keys"}}, budgets=[budget])
    await world.settle()
    owner = world.cluster.objects[SET]["metadata"]["ownerReferences"]
    labels = world.cluster.objects[SET]["metadata"]["labels"]
    kept = meta("chat-route-budgets") | {"labels": labels, "ownerReferences": owner}
    world.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept, "data": {"used.json": "{}"}})
    world.route(auth={"apiKeys": {"secretName": "keys"}}, budgets=[budget], aliases=["assistant"])
    await world.settle()
    assert "chat-route-budgets" in world.names("ConfigMap")


async def test_events_tell_of_changes_once(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    assert [event["reason"] for event in world.cluster.posted_events] == ["Serving", "RolledOut"]
    world.route(aliases=["assistant"])
    await world.settle()
    assert [event["reason"] for event in world.cluster.posted_events][2:] == ["RolledOut"]


async def test_a_status_that_is_none_is_replaced(world: RouteWorld) -> None:
    world.route()
    world.cluster.patch_status(ROUTE, {"conditions": "none", "readyReplicas": -7})
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_an_http_route_where_the_api_is_served(world: RouteWorld) -> None:
    world.route(parentRefs=[{"name": "edge"}])
    await world.settle()
    assert world.condition("Programmed") == ("False", "GatewayAPIMissing")
    assert world.condition("Ready") == ("True", "Serving")
    world.cache.serve("HTTPRoute")
    await world.settle()
    assert world.names("HTTPRoute") == {"chat-route"}
    world.route()
    await world.settle()
    assert world.names("HTTPRoute") == set()
