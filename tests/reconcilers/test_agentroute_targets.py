"""reconcile of an AgentRoute whose targets come, go, or are elsewhere; and of its gateways at sites."""

import pytest

from agentfleet.errors import NotReady
from agentfleet.objects import Key
from tests.builders import NAMESPACE
from tests.reconcilers.routes import PHI, ROUTE, SET, RouteWorld


@pytest.fixture
def world() -> RouteWorld:
    made = RouteWorld()
    made.model_server()
    return made


async def test_a_target_that_is_not_there_is_said_and_comes(world: RouteWorld) -> None:
    world.route(targets=[PHI, {"name": "big", "modelServerRef": {"name": "big"}}])
    await world.settle()
    assert world.condition("ResolvedRefs") == ("False", "TargetNotFound")
    assert world.condition("Ready") == ("True", "Serving"), "the route goes on with the others"
    assert {t["name"]: t["reason"] for t in world.status["targets"]} == {"phi": "Serving", "big": "NotFound"}
    assert "big-model" not in world.config()["haproxy.cfg"]
    assert ROUTE in world.references.parents(Key("ModelServer", NAMESPACE, "big")), "its coming wakes the route"
    world.model_server("big")
    await world.settle()
    assert world.condition("ResolvedRefs") == ("True", "TargetsResolved")
    assert "big-model" in world.config()["haproxy.cfg"]


async def test_a_route_that_came_with_its_targets_starts_its_gateways_once(world: RouteWorld) -> None:
    """kubectl apply -f .: the second ModelServer has no Services yet when the route is looked at."""
    world.model_server("big")
    world.cluster.remove(Key("Service", NAMESPACE, "big-model-pods"))
    world.route(made="2026-11-21T09:59:59Z", targets=[PHI, {"name": "big", "modelServerRef": {"name": "big"}}])
    with pytest.raises(NotReady) as error:
        await world.once()
    assert (error.value.reason, error.value.after) == ("WaitingForTargets", 9)
    assert world.condition("Ready") == ("Unknown", "WaitingForTargets")
    assert SET not in world.cluster.objects
    assert Key("Service", NAMESPACE, "chat-route-0") in world.cluster.objects, "their addresses need no waiting"
    world.model_server("big")
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert len(world.names("ConfigMap")) == 1, "one revision from the start"
    assert "big-model" in world.config()["haproxy.cfg"]


async def test_targets_that_do_not_come_are_not_waited_for(world: RouteWorld) -> None:
    world.model_server("big")
    world.cluster.remove(Key("Service", NAMESPACE, "big-model-pods"))
    world.route(made="2026-11-21T10:00:00Z", targets=[PHI, {"name": "big", "modelServerRef": {"name": "big"}}])
    with pytest.raises(NotReady):
        await world.once()
    world.later(10)
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert {t["name"]: t["reason"] for t in world.status["targets"]} == {"phi": "Serving", "big": "NotReady"}


@pytest.mark.parametrize("made", ["2026-11-20T10:00:00Z", "2026-11-21T11:00:00Z"])
async def test_a_route_that_is_old_or_made_by_a_clock_ahead_waits_for_nobody(world: RouteWorld, made: str) -> None:
    world.model_server("big")
    world.cluster.remove(Key("Service", NAMESPACE, "big-model-pods"))
    world.route(made=made, targets=[PHI, {"name": "big", "modelServerRef": {"name": "big"}}])
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_a_target_that_goes_takes_nobody_with_it(world: RouteWorld) -> None:
    world.model_server("big")
    world.route(targets=[PHI, {"name": "big", "modelServerRef": {"name": "big"}}])
    await world.settle()
    world.cluster.remove(Key("ModelServer", NAMESPACE, "big"))
    await world.settle()
    assert world.condition("ResolvedRefs") == ("False", "TargetNotFound")
    assert world.condition("Ready") == ("True", "Serving")


async def test_the_last_target_that_goes_leaves_the_running_gateway_alone(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    before = {key: o["metadata"]["resourceVersion"] for key, o in world.cluster.objects.items() if key != ROUTE}
    world.cluster.remove(Key("ModelServer", NAMESPACE, "phi"))
    await world.settle()
    assert world.condition("Ready") == ("False", "NoTarget")
    after = {key: o["metadata"]["resourceVersion"] for key, o in world.cluster.objects.items() if key != ROUTE}
    assert after == {key: version for key, version in before.items() if key.name != "phi"}


async def test_a_target_of_another_namespace_is_used_where_its_owner_lets_the_route_in(world: RouteWorld) -> None:
    allowed = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}
    world.model_server("far", namespace="other", allowedNamespaces=allowed)
    world.route(targets=[PHI, {"name": "far", "modelServerRef": {"name": "far", "namespace": "other"}}])
    await world.settle()
    assert world.condition("ResolvedRefs") == ("False", "RefNotPermitted")
    namespace = Key("Namespace", "", NAMESPACE)
    assert world.references.parents(namespace) == [ROUTE], "its labels decide"
    metadata = {"name": NAMESPACE, "labels": {"team": "a"}}
    world.cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    await world.settle()
    assert world.condition("ResolvedRefs") == ("True", "TargetsResolved")
    assert "far-model-pods.other.svc" in world.config()["haproxy.cfg"]
    world.model_server("far", namespace="other")
    await world.settle()
    assert world.condition("ResolvedRefs") == ("False", "RefNotPermitted")
    assert "far-model-pods.other.svc" not in world.config()["haproxy.cfg"]


async def test_a_gateway_for_each_site(world: RouteWorld) -> None:
    for name, site in (("n1", "north"), ("n2", "south"), ("n3", "south")):
        world.node(name, site)
    world.route(gateway={"perSite": True})
    await world.settle()
    assert len(world.names("Deployment")) == 2
    assert world.condition("Ready") == ("True", "Serving")
    assert world.references.parents(Key("Node", "", "n1")) == [ROUTE]
    world.node("n4", "west")
    await world.settle()
    assert len(world.names("Deployment")) == 3
    assert world.status["replicas"] == 3
    world.cluster.remove(Key("Node", "", "n4"))
    await world.settle()
    assert len(world.names("Deployment")) == 2


async def test_sites_that_nobody_knows_are_waited_for(world: RouteWorld) -> None:
    world.route(gateway={"perSite": True})
    with pytest.raises(NotReady, match="no node has the label"):
        await world.once()
    assert world.condition("Reconciling") == ("True", "WaitingForSites")
    world.node("n1", "north")
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")


async def test_readiness_of_a_target_is_no_new_revision(world: RouteWorld) -> None:
    world.route()
    await world.settle()
    revision = world.status["revision"]
    world.model_server(ready="False", reason="ReplicasUnavailable")
    await world.settle()
    assert world.condition("Ready") == ("False", "TargetNotReady")
    assert world.status["revision"] == revision
    world.model_server()
    await world.settle()
    assert world.condition("Ready") == ("True", "Serving")
    assert world.status["revision"] == revision
