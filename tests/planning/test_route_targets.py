"""What references of an AgentRoute turn out to be."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.resolved import Resolved
from agentfleet.objects import Key
from agentfleet.planning.route_targets import references, resolve, wants_namespace
from agentfleet.resources.modelserver import ModelServer
from tests.routes import AUTH, CLOUD, SETTINGS, Held, cloud, resolved, route, route_manifest, to

SELECTED = {"from": "Selector", "selector": {"matchLabels": {"team": "blue"}}}


def one(target: dict[str, Any], held: Held, **spec: Any) -> Resolved:
    """The only target of a route."""
    return resolved(route(target, **spec), held).targets[target["name"]]


def test_a_model_server_answers_at_its_pods_and_is_held_at_its_service() -> None:
    found = one(to("phi"), Held().server(replicas=3))
    assert (found.reason, found.ready, found.location) == ("Serving", True, "Cluster")
    endpoint = found.usable
    assert endpoint is not None
    assert endpoint.host == "phi-model-pods.demo.svc.cluster.local"
    assert endpoint.service == "phi-model.demo.svc.cluster.local"
    assert (endpoint.port, endpoint.model, endpoint.slots) == (8080, "phi", 16)
    assert not endpoint.scales_to_zero


def test_slots_are_enough_for_two_revisions_and_seldom_change() -> None:
    def slots(**spec: Any) -> int:
        endpoint = one(to("phi"), Held().server(**spec)).usable
        assert endpoint is not None
        return endpoint.slots

    assert slots(scaling={"maxReplicas": 9}) == slots(scaling={"maxReplicas": 16}) == 32
    assert slots(replicas=17) == 64
    assert slots(placement={"mode": "PerNode"}) == 128


@pytest.mark.parametrize(("scaling", "asleep"), [({"mode": "Apply"}, True), ({}, False)])
def test_only_who_is_scaled_to_zero_is_asleep(scaling: dict[str, Any], asleep: bool) -> None:
    """No request starts what somebody's hand has stopped."""
    held = Held().server(ready="ScaledToZero", scaling={"minReplicas": 0, "maxReplicas": 2} | scaling)
    found = one(to("phi"), held)
    assert (found.reason, found.ready) == (("ScaledToZero", True) if asleep else ("NotReady", False))
    assert ("scaled to zero by hand" in found.message) is not asleep
    assert found.usable is not None
    assert found.usable.scales_to_zero is asleep


def test_what_is_not_there_is_named_and_gets_nothing() -> None:
    found = resolved(route(to("phi"), to("gone")))
    assert [target.name for target in found.usable] == ["phi"]
    assert [target.reason for target in found.unresolved] == ["NotFound"]
    assert found.targets["gone"].message == "gone: there is no ModelServer gone."


def test_a_model_server_on_its_way_out_is_not_there() -> None:
    held = Held().server()
    held.objects[Key("ModelServer", "demo", "phi")]["metadata"]["deletionTimestamp"] = "2026-11-21T10:00:00Z"
    assert one(to("phi"), held).reason == "NotFound"


def test_a_model_server_without_services_waits_for_them() -> None:
    held = Held().server()
    del held.objects[Key("Service", "demo", "phi-model-pods")]
    found = one(to("phi"), held)
    assert (found.reason, found.usable) == ("NotReady", None)
    assert not resolved(route(), held).unresolved, "it is there, it only has to start"


def test_one_that_is_not_ready_stays_in_the_policy() -> None:
    found = one(to("phi"), Held().server(ready="EngineDied"))
    assert (found.reason, found.ready) == ("NotReady", False)
    assert found.usable is not None


def test_an_agent_that_does_not_speak_what_routes_speak_is_no_target_yet() -> None:
    mute = Held().agent("helper", {"modelServerRef": {"name": "phi"}}, protocols={"openai": False})
    found = one({"name": "helper", "agentRef": {"name": "helper"}}, mute)
    assert (found.reason, found.ready, found.usable) == ("NotReady", False, None)
    assert "protocols.openai is false" in found.message


