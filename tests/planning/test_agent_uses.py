"""References of Agents: what they become, and what is said of those that do not hold."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.agent_uses import Uses
from agentfleet.objects import Key, Manifest
from agentfleet.planning.agent_uses import agent_references, agent_uses, foreign_services
from agentfleet.settings import Settings
from tests.agents import BY_SERVER, MCP, agent, agent_manifest, lookup, phi, served, service
from tests.builders import NAMESPACE

SETTINGS = Settings()
CLOUD = {"url": "https://api.example.com/v1", "model": "gpt"}
ROUTE = {"targets": [{"name": "phi", "modelServerRef": {"name": "phi"}}]}


def uses(*objects: Manifest, settings: Settings = SETTINGS, **spec: Any) -> Uses:
    return agent_uses(agent(**spec), lookup(*phi(), *objects), settings)


def refused(*objects: Manifest, settings: Settings = SETTINGS, **spec: Any) -> tuple[str, str]:
    with pytest.raises(InvalidSpec) as error:
        uses(*objects, settings=settings, **spec)
    return error.value.reason, error.value.message


def blocks(found: Uses) -> list[str]:
    """Addresses that egress is open to."""
    return [peer["ipBlock"]["cidr"] for rule in found.egress for peer in rule["to"] if "ipBlock" in peer]


def test_a_model_server_is_asked_at_its_service() -> None:
    found = uses()
    assert found.model is not None
    assert (found.model.url, found.model.id) == ("http://phi-model.demo.svc.cluster.local/v1", "phi")
    assert not found.model.routed
    assert found.model.ready == "True"
    pods = {"podSelector": {"matchLabels": {"agentfleet.dev/modelserver": "phi"}}}
    assert {"to": [pods], "ports": [{"port": 8000, "protocol": "TCP"}]} in found.egress


def test_its_api_key_is_mounted() -> None:
    found = agent_uses(agent(), lookup(*phi(expose={"apiKeySecretName": "phi-key"})), SETTINGS)
    assert found.model is not None
    assert found.model.key_secret == "phi-key"


def test_a_model_server_that_is_not_ready_stops_nothing() -> None:
    found = agent_uses(agent(), lookup(*phi()[1:], served("ModelServer", "phi", ready="False")), SETTINGS)
    assert found.model is not None
    assert (found.model.ready, found.model.message) == ("False", "it is not ready: LoadingModel.")


def test_a_model_server_whose_services_are_on_their_way_is_known_by_its_name() -> None:
    found = agent_uses(agent(), lookup(phi()[0]), SETTINGS)
    assert found.model is not None
    assert found.model.url == "http://phi-model.demo.svc.cluster.local/v1"
    assert found.model.ready == "False"


def test_a_route_is_asked_by_its_own_model_id() -> None:
    found = uses(served("AgentRoute", "chat", **ROUTE), model={"routeRef": {"name": "chat"}})
    assert found.model is not None
    assert (found.model.url, found.model.id) == ("http://chat-route.demo.svc.cluster.local/v1", "route/chat")
    assert found.model.routed


def test_an_endpoint_outside_has_its_key_and_authority() -> None:
    auth = {"secretName": "cloud", "caBundle": {"configMapName": "ca"}}
    found = uses(model={"external": CLOUD | {"auth": auth}})
    assert found.model is not None
    assert (found.model.url, found.model.id) == ("https://api.example.com:443/v1", "gpt")
    assert (found.model.key_secret, found.model.ca_config_map) == ("cloud", "ca")
    assert found.model.ready == "Unknown"


def test_a_model_server_outside_is_asked_there() -> None:
    outside = served("ModelServer", "far", engine="External", model=None, external=CLOUD | {"location": "Edge"})
    found = uses(outside, model={"modelServerRef": {"name": "far"}})
    assert found.model is not None
    assert (found.model.url, found.model.id) == ("https://api.example.com:443/v1", "gpt")


def test_the_name_that_the_agent_gives_wins() -> None:
    found = uses(model=BY_SERVER | {"name": "phi-lora"})
    assert found.model is not None
    assert found.model.id == "phi-lora"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"model": {"modelServerRef": {"name": "no"}}}, "model.modelServerRef: there is no ModelServer/demo/no."),
        ({"model": {"routeRef": {"name": "no"}}}, "model.routeRef: there is no AgentRoute/demo/no."),
        ({"tools": [{"name": "boss", "agent": {"name": "no"}}]}, "tools.boss.agent: there is no Agent/demo/no."),
        (
            {"orchestration": {"pattern": "Intent", "members": ["no"]}},
            "orchestration.members: there is no Agent/demo/no.",
        ),
        (
            {"tools": [{"name": "x", "mcp": {"serverRef": {"apiVersion": "v1", "kind": "Service", "name": "no"}}}]},
            "tools.x.mcp.serverRef: there is no Service/demo/no.",
        ),
    ],
)
def test_what_is_missing_is_named(spec: dict[str, Any], words: str) -> None:
    assert refused(**spec) == ("ReferenceNotFound", words)


def test_what_is_missing_wakes_the_agent_when_it_comes() -> None:
    told = agent(tools=[{"name": "boss", "agent": {"name": "boss"}}], model={"routeRef": {"name": "chat"}})
    found = agent_references(told, lookup(), SETTINGS)
    assert {Key("Agent", NAMESPACE, "boss"), Key("AgentRoute", NAMESPACE, "chat")} <= found


def test_another_namespace_has_to_let_the_agent_in() -> None:
    ref = {"model": {"modelServerRef": {"name": "far", "namespace": "other"}}}
    closed = served("ModelServer", "far", "other")
    assert refused(closed, **ref)[0] == "RefNotPermitted"
    opened = served("ModelServer", "far", "other", allowedNamespaces={"from": "All"})
    found = uses(opened, service("far-model-pods", "other", 8000), **ref)
    assert found.model is not None
    [peer] = found.egress[0]["to"]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "other"}}


def test_labels_of_its_own_namespace_may_let_it_in() -> None:
    selector = {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}
    boss = agent_manifest("boss", "other", allowedNamespaces=selector)
    told = agent(tools=[{"name": "boss", "agent": {"name": "boss", "namespace": "other"}}])
    with pytest.raises(InvalidSpec) as error:
        agent_uses(told, lookup(*phi(), boss), SETTINGS, {"team": "b"})
    assert error.value.reason == "RefNotPermitted"
    assert agent_uses(told, lookup(*phi(), boss), SETTINGS, {"team": "a"}).tools["boss"].url == (
        "http://boss-agent.other.svc.cluster.local"
    )


def test_an_agent_elsewhere_must_be_able_to_have_tokens_judged() -> None:
    """It knows agents of other namespaces by nothing else."""
    told = agent(tools=[{"name": "boss", "agent": {"name": "boss", "namespace": "other"}}])
    open_to_all = {"allowedNamespaces": {"from": "All"}}
    boss = agent_manifest("boss", "other", **open_to_all)
    offline = agent_manifest("boss", "other", **open_to_all, privacy={"mode": "Offline"})
    known = Settings(agents_api_server_cidrs=("10.0.0.1/32",))
    assert agent_uses(told, lookup(*phi(), offline), known).tools
    for there, settings in ((boss, Settings(agents_direct_callers=False)), (offline, SETTINGS)):
        with pytest.raises(InvalidSpec, match="may not have them judged") as error:
            agent_uses(told, lookup(*phi(), there), settings)
        assert error.value.reason == "RefNotPermitted"


def test_a_key_in_another_namespace_cannot_be_mounted() -> None:
    far = served(
        "ModelServer", "far", "other", allowedNamespaces={"from": "All"}, expose={"apiKeySecretName": "far-key"}
    )
    reason, message = refused(far, model={"modelServerRef": {"name": "far", "namespace": "other"}})
    assert reason == "RefNotPermitted"
    assert "ModelServer/other/far" in message


def test_an_agent_that_speaks_no_a2a_is_no_tool() -> None:
    mute = agent_manifest("mute", protocols={"a2a": False})
    reason, message = refused(mute, tools=[{"name": "mute", "agent": {"name": "mute"}}])
    assert reason == "ReferenceNotFound"
    assert "protocols.a2a is false" in message


def test_members_come_in_order_with_what_they_are_for() -> None:
    others = [agent_manifest(name, description=f"does {name}") for name in ("support", "billing")]
    found = uses(*others, orchestration={"pattern": "Intent", "members": ["support", "billing"]})
    assert [(name, use.description) for name, use in found.members] == [
        ("support", "does support"),
        ("billing", "does billing"),
    ]
    assert found.members[0][1].url == "http://support-agent.demo.svc.cluster.local"


# --- services of tools ---------------------------------------------------------------------------------------------

SERVER_REF = {"apiVersion": "kagent.dev/v1alpha1", "kind": "MCPServer", "name": "tickets"}


def by_ref(**more: Any) -> dict[str, Any]:
    return {"tools": [{"name": "tickets", "mcp": {"serverRef": SERVER_REF | more}}]}


def test_a_server_is_asked_at_the_service_of_its_name_and_its_pods_are_let_out_to() -> None:
    found = uses(service("tickets", NAMESPACE, 3000), **by_ref())
    assert found.tools["tickets"].url == "http://tickets.demo.svc.cluster.local:3000/mcp"
    peer = {"podSelector": {"matchLabels": {"app": "tickets"}}}
    assert {"to": [peer], "ports": [{"port": 9000, "protocol": "TCP"}]} in found.egress


def test_one_of_several_ports_has_to_be_named() -> None:
    several = service("tickets", NAMESPACE, 3000, 9090)
    reason, message = refused(several, **by_ref())
    assert reason == "InvalidSpec"
    assert "3000, 9090" in message
    found = uses(several, **by_ref(port=9090, path="/sse"))
    assert found.tools["tickets"].url == "http://tickets.demo.svc.cluster.local:9090/sse"
    assert refused(several, **by_ref(port=1))[0] == "ReferenceNotFound"


def test_what_is_looked_for_again_is_what_no_watch_tells_of() -> None:
    with pytest.raises(InvalidSpec) as error:
        uses(**by_ref())
    assert error.value.after is not None


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://127.0.0.1:8100/mcp", "http://localhost/mcp"])
def test_no_tool_is_at_an_address_that_nobody_has_business_with(url: str) -> None:
    assert refused(tools=[{"name": "x", "mcp": {"url": url}}])[0] == "EndpointRefused"


def test_the_store_of_sessions_and_the_collector_of_traces_are_let_out_to() -> None:
    found = uses(
        session={"store": "Redis", "redis": {"url": "redis://10.0.3.7/0"}},
        monitoring={"otlpEndpoint": "http://10.0.3.8:4318"},
    )
    ports = {rule["ports"][0]["port"] for rule in found.egress for peer in rule["to"] if "ipBlock" in peer}
    assert {"10.0.3.7/32", "10.0.3.8/32"} <= set(blocks(found))
    assert {6379, 4318} <= ports


# --- circles -------------------------------------------------------------------------------------------------------


def test_agents_that_ask_each_other_go_in_a_circle() -> None:
    boss = agent_manifest("boss", tools=[{"name": "back", "agent": {"name": "helper"}}])
    reason, message = refused(boss, tools=[{"name": "boss", "agent": {"name": "boss"}}])
    assert reason == "AgentCycle"
    assert "Agent/demo/helper → Agent/demo/boss → Agent/demo/helper" in message


def test_a_route_that_sends_to_the_agent_that_asks_it_is_a_circle() -> None:
    route = served("AgentRoute", "chat", targets=[{"name": "helper", "agentRef": {"name": "helper"}}])
    reason, message = refused(route, model={"routeRef": {"name": "chat"}})
    assert reason == "AgentCycle"
    assert "AgentRoute/demo/chat" in message


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"external": CLOUD | {"url": "http://chat-route.demo.svc/v1"}}},
        {"orchestration": {"pattern": "Handoff", "members": ["boss"]}},
        {"tools": [{"name": "boss", "mcp": {"url": "http://boss-agent.demo.svc/mcp"}}]},
    ],
)
def test_circles_by_address_member_and_protocol_are_found(spec: dict[str, Any]) -> None:
    route = served("AgentRoute", "chat", targets=[{"name": "helper", "agentRef": {"name": "helper"}}])
    boss = agent_manifest("boss", model={"routeRef": {"name": "chat"}})
    assert refused(route, boss, **spec)[0] == "AgentCycle"


def test_two_ways_to_one_agent_are_no_circle() -> None:
    both = [{"name": name, "agent": {"name": name}} for name in ("left", "right")]
    to_end = [{"name": "end", "agent": {"name": "end"}}]
    others = [agent_manifest("left", tools=to_end), agent_manifest("right", tools=to_end), agent_manifest("end")]
    assert set(uses(*others, tools=both).tools) == {"left", "right"}


# --- privacy -------------------------------------------------------------------------------------------------------

PRIVATE, OFFLINE = {"privacy": {"mode": "Private"}}, {"privacy": {"mode": "Offline"}}
FAR = {"model": {"modelServerRef": {"name": "far"}}}


def far(location: str | None) -> Manifest:
    said = {"location": location} if location else {}
    return served("ModelServer", "far", engine="External", model=None, external=CLOUD | said)


@pytest.mark.parametrize("privacy", [PRIVATE, OFFLINE, {"privacy": {"compliance": ["HIPAA"]}}])
def test_a_private_agent_takes_no_model_server_in_a_cloud(privacy: dict[str, Any]) -> None:
    for location in ("Cloud", None):
        assert refused(far(location), **FAR, **privacy)[0] == "PrivacyViolation"


def test_one_at_the_edge_is_taken_by_a_private_one_and_not_by_one_that_is_offline() -> None:
    assert uses(far("Edge"), **FAR, **PRIVATE).model is not None
    assert refused(far("Edge"), **FAR, **OFFLINE)[0] == "PrivacyViolation"


def test_what_is_not_private_may_use_a_cloud() -> None:
    assert uses(far("Cloud"), **FAR).model is not None


def test_offline_has_no_way_out_to_addresses() -> None:
    found = uses(service("crm", "support", 8080), tools=[MCP], **OFFLINE)
    assert blocks(found) == []
    assert not found.judges_tokens
    assert any(
        peer
        == {
            "podSelector": {"matchLabels": {"app": "crm"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "support"}},
        }
        for rule in found.egress
        for peer in rule["to"]
    )


def test_offline_judges_tokens_where_the_api_server_is_known() -> None:
    found = uses(settings=Settings(agents_api_server_cidrs=("10.96.0.1/32",)), **OFFLINE)
    assert found.judges_tokens
    assert blocks(found) == ["10.96.0.1/32"]


@pytest.mark.parametrize(
    "url",
    ["http://example.com/mcp", "http://crm.support.svc:8080/mcp", "http://10.0.0.8/mcp"],
)
def test_offline_takes_no_tool_that_is_no_service_of_the_cluster(url: str) -> None:
    """example.com looks like NAME.NAMESPACE, so that alone the API server's rule lets it pass."""
    reason, message = refused(tools=[{"name": "x", "mcp": {"url": url}}], **OFFLINE)
    assert reason in ("ReferenceNotFound", "PrivacyViolation")
    assert "tools.x.mcp.url" in message


