"""NetworkPolicies and disruption budgets. What the policies let through is judged in e2e/chart."""

from ipaddress import ip_network
from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.egress import CLOSED
from agentfleet.manifests.merge import contains
from agentfleet.manifests.policy import loader_network_policy, network_policy, pod_disruption_budget
from agentfleet.objects import LOADER_LABEL, MODEL_SERVER_LABEL, Manifest
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings
from agentfleet.sidecar.guard import METADATA
from tests.builders import manifest, server

SETTINGS = Settings(namespace="ops")
ANYWHERE = ["0.0.0.0/0", "::/0"]


def external(url: str, **spec: Any) -> ModelServer:
    body = manifest()
    body["spec"] = {"engine": "External", "external": {"url": url}} | spec
    return ModelServer.from_manifest(body)


def policy(of: ModelServer, settings: Settings = SETTINGS) -> Manifest:
    made = network_policy(of, 8080, settings)
    assert made is not None
    return made


def reach(made: Manifest) -> set[tuple[str, int | None]]:
    """(address or namespace, port) of every egress rule but the one for DNS; None is every port."""
    return {
        (_peer(peer), port.get("port"))
        for rule in made["spec"]["egress"][1:]
        for peer in rule["to"]
        for port in rule.get("ports", [{}])
    }


def _peer(peer: dict[str, Any]) -> str:
    if "ipBlock" in peer:
        return str(peer["ipBlock"]["cidr"])
    labels: dict[str, str] = (peer.get("namespaceSelector") or peer["podSelector"])["matchLabels"]
    return next(iter(labels.values()))


def anywhere(*ports: int) -> set[tuple[str, int | None]]:
    return {(network, port) for network in ANYWHERE for port in ports}


def hf(endpoint: str | None = None) -> ModelServer:
    auth = {"auth": {"endpoint": endpoint}} if endpoint else {}
    return server("VLLM", model={"uri": "hf://acme/chat", **auth})


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (server("LlamaCpp", model={"uri": "pvc://models/a.gguf"}), set()),
        (server("LlamaCpp", model={"uri": "file:///srv/a.gguf"}), set()),
        (hf(), anywhere(443)),
        (hf("https://hub.example.com"), anywhere(443)),
        (hf("https://hub.example.com:8443/hf"), anywhere(443, 8443)),
        (hf("http://hub.example.com"), anywhere(443, 80)),
        (hf("http://10.0.0.9:9000"), anywhere(443) | {("10.0.0.9/32", 9000)}),
        (hf("http://[fd00::9]:9000"), anywhere(443) | {("fd00::9/128", 9000)}),
        (hf("http://hub"), anywhere(443, 80) | {("demo", None)}),
        (hf("http://hub.tools"), anywhere(443, 80) | {("tools", None)}),
        (hf("http://hub.tools.svc"), anywhere(443) | {("tools", None)}),
        (hf("http://hub.tools.svc.cluster.local:9000"), anywhere(443) | {("tools", None)}),
        (hf("http://hub-0.hub.tools.svc.cluster.local."), anywhere(443) | {("tools", None)}),
        (hf("http://a.b.svc.example.com"), anywhere(443, 80)),
        (server("VLLM", model={"uri": "s3://bucket/chat"}), anywhere(443)),
        (server("VLLM", model={"uri": "oci://registry.example.com:5000/acme/chat:1"}), anywhere(443, 5000)),
        (server("LlamaCpp", model={"uri": "https://files.example.com:8443/a.gguf"}), anywhere(443, 8443)),
        (server("VLLM", model={"uri": "oci://ghcr.io/acme/chat:1"}), anywhere(443)),
        (
            server("VLLM", model={"uri": "oci://registry.tools:5000/acme/chat:1"}),
            anywhere(443, 5000) | {("tools", None)},
        ),
        (server("Ollama", model={"uri": "ollama://tiny"}), anywhere(443)),
        (server("Ollama", model={"uri": "ollama://acme/tiny:1"}), anywhere(443)),
        (server("Ollama", model={"uri": "ollama://registry.example.com:5000/acme/tiny:1"}), anywhere(443, 5000)),
        (
            server("Ollama", model={"uri": "ollama://a.example.com/acme/tiny"}, ollama={"insecureRegistry": True}),
            anywhere(443, 80),
        ),
        (server("Ollama", ollama={"models": ["b.example.com:5001/acme/tiny"]}), anywhere(443, 5001)),
        (
            server(
                "VLLM",
                model={"uri": "pvc://models/chat"},
                adapters=[{"name": "a", "uri": "https://files.example.com:8443/a"}],
            ),
            anywhere(443, 8443),
        ),
        (external("https://api.example.com/v1"), anywhere(443)),
        (external("http://10.0.3.7:5273/v1"), {("10.0.3.7/32", 5273)}),
        (external("http://studio.desk.svc:1234/v1"), {("desk", None)}),
        (external("http://127.0.0.1:1234/v1"), {("127.0.0.1/32", 1234)}),  # the pod's own, which no policy is about
        (external("http://169.254.169.254/v1"), set()),
    ],
)
def test_pods_reach_their_sources_and_nothing_else(of: ModelServer, expected: set[tuple[str, int | None]]) -> None:
    assert reach(policy(of)) == expected