def test_agents_are_not_installed_or_found() -> None:
    target = {"name": "helper", "agentRef": {"name": "helper"}}
    assert resolved(route(target), Held(), served=()).targets["helper"].reason == "KindNotInstalled"
    assert resolved(route(target), Held()).targets["helper"].reason == "NotFound"
    found = one(target, Held().agent("helper", {"modelServerRef": {"name": "phi"}}))
    assert found.usable is not None
    assert (found.usable.host, found.usable.port) == ("helper-agent-pods.demo.svc.cluster.local", 8000)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"modelServerRef": {"name": "phi"}}, "Cluster"),
        ({"modelServerRef": {"name": "far"}}, "Cloud"),
        ({"external": {"url": "https://api.example.com/v1"}}, "Cloud"),
        ({"external": {"url": "http://10.0.0.9/v1", "location": "Edge"}}, "Edge"),
        ({"routeRef": {"name": "inner"}}, "Cluster"),
        ({"routeRef": {"name": "outer"}}, "Cloud"),
        ({"routeRef": {"name": "gone"}}, "Cloud"),
    ],
)
def test_an_agent_is_where_its_model_is(model: dict[str, Any], expected: str) -> None:
    held = _routes(Held().server().server("far", engine="External", external={"url": "https://api.example.com/v1"}))
    found = one({"name": "helper", "agentRef": {"name": "helper"}}, held.agent("helper", model), auth=AUTH)
    assert found.location == expected


def _routes(held: Held) -> Held:
    """inner ─▶ phi and local, which lead to each other; outer ─▶ inner, and an Agent of `far`."""
    held.agent("hands-on", {"modelServerRef": {"name": "far"}})
    held.add(route_manifest(to("phi"), _at("local"), name="inner"))
    held.add(route_manifest(_at("inner"), {"name": "b", "agentRef": {"name": "hands-on"}}, name="outer"))
    held.add(route_manifest(to("phi"), _at("inner"), name="local"))
    return held


def _at(name: str, **fields: str) -> dict[str, Any]:
    return {"name": name, "external": {"url": f"http://{name}-route/v1", "model": "auto", **fields}}


def test_what_leads_to_a_cloud_by_another_route_is_a_cloud() -> None:
    """The other route does not know the class that this one has found."""
    held = _routes(Held().server().server("far", engine="External", external={"url": "https://api.example.com/v1"}))
    held.server("over", engine="External", external={"url": "http://outer-route/v1", "model": "m"})
    assert one(_at("outer", location="Cluster"), held, auth=AUTH).location == "Cloud"
    assert one(to("over", location="Edge"), held, auth=AUTH).location == "Cloud"
    assert one(_at("local"), held, auth=AUTH).location == "Cluster"
    assert one(_at("elsewhere"), held, auth=AUTH).location == "Cloud"
    agent = {"name": "helper", "agentRef": {"name": "helper"}, "location": "Cluster"}
    outside = {"external": {"url": "https://api.example.com/v1", "location": "Cloud"}}
    for model in ({"routeRef": {"name": "outer"}}, outside):
        assert one(agent, held.agent("helper", model), auth=AUTH).location == "Cloud"
    assert one(agent, held.agent("helper", {"external": {"url": outside["external"]["url"]}})).location == "Cluster"


@pytest.mark.parametrize(
    ("said", "asked", "expected"),
    [(None, None, "Cloud"), ("Edge", None, "Edge"), (None, "Edge", "Edge"), ("Cloud", "Edge", "Cloud")],
)
def test_a_model_server_that_says_cloud_is_believed(said: str | None, asked: str | None, expected: str) -> None:
    external = {"url": "https://api.example.com/v1", "model": "m"} | ({"location": said} if said else {})
    held = Held().server("far", engine="External", external=external)
    target = to("far", **({"location": asked} if asked else {}))
    assert one(target, held, auth=AUTH).location == expected


def test_a_cloud_without_auth_gets_nothing() -> None:
    found = resolved(route(to("phi"), cloud()))
    assert found.targets["cloud"].reason == "CloudWithoutAuth"
    assert [target.name for target in found.usable] == ["phi"]
    assert not found.unresolved
    assert resolved(route(cloud(), auth=AUTH)).targets["cloud"].reason == "External"


