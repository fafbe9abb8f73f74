"""The network around the three agents: who is there, what the policies say of them, and what a container reaches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from e2e.cluster import EmbeddedCluster, layout
from e2e.policies.enforcer import Place, enforced, outside, place
from e2e.policies.evaluator import Manifest, Peer
from e2e.policies.internet import ADDRESS, METADATA
from e2e.scenarios import agents, networks, routes
from e2e.scenarios.scenario import Scenario

AGENTS = ("desk", "notes", "sealed")
API_PORT, _KUBELET_PORT = 6443, 10250
_REACHES = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def reaches(place):
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError:
        return False
    return True

places = sys.argv[1:]
with ThreadPoolExecutor(len(places)) as pool:
    print(json.dumps(dict(zip(places, pool.map(reaches, places)))))
"""


@dataclass(frozen=True)
class Pods:
    """Those that the policies are asked about."""

    scenario: Scenario

    def agent(self, name: str) -> Peer:
        return self.peer(agents.children(self.scenario, "Pod", name)[0])

    @property
    def gateway(self) -> Peer:
        return self.peer(routes.gateways(self.scenario, "mixed")[0])

    @property
    def model(self) -> Peer:
        return self.peer(self.scenario.children("Pod", "local")[0])

    def of(self, namespace: str, labels: str = "") -> Peer:
        return self.peer(self.scenario.kube.list("Pod", namespace, labels=labels, fields="status.phase=Running")[0])

    def peer(self, pod: Manifest) -> Peer:
        return networks.peer(self.scenario, pod)


def reached(scenario: Scenario, agent: str, container: str, *places: str) -> dict[str, bool]:
    """For each host:port, whether a container of the agent's pod gets a connection."""
    return dict(json.loads(execute(scenario, agent, container, _REACHES, *places)))


def execute(scenario: Scenario, agent: str, container: str, program: str, *arguments: str) -> str:
    """What a Python program prints that is run in a container of the agent's pod."""
    [pod] = agents.pods(scenario, agent)
    return scenario.kubectl("exec", pod, f"--container={container}", "--", agents.PYTHON, "-c", program, *arguments)


def beyond(scenario: Scenario, agent: str) -> list[str]:
    """What no agent that is Offline has any business with: the internet, the metadata of the cloud, the API server,
    the kubelet of its node, the operator, another agent, one more port of DNS."""
    [pod] = agents.children(scenario, "Pod", agent)
    pods = Pods(scenario)
    dns = pods.of("kube-system", "k8s-app=kube-dns")
    return [
        *(f"{ADDRESS}:{port}" for port in (53, 80, 443)),
        f"{METADATA}:80",
        f"{layout.SERVICE_API_IP}:443",
        f"{pod['status']['hostIP']}:{_KUBELET_PORT}",
        f"{pods.agent('desk').address}:{agents.PORT}",
        f"{dns.address}:9153",
    ]


@contextmanager
def policies_count(scenario: Scenario, cluster: EmbeddedCluster) -> Iterator[None]:
    """For the time of the block, for the pods of the scenario."""
    inside: list[Place] = []
    others = [
        outside(ADDRESS, 53, 80, 443, 8080),
        outside(METADATA, 80),
        outside(layout.CONTROL_IP, API_PORT),
        *(outside(node.ip, _KUBELET_PORT) for node in cluster.nodes),
    ]
    for pod in networks.running_pods(scenario):
        ours = pod["metadata"]["namespace"] == scenario.namespace
        (inside if ours else others).append(place(networks.peer(scenario, pod), pod))
    with enforced(cluster, networks.policies(scenario), inside, others):
        yield
