"""What an Agent becomes is what routes look for: names, port, labels and where its requests end up."""

from agentfleet.manifests.agent import agent_services
from agentfleet.manifests.agent_pod import agent_template
from agentfleet.manifests.agent_uses import ModelUse, Uses
from agentfleet.objects import Manifest
from agentfleet.settings import Settings
from tests.agents import agent, served
from tests.builders import NAMESPACE
from tests.routes import Held, resolved, route


def held(ready: str = "True", **spec: object) -> Held:
    """An Agent with the Services that are really made for it."""
    found = (
        Held()
        .server()
        .add(served("Agent", "helper", NAMESPACE, ready, model={"modelServerRef": {"name": "phi"}}, **spec))
    )
    for each in agent_services(agent()):
        found.add(each)
    return found


TARGET: Manifest = {"name": "helper", "agentRef": {"name": "helper"}}


def test_a_route_finds_the_pods_by_their_own_services_port_and_labels() -> None:
    endpoint = resolved(route(TARGET), held()).targets["helper"].endpoint
    assert endpoint is not None
    clients, headless = agent_services(agent())
    domain = f"{NAMESPACE}.svc.cluster.local"
    assert endpoint.host == f"{headless['metadata']['name']}.{domain}"
    assert endpoint.service == f"{clients['metadata']['name']}.{domain}"
    assert endpoint.port == headless["spec"]["ports"][0]["port"]
    template = agent_template(agent(), Uses(ModelUse("http://m/v1", "m")), Settings(), config_map="c", revision="r")
    assert endpoint.pods is not None
    label, value = endpoint.pods
    assert template["metadata"]["labels"][label] == value
    [container] = template["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == endpoint.port
    assert container["livenessProbe"]["httpGet"]["path"] == endpoint.health


def test_a_route_waits_for_an_agent_that_is_not_ready() -> None:
    found = resolved(route(TARGET), held(ready="False")).targets["helper"]
    assert (found.reason, found.ready) == ("NotReady", False)