@pytest.mark.parametrize(
    ("url", "host", "port", "path", "tls"),
    [
        ("https://API.example.com/v1", "api.example.com", 443, "", True),
        ("https://api.example.com/v1/", "api.example.com", 443, "", True),
        ("https://api.example.com", "api.example.com", 443, "", True),
        ("https://api.example.com/openai/v1", "api.example.com", 443, "/openai/v1", True),
        ("https://api.example.com:8443/v1beta/openai/", "api.example.com", 8443, "/v1beta/openai", True),
        ("http://10.0.3.7:5273/v1", "10.0.3.7", 5273, "", False),
    ],
)
def test_addresses_are_taken_apart(url: str, host: str, port: int, path: str, tls: bool) -> None:
    found = one({"name": "x", "external": {"url": url, "model": "m"}}, Held(), auth=AUTH).usable
    assert found is not None
    assert (found.host, found.port, found.path, found.tls) == (host, port, path, tls)
    assert (found.service, found.health) == (None, None)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://api.example.com:0/v1", "InvalidSpec"),
        ("https://api.example.com:65536/v1", "InvalidSpec"),
        ("https://api.example.com/v1\nserver x", "InvalidSpec"),
        ("https://user@api.example.com/v1", "InvalidSpec"),
        ("ftp://api.example.com/v1", "InvalidSpec"),
        ("http://127.0.0.1:8090/v1", "EndpointRefused"),
        ("http://localhost/v1", "EndpointRefused"),
        ("http://169.254.169.254/v1", "EndpointRefused"),
    ],
)
def test_addresses_that_are_none_or_lead_to_the_node_are_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidSpec) as error:
        one({"name": "x", "external": {"url": url, "model": "m"}}, Held(), auth=AUTH)
    assert error.value.reason == reason
    assert repr(url) in error.value.message