@pytest.mark.parametrize(
    "spec", [{"type": "ExternalName", "externalName": "example.com", "selector": None}, {"selector": None}]
)
def test_offline_takes_no_service_without_pods(spec: dict[str, Any]) -> None:
    leads_out = service("crm", "support", 8080, **spec)
    assert refused(leads_out, tools=[MCP], **OFFLINE)[0] == "PrivacyViolation"


def chat_route(**spec: Any) -> Manifest:
    targets = [{"name": "near", "modelServerRef": {"name": "phi"}}, {"name": "far", "external": CLOUD}]
    return served("AgentRoute", "chat", **{"targets": targets} | spec)


def test_offline_takes_no_route_to_a_cloud_that_lets_in_whoever_asks() -> None:
    """A function beside the agent would ask as nobody, whose mode is Standard."""
    by_route = {"model": {"routeRef": {"name": "chat"}}}
    reason, message = refused(chat_route(), **by_route, **OFFLINE)
    assert reason == "PrivacyViolation"
    assert "Give the route auth" in message
    closed = {"auth": {"apiKeys": {"secretName": "keys"}}}
    near = {"targets": [{"name": "near", "modelServerRef": {"name": "phi"}}]}
    for route, privacy in ((chat_route(**closed), OFFLINE), (chat_route(**near), OFFLINE), (chat_route(), PRIVATE)):
        assert uses(route, **by_route, **privacy).model is not None