def test_what_is_closed_is_cut_out_of_every_open_range() -> None:
    rule = policy(hf())["spec"]["egress"][1]
    excepted = [peer["ipBlock"]["except"] for peer in rule["to"]]
    assert "169.254.0.0/16" in excepted[0]
    assert "fe80::/10" in excepted[1]


def test_policies_close_what_the_prober_refuses_as_metadata() -> None:
    closed = [ip_network(text) for text in CLOSED]
    for metadata in METADATA:
        assert any(metadata.version == each.version and metadata.subnet_of(each) for each in closed)  # type: ignore[arg-type]


def test_denied_networks_are_closed_to_endpoints() -> None:
    denied = Settings(denied_cidrs=("10.96.0.0/12", "192.0.2.7", "2001:db8::/32"))
    rule = policy(external("https://api.example.com"), denied)["spec"]["egress"][1]
    four, six = (peer["ipBlock"]["except"] for peer in rule["to"])
    assert {"10.96.0.0/12", "192.0.2.7/32"} <= set(four)
    assert "2001:db8::/32" in six
    assert reach(policy(external("http://10.97.1.1"), denied)) == set()
    assert reach(policy(external("https://api.example.com"), Settings(denied_cidrs=("0.0.0.0/0",)))) == {("::/0", 443)}


@pytest.mark.parametrize("url", ["https://api.example.com:99999", "https://api.example.com:0", "https://[fd00::"])
def test_a_port_that_is_none_is_told(url: str) -> None:
    with pytest.raises(InvalidSpec, match="port 1 to 65535"):
        policy(external(url))


@pytest.mark.parametrize(
    ("allowed", "peer"),
    [
        (None, {"podSelector": {}}),
        ({"from": "Same"}, {"podSelector": {}}),
        ({"from": "All"}, {"namespaceSelector": {}}),
        (
            {"from": "Selector", "selector": {"matchLabels": {"team": "chat"}}},
            {"namespaceSelector": {"matchLabels": {"team": "chat"}}},
        ),
        ({"from": "Selector", "selector": {"matchLabels": {}}}, {"namespaceSelector": {}}),
        ({"from": "Selector"}, {"podSelector": {}}),  # refused by the CRD; fails closed
    ],
)
def test_clients_come_from_the_allowed_namespaces(allowed: dict[str, Any] | None, peer: dict[str, Any]) -> None:
    spec = {"allowedNamespaces": allowed} if allowed else {}
    clients = policy(server(**spec))["spec"]["ingress"][0]
    assert clients == {"from": [peer], "ports": [{"port": 8080, "protocol": "TCP"}]}


def test_only_the_ranks_of_a_group_talk_on_every_port() -> None:
    own = [{"podSelector": {"matchLabels": {MODEL_SERVER_LABEL: "phi"}}}]
    group = policy(server("VLLM", parallelism={"pipeline": 2, "nodes": 2}))["spec"]
    assert {"from": own} in group["ingress"]
    assert {"to": own} in group["egress"]
    assert all("ports" in rule for rule in policy(server("VLLM"))["spec"]["ingress"])


def test_loader_jobs_have_a_policy_of_their_own() -> None:
    made = loader_network_policy(hf(), SETTINGS)
    assert made is not None
    assert made["metadata"]["name"] == "phi-model-loader"
    assert made["spec"]["podSelector"] == {"matchLabels": {LOADER_LABEL: "phi"}}
    assert [rule["ports"] for rule in made["spec"]["ingress"]] == [[{"port": 9901, "protocol": "TCP"}]]
    assert reach(made) == anywhere(443)


def test_the_setting_switches_policies_off() -> None:
    off = Settings(network_policies=False)
    assert network_policy(server(), 8080, off) is None
    assert loader_network_policy(server(), off) is None


def test_the_order_of_what_is_written_does_not_count() -> None:
    one = server("Ollama", ollama={"models": ["a.example.com:5/x/y", "b.example.com:6/x/y"]})
    two = server("Ollama", ollama={"models": ["b.example.com:6/x/y", "a.example.com:5/x/y"]})
    assert policy(one) == policy(two)


@pytest.mark.parametrize(
    ("of", "has_one"),
    [
        (server(replicas=0), False),
        (server(replicas=1), False),
        (server(replicas=2), True),
        (server(replicas=2, placement={"mode": "Pack"}), True),
        (server(replicas=2, placement={"mode": "PerNode"}), False),
        (external("https://api.example.com", replicas=1), False),
    ],
)
def test_a_budget_where_another_pod_can_serve(of: ModelServer, has_one: bool) -> None:
    assert (pod_disruption_budget(of) is not None) is has_one


def test_the_budget_lets_one_pod_go_at_a_time_and_broken_ones_always() -> None:
    """A number of pods that must stay needs no controller to be reckoned, of which a draining revision has none."""
    made = pod_disruption_budget(server(replicas=3))
    expected = {
        "minAvailable": 2,
        "selector": {"matchLabels": {MODEL_SERVER_LABEL: "phi"}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    assert made is not None
    assert (made["kind"], made["metadata"]["name"], made["spec"]) == ("PodDisruptionBudget", "phi-model", expected)


def test_empty_maps_that_the_api_server_drops_are_not_wished_for() -> None:
    """It stores {"matchLabels": {}} as {}, which a wish with matchLabels would never be found in."""
    made = policy(server(allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {}}}))
    live = {**made, "spec": {**made["spec"]}}
    assert contains(live, made)
    assert "matchLabels" not in str(made["spec"]["ingress"][0])
