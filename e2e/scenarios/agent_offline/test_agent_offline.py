"""An Offline agent tries to get out: to a fake internet that a Standard agent reaches, by itself, by its functions and
through a route that leads to a cloud.

cyclonus says what the live NetworkPolicies mean; nftables on the nodes then does what it says (e2e/policies).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import httpx
import pytest

from agentfleet.runtime import identity
from agentfleet.runtime.types import Caller
from e2e.cluster import EmbeddedCluster, layout
from e2e.install import NAMESPACE as OPERATORS
from e2e.policies.evaluator import Connection, Peer, allowed
from e2e.policies.internet import ADDRESS, METADATA, Internet, internet
from e2e.scenarios import agents, networks, routes, scripted, secured
from e2e.scenarios.agent_offline.network import AGENTS, API_PORT, Pods, beyond, execute, policies_count, reached
from e2e.scenarios.kube import Manifest, path_of
from e2e.scenarios.plugin import Plugin
from e2e.scenarios.scenario import Scenario

_TOOLHOST = "toolhost-web"
_PAGE = f"http://{ADDRESS}/stats"
_ASK_CLOUD = """
import json, ssl, sys, time, urllib.error, urllib.request
from pathlib import Path
from agentfleet.runtime.identity import HEADER, sign
from agentfleet.runtime.types import Caller

mode = sys.argv[1]
headers = {"Content-Type": "application/json"}
if mode:
    key = Path("/var/run/agentfleet/identity/key").read_bytes()
    headers[HEADER] = sign(key, Caller("alice", mode=mode), time.time())
