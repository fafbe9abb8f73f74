"""NetworkPolicies of ModelServers, Agents and the operator, judged by cyclonus: who gets where, and who does not."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from agentfleet.manifests.agent_names import agent_labels
from agentfleet.manifests.agent_policy import agent_policy
from agentfleet.manifests.agent_uses import Uses
from agentfleet.manifests.names import child_labels
from agentfleet.manifests.policy import loader_network_policy, network_policy
from agentfleet.objects import LOADER_LABEL
from agentfleet.resources.agent import Agent
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings
from e2e.chart.rendering import NAMESPACE, render
from e2e.policies.evaluator import Connection, Manifest, Peer, allowed

SETTINGS = Settings(namespace=NAMESPACE, monitoring_namespaces=("metrics",), denied_cidrs=("10.0.0.0/24",))
AGENT = Agent.from_manifest(
    {
        "metadata": {"name": "helper", "namespace": "demo", "uid": "uid-of-helper", "generation": 1},
        "spec": {"model": {"modelServerRef": {"name": "local"}}},
    }
)
ENGINE = 8080
SIDECAR = 9901

SPECS: dict[str, dict[str, Any]] = {
    "local": {"engine": "LlamaCpp", "model": {"uri": "pvc://models/a.gguf"}},
    "hub": {
        "engine": "LlamaCpp",
        "model": {"uri": "hf://acme/chat/a.gguf"},
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "chat"}}},
    },
    "mirror": {
        "engine": "VLLM",
        "model": {"uri": "hf://acme/chat", "auth": {"endpoint": "http://10.9.8.7:9000"}},
        "allowedNamespaces": {"from": "All"},
    },
    "pulled": {
        "engine": "Ollama",
        "model": {"uri": "ollama://registry.tools.svc:5000/library/tiny"},
        "ollama": {"insecureRegistry": True},
    },
    "group": {
        "engine": "VLLM",
        "model": {"uri": "pvc://models/chat"},
        "parallelism": {"tensor": 1, "pipeline": 2, "nodes": 2},
    },
    "desk": {"engine": "External", "external": {"url": "http://10.0.3.7:5273/v1", "model": "phi"}},
    "metadata": {"engine": "External", "external": {"url": "http://169.254.169.254/latest", "model": "phi"}},
    "apiserver": {"engine": "External", "external": {"url": "https://10.0.0.1:6443/v1", "model": "phi"}},
    "cloud": {"engine": "External", "external": {"url": "https://api.example.com/v1", "model": "phi"}},
}

CONNECTIONS = """\
client      local       8080  yes  # its own namespace, by default
client      local       9901  no   # whoever may ask for a drain could empty the service
client      local       8081  no
stranger    local       8080  no
chatter     local       8080  no
operator    local       9901  yes
operator    local       8080  no   # its own policy: it asks sidecars alone
neighbour   local       8080  yes  # a scraper beside the operator
metrics     local       9901  yes
metrics     local       8080  yes
internet    local       8080  no
local       dns         53    yes
local       internet    443   no   # nothing is downloaded
local       cloud-meta  80    no
local       client      8080  no
client      hub         8080  no   # a selector replaces the own namespace
chatter     hub         8080  yes
chatter     hub         9901  no
stranger    hub         8080  no
hub         internet    443   yes
hub         internet-6  443   yes
hub         internet    80    no
hub         cloud-meta  443   no
hub         cloud-meta  80    no
hub         link-local  443   no
hub         azure-meta  443   no
hub         aws-meta-6  443   no
hub-loader  internet    443   yes
hub-loader  cloud-meta  443   no
hub-loader  dns         53    yes
operator    hub-loader  9901  yes
metrics     hub-loader  9901  no
client      hub-loader  9901  no
stranger    mirror      8080  yes
stranger    mirror      9901  no
mirror      mirror-host 9000  yes
mirror      internet    9000  no   # an address opens itself alone
mirror      internet    443   yes  # where the mirror may redirect to
pulled      registry    5001  yes  # the Service's port is 5000, that of its pods any
pulled      internet    443   yes
pulled      internet    5000  no
pulled      stranger    5001  no
group       group       45678 yes  # ranks choose their ports
group       internet    443   no
client      group       45678 no
client      group       8080  yes
operator    desk        9901  yes
metrics     desk        9901  yes
client      desk        9901  no
desk        desk-host   5273  yes
desk        desk-host   22    no
desk        internet    5273  no
desk        dns         53    yes
metadata    cloud-meta  80    no
apiserver   api-server  6443  no   # in the setting deniedCIDRs
cloud       internet    443   yes
cloud       api-server  443   no
cloud       cloud-meta  443   no
operator    agent       8080  yes  # whether it is ready, and how much it has to do
operator    agent       9901  no
metrics     agent       8080  yes
client      agent       8080  yes
stranger    agent       8080  no
agent       internet    443   no
operator    api-server  6443  yes
operator    internet    80    no
client      client      8080  yes  # pods that are not ours are left alone"""
"""Source, destination, port of the pod, whether it passes."""


