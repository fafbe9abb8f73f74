"""An Agent with a certificate: its pods, and how gateways and other agents speak to it."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.agent import agent_services
from agentfleet.manifests.agent_pod import agent_template
from agentfleet.manifests.agent_policy import agent_policy
from agentfleet.manifests.agent_uses import Uses
from agentfleet.objects import Manifest
from agentfleet.planning.agent_config import agent_config
from agentfleet.planning.agent_uses import agent_uses
from agentfleet.runtime import config, config_tools
from agentfleet.settings import Settings
from tests.agents import agent, agent_manifest, lookup, phi, served
from tests.builders import NAMESPACE
from tests.routes import Held, resolved, route

SETTINGS = Settings()
PUBLIC: dict[str, Any] = {"tls": {"secretName": "pair"}}
OWN: dict[str, Any] = {"tls": {"secretName": "pair", "caBundle": {"configMapName": "authority"}}}
TO_CLERK = [{"name": "clerk", "agent": {"name": "clerk"}}]
TEAM = {"pattern": "Handoff", "members": ["clerk"]}
CHAT: dict[str, Any] = {"targets": [{"name": "phi", "modelServerRef": {"name": "phi"}}]}


def uses(*objects: Manifest, **spec: Any) -> Uses:
    return agent_uses(agent(**spec), lookup(*phi(), *objects), SETTINGS)


def ports(found: Uses) -> set[int | str]:
    return {port["port"] for rule in found.egress for port in rule["ports"]}


def test_requests_come_in_over_https_alone() -> None:
    clients, headless = agent_services(agent(**OWN))
    assert [port["port"] for port in clients["spec"]["ports"]] == [443]
    assert [port["port"] for port in headless["spec"]["ports"]] == [8443]
    policy = agent_policy(agent(**OWN), Uses(), SETTINGS)
    assert policy is not None
    asking, watching = policy["spec"]["ingress"]
    assert (asking["ports"][0]["port"], watching["ports"][0]["port"]) == (8443, 8080)


def test_the_certificate_is_mounted_and_probes_go_without() -> None:
    spec = agent_template(agent(**OWN), uses(), SETTINGS, config_map="c", revision="r")["spec"]
    [container] = spec["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8080, "https": 8443}
    assert container["readinessProbe"]["httpGet"]["port"] == "http"
    [pair] = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "tls"]
    assert (pair["secretName"], [item["key"] for item in pair["items"]]) == ("pair", ["tls.crt", "tls.key"])
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "tls"]
    told = agent_config(agent(**OWN), uses(), SETTINGS)
    folder = mount["mountPath"]
    assert told.tls == config.Tls(f"{folder}/tls.crt", f"{folder}/tls.key", 8443)
    assert told.url == "https://helper-agent.demo.svc.cluster.local"
    assert agent_config(agent(), uses(), SETTINGS).tls is None


@pytest.mark.parametrize("asking", [{"tools": TO_CLERK}, {"orchestration": TEAM}], ids=["tool", "member"])
@pytest.mark.parametrize(("tls", "authority"), [(OWN, "authority"), (PUBLIC, None)])
def test_other_agents_check_it(asking: dict[str, Any], tls: dict[str, Any], authority: str | None) -> None:
    clerk = agent_manifest("clerk", **tls)
    found = uses(clerk, **asking)
    [(_, other)] = (*found.tools.items(), *found.members)
    assert other.url == "https://clerk-agent.demo.svc.cluster.local"
    assert 8443 in ports(found)
    ca_file = _ca_file(agent_config(agent(**asking), found, SETTINGS))
    assert bool(ca_file) == bool(authority)
    if authority:
        spec = agent_template(agent(**asking), found, SETTINGS, config_map="c", revision="r")["spec"]
        [volume] = [volume for volume in spec["volumes"] if volume["name"] == "authorities"]
        [mount] = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "authorities"]
        [source] = volume["projected"]["sources"]
        assert source["configMap"]["name"] == authority
        assert ca_file == f"{mount['mountPath']}/{source['configMap']['items'][0]['path']}"


def _ca_file(told: config.AgentConfig) -> str | None:
    """Of the one agent that it asks."""
    if told.orchestration:
        return told.orchestration.members[0].ca_file
    use = told.tools[0].use
    assert isinstance(use, config_tools.AgentTool)
    return use.ca_file


def test_what_vouches_for_it_has_to_be_in_the_namespace_of_who_asks() -> None:
    clerk = agent_manifest("clerk", "office", allowedNamespaces={"from": "All"}, **OWN)
    with pytest.raises(InvalidSpec) as error:
        uses(clerk, tools=[{"name": "clerk", "agent": {"name": "clerk", "namespace": "office"}}])
    assert error.value.reason == "RefNotPermitted"
    assert "ConfigMap authority" in error.value.message


def test_gateways_check_it() -> None:
    held = Held().server().add(served("Agent", "helper", NAMESPACE, model={"modelServerRef": {"name": "phi"}}, **OWN))
    for each in agent_services(agent(**OWN)):
        held.add(each)
    target: Manifest = {"name": "helper", "agentRef": {"name": "helper"}}
    endpoint = resolved(route(target), held).targets["helper"].endpoint
    assert endpoint is not None
    assert (endpoint.tls, endpoint.port, endpoint.credentials.ca_config_map) == (True, 8443, "authority")


def test_an_agent_speaks_https_to_a_route_whose_authority_is_known() -> None:
    by_route = {"model": {"routeRef": {"name": "chat"}}}
    found = uses(served("AgentRoute", "chat", gateway=OWN, **CHAT), **by_route)
    assert found.model is not None
    assert (found.model.url, found.model.ca_config_map) == ("https://chat-route.demo.svc.cluster.local/v1", "authority")
    assert 8443 in ports(found)
    plain = uses(served("AgentRoute", "chat", gateway=PUBLIC, **CHAT), **by_route)
    assert plain.model is not None
    assert plain.model.url == "http://chat-route.demo.svc.cluster.local/v1"