body = {"model": "target/cloud", "messages": [{"role": "user", "content": "Hello"}]}
request = urllib.request.Request("https://mixed-route/v1/chat/completions", json.dumps(body).encode(), headers)
try:
    answer = urllib.request.urlopen(request, timeout=30, context=ssl._create_unverified_context())
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, json.load(answer)]))
"""


@pytest.fixture(scope="module")
def outside(embedded: EmbeddedCluster) -> Iterator[Internet]:
    """The fake internet, with a cloud in it."""
    assert embedded.nodes
    with internet(models="big-1") as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def applied(scenario: Scenario, outside: Internet) -> None:
    """The agents, at work."""
    assert outside.requests() == 0
    _apply_certificate(scenario)
    scripted.apply_engines(scenario, scripted.model_server("local"))
    scenario.apply("fleet.yaml")
    routes.wait_ready(scenario, "mixed")
    agents.wait_ready(scenario, *AGENTS, timeout=120)


@pytest.fixture(scope="module")
def enforced(scenario: Scenario, embedded: EmbeddedCluster) -> Iterator[None]:
    """The policies count."""
    with policies_count(scenario, embedded):
        yield


def _apply_certificate(scenario: Scenario) -> None:
    """One for the route and for `notes`, which nobody but a ConfigMap vouches for."""
    public, private = secured.certificate(*(_host(scenario, name) for name in ("mixed-route", "notes-agent")))
    items: list[Manifest] = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "pair"},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": public, "tls.key": private},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority"}, "data": {"ca.crt": public}},
    ]
    scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def _host(scenario: Scenario, service: str) -> str:
    return f"{service}.{scenario.namespace}.svc.cluster.local"


def _ask(scenario: Scenario, name: str) -> str:
    """What a caller whom a gateway has vouched for is answered."""
    secret = scenario.kube.get("Secret", "agentfleet-identity", scenario.namespace)
    assert secret is not None
    key = base64.b64decode(secret["data"]["key"])
    proof = identity.sign(key, Caller("alice"), time.time(), ttl=600)
    with (
        agents.address(scenario, name) as address,
        agents.client(address, "none", headers=[(identity.HEADER, proof)]) as client,
    ):
        answer = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hello"}])
    return answer.choices[0].message.content or ""


def _call(name: str, **arguments: str) -> list[str]:
    return [name, json.dumps(arguments)]


def _results(body: str) -> dict[str, str]:
    """By function, what the model was told that it answered."""
    messages = json.loads(body)["messages"]
    calls = {call["id"]: call["function"]["name"] for each in messages for call in each.get("tool_calls") or ()}
    return {calls[each["tool_call_id"]]: str(each["content"]) for each in messages if each["role"] == "tool"}


def _model(scenario: Scenario, method: str, page: str, content: str = "") -> str:
    """A page of the scripted model in the cluster."""
    pod = scenario.children("Pod", "local")[0]["metadata"]["name"]
    return scenario.kube.call(
        method, f"{path_of('Pod', scenario.namespace, f'{pod}:{scripted.PORT}')}/proxy/{page}", content
    )


def test_policies_let_out_what_each_agent_needs(scenario: Scenario) -> None:
    pods = Pods(scenario)
    desk, notes, sealed = (pods.agent(name) for name in AGENTS)
    operator, dns = pods.of(OPERATORS), pods.of("kube-system", "k8s-app=kube-dns")
    neighbour = Peer("10.244.1.250", scenario.namespace, {"app": "till"}, desk.namespace_labels)
    web, metadata, api = Peer(ADDRESS), Peer(METADATA), Peer(layout.CONTROL_IP)
    expected: dict[str, tuple[Connection, bool]] = {}
    for name, agent in zip(AGENTS, (desk, notes, sealed), strict=True):
        is_open = name != "sealed"
        expected |= {
            f"neighbour → {name}": (Connection(neighbour, agent, 8443 if name == "notes" else 8080), True),
            f"operator → {name}": (Connection(operator, agent, 8080), True),
            f"another namespace → {name}": (Connection(dns, agent, 8080), False),
            f"neighbour → functions of {name}": (Connection(neighbour, agent, 8100), False),
            f"{name} → DNS": (Connection(agent, dns, 53), True),
            f"{name} → the metrics of DNS": (Connection(agent, dns, 9153), False),
            f"{name} → operator": (Connection(agent, operator, 8080), False),
            f"{name} → metadata": (Connection(agent, metadata, 80), False),
            f"{name} → API server": (Connection(agent, api, API_PORT), is_open),
            f"{name} → the internet, HTTPS": (Connection(agent, web, 443), is_open),
            f"{name} → the internet, DNS": (Connection(agent, web, 53), is_open),
            f"{name} → the internet, another port": (Connection(agent, web, 8443), False),
        }
    expected |= {
        "desk → its route": (Connection(desk, pods.gateway, 8443), True),
        "desk → its route, in the clear": (Connection(desk, pods.gateway, 8080), False),
        "desk → its tool on the internet": (Connection(desk, web, 80), True),
        "desk → another agent": (Connection(desk, notes, 8443), False),
        "neighbour → notes, in the clear": (Connection(neighbour, notes, 8080), False),
        "gateway → notes": (Connection(pods.gateway, notes, 8443), True),
        "notes → its model": (Connection(notes, pods.model, scripted.PORT), True),
        "notes → a route that it does not ask": (Connection(notes, pods.gateway, 8443), False),
        "notes → the internet": (Connection(notes, web, 80), False),
        "sealed → its route": (Connection(sealed, pods.gateway, 8443), True),
        "sealed → its colleague": (Connection(sealed, notes, 8443), True),
        "sealed → another agent": (Connection(sealed, desk, 8080), False),
        "sealed → a model that it does not ask": (Connection(sealed, pods.model, scripted.PORT), False),
        "sealed → the internet": (Connection(sealed, web, 80), False),
    }
    verdicts = allowed(networks.policies(scenario), [connection for connection, _ in expected.values()])
    assert dict(zip(expected, verdicts, strict=True)) == {name: verdict for name, (_, verdict) in expected.items()}


def test_but_for_policies_everything_could_be_reached(scenario: Scenario) -> None:
    """So what is refused below is refused by them."""
    places = beyond(scenario, "sealed")
    assert reached(scenario, "sealed", "agent", *places) == dict.fromkeys(places, True)
    found = Plugin(scenario).findings("agent sealed")
    assert [message for result, message in found if result == "failed" and "Offline does not hold" in message], found


@pytest.mark.usefixtures("enforced")
def test_a_standard_agent_reaches_the_internet(scenario: Scenario, outside: Internet) -> None:
    outside.forget()
    replies = [{"calls": [_call("weather"), _call("read_page", url=_PAGE)]}, {"text": "It rains."}]
    outside.control.put("/replies", json=replies).raise_for_status()
    assert _ask(scenario, "desk") == "It rains."
    results = _results(outside.control.get("/body").text)
    assert '"received": 1' in results["weather"]
    assert "received" in results["read_page"]
    assert Pods(scenario).agent("desk").address in outside.heard()
    places = (f"{ADDRESS}:80", f"{METADATA}:80", f"{ADDRESS}:8443")
    assert reached(scenario, "desk", _TOOLHOST, *places) == dict(zip(places, (True, False, False), strict=True))


@pytest.mark.usefixtures("enforced")
def test_an_offline_agent_answers_without(scenario: Scenario, outside: Internet) -> None:
    """The route leaves its cloud out, the function is refused, and the colleague in the cluster is there."""
    outside.forget()
    calls = [_call("read_page", url=_PAGE), _call("colleague", message="Are you there?")]
    replies = [{"calls": calls}, {"text": "I am here."}, {"text": "My colleague is."}]
    _model(scenario, "PUT", "replies", json.dumps(replies))
    assert _ask(scenario, "sealed") == "My colleague is."
    results = _results(_model(scenario, "GET", "body"))
    assert "I am here." in results["colleague"]
    assert "received" not in results["read_page"]
    assert outside.requests() == 0
    assert Pods(scenario).agent("sealed").address not in outside.heard()


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize("container", ["agent", _TOOLHOST])
def test_nothing_of_an_offline_agent_gets_out(scenario: Scenario, outside: Internet, container: str) -> None:
    outside.forget()
    closed, opened = beyond(scenario, "sealed"), ("mixed-route:443", "notes-agent:443")
    expected = dict.fromkeys(closed, False) | dict.fromkeys(opened, True)
    assert reached(scenario, "sealed", container, *closed, *opened) == expected
    assert Pods(scenario).agent("sealed").address not in outside.heard()


@pytest.mark.usefixtures("enforced")
def test_the_doctor_sees_that_it_holds(scenario: Scenario) -> None:
    found = Plugin(scenario).findings("agent sealed")
    assert {result for result, _ in found} == {"ok"}, found
    assert [message for _, message in found if "reaches nothing that its NetworkPolicy denies" in message], found


@pytest.mark.usefixtures("enforced")
def test_a_route_is_no_way_out(scenario: Scenario, outside: Internet) -> None:
    """Not for the agent, which says how private it is, and not for its functions, which cannot say who asks."""
    outside.forget()
    status, answer = json.loads(execute(scenario, "sealed", "agent", _ASK_CLOUD, "Offline"))
    assert (status, answer["error"]["code"]) == (403, "privacy_denied")
    assert "must not go to a cloud" in answer["error"]["message"]
    status, answer = json.loads(execute(scenario, "sealed", _TOOLHOST, _ASK_CLOUD, ""))
    assert status == 401, answer
    assert outside.requests() == 0
    status, answer = json.loads(execute(scenario, "desk", "agent", _ASK_CLOUD, "Standard"))
    assert status == 200, answer
    assert outside.requests() == 1


@pytest.mark.usefixtures("enforced")
def test_an_agent_with_a_certificate_is_asked_over_https_alone(scenario: Scenario) -> None:
    """By the colleague above, and by gateways: both check who answers."""
    assert agents.status(scenario, "notes")["url"] == f"https://{_host(scenario, 'notes-agent')}/v1"
    with routes.route(scenario, "mixed", "sk-alice") as mixed:
        answer = mixed.ask("agent/notes")
    assert (answer.status, answer.target) == (200, "notes"), answer
    address = Pods(scenario).agent("notes").address
    refused = httpx.get(f"http://{address}:{agents.PORT}/v1/models", trust_env=False, timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (421, "https_required")