def _server(name: str) -> ModelServer:
    metadata = {"name": name, "namespace": "demo", "uid": f"uid-of-{name}", "generation": 1}
    return ModelServer.from_manifest({"metadata": metadata, "spec": SPECS[name]})


@cache
def _policies() -> tuple[Manifest, ...]:
    servers = [_server(name) for name in SPECS]
    made = [network_policy(server, ENGINE, SETTINGS) for server in servers]
    made += [loader_network_policy(_server("hub"), SETTINGS), agent_policy(AGENT, Uses(), SETTINGS)]
    operators = render({"networkPolicy": {"enabled": True}}).all("NetworkPolicy")
    return (*(policy for policy in made if policy), *operators)


def _peers() -> dict[str, Peer]:
    servers = {name: Peer("10.244.1.2", "demo", child_labels(_server(name))) for name in SPECS}
    return servers | {
        "hub-loader": Peer("10.244.1.3", "demo", {LOADER_LABEL: "hub", "app.kubernetes.io/managed-by": "agentfleet"}),
        "agent": Peer("10.244.1.4", "demo", agent_labels(AGENT)),
        "client": Peer("10.244.1.9", "demo", {"app": "chat"}),
        "chatter": Peer("10.244.2.9", "chat", {"app": "chat"}, {"team": "chat"}),
        "stranger": Peer("10.244.3.9", "other", {"app": "chat"}, {"team": "other"}),
        "registry": Peer("10.244.4.9", "tools", {"app": "registry"}),
        "operator": Peer("10.244.5.9", NAMESPACE, render().pod["metadata"]["labels"]),
        "neighbour": Peer("10.244.5.8", NAMESPACE, {"app": "prometheus"}),
        "metrics": Peer("10.244.6.9", "metrics", {"app": "prometheus"}),
        "dns": Peer("10.244.7.9", "kube-system", {"k8s-app": "kube-dns"}),
        "internet": Peer("203.0.113.7"),
        "internet-6": Peer("2001:db8::7"),
        "mirror-host": Peer("10.9.8.7"),
        "desk-host": Peer("10.0.3.7"),
        "api-server": Peer("10.0.0.1"),
        "cloud-meta": Peer("169.254.169.254"),
        "link-local": Peer("fe80::1"),
        "azure-meta": Peer("168.63.129.16"),
        "aws-meta-6": Peer("fd00:ec2::254"),
    }


def _rows() -> list[list[str]]:
    return [line.partition("#")[0].split() for line in CONNECTIONS.splitlines()]


@cache
def _verdicts() -> tuple[bool, ...]:
    peers = _peers()
    connections = [
        Connection(peers[source], peers[destination], int(port), "UDP" if port == "53" else "TCP")
        for source, destination, port, _ in _rows()
    ]
    return tuple(allowed(_policies(), connections))


@pytest.mark.parametrize(
    ("index", "expected"),
    [(index, row[3] == "yes") for index, row in enumerate(_rows())],
    ids=[" ".join(row) for row in _rows()],
)
def test_connection(index: int, expected: bool) -> None:
    assert _verdicts()[index] is expected


def test_without_policies_everything_passes() -> None:
    """So it is our policies that deny, not the evaluator that knows no such pods."""
    peers = _peers()
    connection = Connection(peers["stranger"], peers["local"], ENGINE)
    assert allowed(_policies(), [connection]) == [False]
    assert allowed((), [connection]) == [True]
