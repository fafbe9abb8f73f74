"""What happens to a cluster: nodes are drained for maintenance, packets are dropped, GPUs come and go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.kube import Kube
from e2e.scenarios.scenario import Scenario

_TABLE = "e2e_dropped"
_GPU = "nvidia.com/gpu"


@contextmanager
def drained(scenario: Scenario, node: str) -> Iterator[None]:
    """A node without pods for the time of the block, as for its maintenance; with all that runs on it."""
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s")
    try:
        scenario.kubectl("drain", node, *flags, timeout=270)
        yield
    finally:
        scenario.kubectl("uncordon", node)


@contextmanager
def silenced(cluster: EmbeddedCluster, addresses: Iterable[str], port: int) -> Iterator[None]:
    """A port of these pods that answers nobody in the cluster for the time of the block, as behind a firewall that
    drops: whoever asks waits in vain. Their own node still reaches it, so the kubelet's probes and hooks go on."""
    rules = f"table inet {_TABLE} {{ chain dropped {{ type filter hook forward priority -200; "
    rules += f"ip daddr {{ {', '.join(addresses)} }} tcp dport {port} drop; }}; }}"
    try:
        for node in cluster.nodes:
            node.run(["nft", rules])
        yield
    finally:
        for node in cluster.nodes:
            node.run(["nft", f"table inet {_TABLE}; delete table inet {_TABLE}"])


@contextmanager
def gpus_everywhere(cluster: EmbeddedCluster, kube: Kube, count: int) -> Iterator[None]:
    """So many GPUs on each node for the time of the block; afterwards each has those that it had."""
    had = {node.name: _gpus(kube, node.name) for node in cluster.nodes}
    try:
        for name in had:
            cluster.set_gpus(name, count)
        yield
    finally:
        for name, former in had.items():
            cluster.set_gpus(name, former)


def _gpus(kube: Kube, node: str) -> int:
    found = kube.get("Node", node)
    assert found is not None
    return int(found["status"]["allocatable"].get(_GPU, "0"))