@pytest.mark.parametrize(
    ("allowed", "labels", "expected"),
    [
        (None, {"team": "blue"}, "NotPermitted"),
        ({"from": "Same"}, {"team": "blue"}, "NotPermitted"),
        ({"from": "All"}, {}, "Serving"),
        (SELECTED, {"team": "blue"}, "Serving"),
        (SELECTED, {"team": "red"}, "NotPermitted"),
        (SELECTED, {}, "NotPermitted"),
        ({"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "demo"}}}, {}, "Serving"),
        ({"from": "Selector", "selector": {"matchLabels": {}}}, {}, "Serving"),
    ],
)
def test_another_namespace_has_to_let_the_route_in(
    allowed: dict[str, Any] | None, labels: dict[str, str], expected: str
) -> None:
    held = Held().server("phi", "models", **({"allowedNamespaces": allowed} if allowed else {}))
    asked = route({"name": "phi", "modelServerRef": {"name": "phi", "namespace": "models"}})
    found = resolve(asked, held, frozenset(), SETTINGS, labels).targets["phi"]
    assert found.reason == expected
    assert (found.usable is not None) == (expected == "Serving")
    assert wants_namespace(asked, held) == (allowed is not None and allowed["from"] == "Selector")


def test_a_selector_judges_the_own_namespace_too_as_the_network_policy_does() -> None:
    assert one(to("phi"), Held().server(allowedNamespaces=SELECTED)).reason == "NotPermitted"
    assert one(to("phi"), Held().server(allowedNamespaces={"from": "Same"})).reason == "Serving"


def test_keys_of_another_namespace_cannot_be_mounted() -> None:
    spec = {"allowedNamespaces": {"from": "All"}, "expose": {"apiKeySecretName": "key"}}
    held = Held().server("phi", "models", **spec).server("own", **spec)
    asked = route({"name": "phi", "modelServerRef": {"name": "phi", "namespace": "models"}}, to("own"))
    found = resolved(asked, held).targets
    assert found["phi"].reason == "NotPermitted"
    assert found["own"].usable is not None
    assert found["own"].usable.credentials.secret == "key"


def test_models_that_endpoints_tell_are_nobodys_choice() -> None:
    """Their order would choose one, and their names would get into haproxy.cfg."""
    held = Held().server("far", engine="External", external={"url": "https://api.example.com/v1", "location": "Edge"})
    held.server("odd", engine="FoundryLocal", model={"uri": "foundry://a b"}, external={"url": "http://10.0.0.9/v1"})
    assert (one(to("odd"), held, auth=AUTH).reason, one(to("odd"), held, auth=AUTH).usable) == ("NotReady", None)
    held.objects[Key("ModelServer", "demo", "far")]["status"]["models"] = [{"name": "m1", "state": "Ready"}]
    found = one(to("far"), held)
    assert (found.reason, found.usable) == ("NotReady", None)
    assert "Name it in external.model of ModelServer far." in found.message


@pytest.mark.parametrize("model", ["a b", "m)\n  server evil 6.6.6.6:80", "a'b", "-m", "m" * 254, "", "m\n"])
def test_what_is_no_model_id_stops_its_target_alone(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held().server("odd").server("phi")
    name = property(lambda server: model if server.name == "odd" else server.name)
    monkeypatch.setattr(ModelServer, "model_name", name)
    found = resolved(route(to("odd"), to("phi")), held)
    assert (found.targets["odd"].reason, found.targets["odd"].usable) == ("NotReady", None)
    assert f"odd: {model!r} is no model id: set model.name of ModelServer odd" in found.targets["odd"].message
    assert [target.name for target in found.usable] == ["phi"]


@pytest.mark.parametrize(
    ("external", "said"),
    [
        ({"url": "http://127.0.0.1:8090/v1", "model": "m"}, "this address is not for routes"),
        ({"url": "http://a:99999/v1", "model": "m"}, "'http://a:99999/v1'"),
        ({"url": "http://a/v1", "model": "a b"}, "is not valid"),
    ],
)
def test_a_model_server_outside_that_is_wrong_stops_its_target_alone(external: dict[str, Any], said: str) -> None:
    held = Held().server("odd", engine="External", model=None, external=external | {"location": "Edge"}).server("phi")
    found = resolved(route(to("odd"), to("phi")), held)
    assert (found.targets["odd"].reason, found.targets["odd"].usable) == ("NotReady", None)
    assert said in found.targets["odd"].message
    assert [target.name for target in found.usable] == ["phi"]


@pytest.mark.parametrize(
    "url",
    [
        "http://front-route.demo.svc.cluster.local/v1",
        "http://front-route.demo.svc/v1",
        "http://front-route.demo/v1",
        "http://front-route/v1",
        "http://front-route-0:8080/v1",
        "http://front-route-gateways.demo:8080/v1",
        "https://ai.example.com/v1",
    ],
)
def test_its_own_address_is_a_circle(url: str) -> None:
    target = {"name": "x", "external": {"url": url, "model": "m"}}
    with pytest.raises(InvalidSpec) as error:
        resolved(route(target, auth=AUTH, hostnames=["ai.example.com"]))
    assert error.value.reason == "RouteCycle"


def test_a_circle_through_agents_and_routes_is_named() -> None:
    helper = {"name": "helper", "agentRef": {"name": "helper"}}
    other = {"name": "other", "agentRef": {"name": "other"}}
    held = Held().agent("helper", {"routeRef": {"name": "back"}}).agent("other", {"routeRef": {"name": "front"}})
    held.add(route_manifest(other, name="back"))
    with pytest.raises(InvalidSpec, match="AgentRoute/demo/front → Agent/demo/helper → AgentRoute/demo/back → Agent/"):
        resolved(route(helper), held)
    held.add(route_manifest(to("phi"), name="back"))
    assert resolved(route(helper), held).targets["helper"].ready


def test_a_circle_of_others_is_theirs() -> None:
    target = {"name": "x", "external": {"url": "http://back-route/v1", "model": "m", "location": "Cluster"}}
    own = {"name": "x", "external": {"url": "http://back-route/v1", "model": "m"}}
    held = Held().add(route_manifest(own, name="back"))
    assert resolved(route(target), held).targets["x"].ready


def test_references_are_all_that_is_read() -> None:
    held = Held().agent("helper", {"routeRef": {"name": "back"}})
    held.add(route_manifest(to("phi"), name="back"))
    asked = route(
        {"name": "helper", "agentRef": {"name": "helper"}},
        {"name": "x", "external": CLOUD},
        to("gone"),
        classify={"intentMethod": "Embedding", "modelRef": {"name": "small"}},
    )
    assert references(asked, held, SETTINGS) == {
        Key("Agent", "demo", "helper"),
        Key("Service", "demo", "helper-agent-pods"),
        Key("AgentRoute", "demo", "back"),
        Key("ModelServer", "demo", "phi"),
        Key("ModelServer", "demo", "gone"),
        Key("Service", "demo", "gone-model-pods"),
        Key("ModelServer", "demo", "small"),
        Key("Service", "demo", "small-model-pods"),
    }