def test_offline_takes_no_route_to_a_cloud_as_a_tool() -> None:
    tool = {"name": "ask", "http": {"url": f"http://chat-route.{NAMESPACE}.svc/v1/models", "description": "Models."}}
    reason, message = refused(chat_route(auth={"apiKeys": {"secretName": "keys"}}), tools=[tool], **OFFLINE)
    assert (reason, "leads to a cloud" in message) == ("PrivacyViolation", True)


def test_offline_asks_for_the_services_of_all_that_it_names() -> None:
    told = agent(
        tools=[MCP, {"name": "http", "http": {"url": "http://stock.shop.svc/{sku}", "description": "stock"}}],
        session={"store": "Redis", "redis": {"url": "redis://sessions:6379/0"}},
        **OFFLINE,
    )
    assert foreign_services(told, SETTINGS) == {
        Key("Service", "support", "crm"),
        Key("Service", "shop", "stock"),
        Key("Service", NAMESPACE, "sessions"),
    }
    assert foreign_services(agent(tools=[MCP]), SETTINGS) == frozenset()


def test_no_tokens_are_judged_where_the_settings_say_so() -> None:
    found = uses(settings=Settings(agents_direct_callers=False))
    assert not found.judges_tokens
    assert blocks(found) == []


def test_services_are_not_asked_for_where_the_operator_may_not_look() -> None:
    settings = Settings(watch_namespaces=(NAMESPACE,))
    assert foreign_services(agent(tools=[MCP], **OFFLINE), settings) == frozenset()
    reason, message = refused(settings=settings, tools=[MCP], **OFFLINE)
    assert reason == "ReferenceNotFound"
    assert "not one that the operator serves" in message
