"""What a plan makes of an AgentRoute, from nothing to its end, and in which order."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec, NotReady
from agentfleet.manifests.gateway_names import site_word
from agentfleet.objects import Key, Manifest
from agentfleet.planning.route_observed import RouteObserved
from agentfleet.planning.route_plan import plan_route
from agentfleet.settings import Settings
from tests.builders import NAMESPACE
from tests.planning.route_fleet import RouteFleet, node, render
from tests.routes import SETTINGS, Held, resolved, route, to

PER_SITE: dict[str, Any] = {"gateway": {"perSite": True}}


def site_set(site: str) -> str:
    return f"Deployment/front-route-{site_word(site)}"


def kinds(manifests: tuple[Manifest, ...]) -> list[str]:
    return [f"{each['kind']}/{each['metadata']['name']}" for each in manifests]


def test_two_gateways_with_all_that_belongs_to_them() -> None:
    fleet = RouteFleet()
    plan = fleet.step(route())
    assert kinds(plan.apply) == [
        "Service/front-route",
        "Service/front-route-gateways",
        "Service/front-route-0",
        "Service/front-route-1",
        "NetworkPolicy/front-route",
        "PodDisruptionBudget/front-route",
        f"ConfigMap/front-route-{plan.revision}",
        "StatefulSet/front-route",
    ]
    assert (plan.replicas, plan.delete, plan.deferred) == (2, (), 0)
    assert sorted(fleet.children[Key("ConfigMap", NAMESPACE, f"front-route-{plan.revision}")]["data"]) == [
        "decider.json",
        "haproxy.cfg",
        "route.json",
    ]


def test_addresses_of_gateways_are_waited_for() -> None:
    with pytest.raises(NotReady) as error:
        plan_route(route(), resolved(route()), RouteObserved(), SETTINGS, render)
    assert error.value.reason == "WaitingForServices"
    assert error.value.message == "Services without an address: front-route-0, front-route-1"


def test_one_gateway_needs_no_peers_and_no_budget_and_goes_after_its_successor() -> None:
    plan = RouteFleet().step(route(gateway={"replicas": 1}))
    rolling = plan.apply[-1]["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}
    assert kinds(plan.apply) == [
        "Service/front-route",
        "Service/front-route-gateways",
        "NetworkPolicy/front-route",
        f"ConfigMap/front-route-{plan.revision}",
        "Deployment/front-route",
    ]


def test_a_rollout_has_ended_when_the_successor_serves() -> None:
    fleet = RouteFleet()
    alone = {"gateway": {"replicas": 1}}
    fleet.step(route(**alone))
    fleet.roll()
    fleet.step(route(queue={"max": 5}, **alone))
    fleet.surge("Deployment/front-route")
    fleet.step(route(queue={"max": 5}, **alone))
    assert fleet.condition("Ready") == ("True", "Serving")
    assert fleet.condition("Reconciling") == ("True", "RollingOut"), "the one that is ready is the former"
    assert len(fleet.names("ConfigMap")) == 2
    fleet.roll()
    fleet.step(route(queue={"max": 5}, **alone))
    assert fleet.condition("Programmed") == ("True", "Programmed")


def test_the_same_spec_is_the_same_revision() -> None:
    fleet = RouteFleet()
    first = fleet.step(route())
    fleet.roll()
    assert fleet.step(route()) == first


def test_readiness_of_targets_changes_nothing_for_gateways() -> None:
    fleet = RouteFleet()
    first = fleet.step(route())
    fleet.held.server(ready="EngineDied", replicas=2)
    assert fleet.step(route()).revision == first.revision


def test_the_old_configuration_stays_until_nobody_uses_it() -> None:
    fleet = RouteFleet()
    first = fleet.step(route())
    fleet.roll()
    second = fleet.step(route(queue={"max": 5}))
    assert second.revision != first.revision
    assert len(fleet.names("ConfigMap")) == 2
    assert second.delete == ()
    going = dict(fleet.pods)
    fleet.roll()
    fleet.pods |= {"front-route-9": going["front-route-0"]}  # still answers its last requests
    assert fleet.step(route(queue={"max": 5})).delete == ()
    del fleet.pods["front-route-9"]
    third = fleet.step(route(queue={"max": 5}))
    assert [str(key) for key, _ in third.delete] == [f"ConfigMap/demo/front-route-{first.revision}"]
    assert fleet.step(route(queue={"max": 5})).delete == ()


def test_what_is_used_up_of_budgets_is_never_deleted() -> None:
    fleet = RouteFleet()
    fleet.step(route())
    fleet.roll()
    kept = Key("ConfigMap", NAMESPACE, "front-route-budgets")
    sample = fleet.children[Key("ConfigMap", NAMESPACE, fleet.names("ConfigMap")[0])]
    fleet.children[kept] = sample | {"metadata": sample["metadata"] | {"name": kept.name}}
    assert fleet.step(route()).delete == ()


def test_fewer_gateways_lose_their_services_last() -> None:
    fleet = RouteFleet()
    fleet.step(route(gateway={"replicas": 3}))
    fleet.roll()
    asked = route(gateway={"replicas": 1})
    assert fleet.step(asked).delete == ()
    assert fleet.workloads() == ["Deployment/front-route", "StatefulSet/front-route"], "the last one is up before"
    fleet.roll()
    fleet.step(asked)
    assert fleet.workloads() == ["Deployment/front-route"]
    fleet.roll()
    fleet.step(asked)
    assert fleet.names("Service") == ["front-route", "front-route-gateways"]
    assert fleet.names("PodDisruptionBudget") == []


def test_without_a_usable_target_what_runs_goes_on() -> None:
    fleet = RouteFleet()
    fleet.step(route())
    fleet.roll()
    del fleet.held.objects[Key("ModelServer", NAMESPACE, "phi")]
    before = dict(fleet.children)
    plan = fleet.step(route())
    assert (plan.revision, plan.apply, plan.delete) == (None, (), ())
    assert fleet.children == before


def test_a_missing_target_comes_and_goes() -> None:
    fleet = RouteFleet()
    asked = route(to("phi"), to("new"))
    first = fleet.step(asked)
    fleet.held.server("new")
    assert fleet.step(asked).revision != first.revision
    del fleet.held.objects[Key("ModelServer", NAMESPACE, "new")]
    assert fleet.step(asked).revision == first.revision


def test_too_much_text_is_refused_with_its_size() -> None:
    examples = ["x" * 512] * 64
    intents = [{"name": f"i{index}", "examples": examples} for index in range(32)]
    with pytest.raises(InvalidSpec, match=r"decider\.json most of them; a ConfigMap holds 1048576 \(1Mi\)"):
        RouteFleet().step(route(classify={"intents": intents}))


def test_an_http_route_where_gateways_are() -> None:
    fleet = RouteFleet()
    asked = route(parentRefs=[{"name": "edge"}])
    assert "HTTPRoute/front-route" in kinds(fleet.step(asked).apply)
    fleet.roll()
    fleet.step(route())
    fleet.step(route())
    assert fleet.names("HTTPRoute") == []
    fleet.served = frozenset()
    assert "HTTPRoute/front-route" not in kinds(fleet.step(asked).apply)


def test_a_gateway_at_each_site_prefers_its_own_pods() -> None:
    fleet = RouteFleet()
    fleet.nodes = [node("n1", "Site_A"), node("n2", "b"), node("n3", "b")]
    plan = fleet.step(route(**PER_SITE))
    assert plan.replicas == 2
    assert fleet.workloads() == sorted(map(site_set, ("Site_A", "b")))
    assert fleet.names("PodDisruptionBudget") == []
    near = [name for name in fleet.names("Service") if name.endswith(site_word("Site_A")) and name.count("-") == 3]
    (service,) = near
    assert fleet.children[Key("Service", NAMESPACE, service)]["spec"]["selector"] == {
        "agentfleet.dev/modelserver": "phi",
        "agentfleet.dev/serving": "true",
        "topology.kubernetes.io/zone": "Site_A",
    }
    config = fleet.children[Key("ConfigMap", NAMESPACE, f"front-route-{plan.revision}")]["data"]["haproxy.cfg"]
    assert service.replace(site_word("Site_A"), "${SITE}") in config


def test_sites_have_their_turn() -> None:
    fleet = RouteFleet()
    fleet.nodes = [node(name, name) for name in ("a", "b", "c")]
    first = fleet.step(route(**PER_SITE))
    fleet.roll()
    asked = route(queue={"max": 5}, **PER_SITE)
    assert fleet.step(asked).deferred == 2
    turns = 0
    while (plan := fleet.step(asked)).deferred:
        turns += 1
        begun = {name for name in fleet.workloads() if _revision(fleet, name) == plan.revision}
        old = [pod for pod, revision in fleet.revisions().items() if revision == first.revision]
        assert len(old) + turns == 4, "one site at a time"
        fleet.roll(*begun)
    assert turns == 2
    fleet.roll()
    assert set(fleet.revisions().values()) == {plan.revision}


def _revision(fleet: RouteFleet, name: str) -> str:
    labels: dict[str, str] = fleet.children[fleet.key(name)]["metadata"]["labels"]
    return labels["agentfleet.dev/revision"]


def test_a_site_that_is_cut_off_holds_up_nobody() -> None:
    fleet = RouteFleet()
    fleet.nodes = [node(name, name) for name in ("a", "b", "c")]
    fleet.step(route(**PER_SITE))
    fleet.roll()
    fleet.nodes[0] = node("a", "a", ready=False)
    asked = route(queue={"max": 5}, **PER_SITE)
    assert fleet.step(asked).deferred == 1
    for _ in range(2):
        fleet.roll(*(name for name in fleet.workloads() if name != site_set("a")))
        plan = fleet.step(asked)
    assert plan.deferred == 0
    assert fleet.condition("Programmed") == ("False", "RollingOut"), "it will have it when it is back"
    assert fleet.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize(("sites", "error"), [(None, InvalidSpec), (frozenset(), NotReady)])
def test_sites_have_to_be_known(sites: frozenset[str] | None, error: type[Exception]) -> None:
    asked = route(**PER_SITE)
    with pytest.raises(error):
        plan_route(asked, resolved(asked), RouteObserved(sites=sites), SETTINGS, render)


def test_sites_that_are_named_need_no_nodes() -> None:
    fleet = RouteFleet()
    plan = fleet.step(route(gateway={"perSite": True, "placement": {"sites": ["x", "y", "z"]}}))
    assert plan.replicas == 3


def test_a_change_to_sites_keeps_the_old_gateways_until_the_new_ones_serve() -> None:
    fleet = RouteFleet()
    fleet.nodes = [node("n1", "a"), node("n2", "b")]
    fleet.step(route())
    fleet.roll()
    asked = route(**PER_SITE)
    assert fleet.step(asked).delete == ()
    fleet.roll(*map(site_set, ("a", "b")))
    assert [str(key) for key, _ in fleet.step(asked).delete] == ["StatefulSet/demo/front-route"]
    assert "front-route-0" in fleet.names("Service"), "its pods may still be going"
    fleet.roll()
    fleet.step(asked)
    assert "front-route-0" not in fleet.names("Service")


def test_an_upgrade_of_the_image_is_a_new_revision() -> None:
    asked, fleet = route(), RouteFleet()
    plan = fleet.step(asked)
    newer = Settings(**{**SETTINGS.model_dump(), "haproxy_image": "haproxy:next"})
    assert plan_route(asked, resolved(asked), fleet.observed(), newer, render).revision != plan.revision


def test_the_classifier_of_another_namespace_is_a_reference_like_others() -> None:
    classify = {"intentMethod": "Embedding", "modelRef": {"name": "phi", "namespace": "models"}}
    asked = route(classify=classify)
    held = Held().server().server("phi", "models")
    assert [lost.reason for lost in resolved(asked, held).unresolved] == ["NotPermitted"]
