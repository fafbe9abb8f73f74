"""What runs on this machine of the embedded cluster, as text."""

from __future__ import annotations

from collections.abc import Iterator

from e2e.cluster import layout, teardown
from e2e.cluster.embedded import EmbeddedCluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import CommandError
from e2e.cluster.state import State

_MIB = 1024 * 1024


def describe() -> str:
    """Daemons with process id and memory, nodes, and where logs and kubeconfig are."""
    state = State.load()
    if state is None or not state.usable:
        left = teardown.leftovers()
        if not left:
            return "no embedded cluster is up"
        found = "\n  ".join(left)
        return f"no embedded cluster is up, but an unfinished one is there; `python3 e2e down` removes:\n  {found}"
    return "\n".join(_describe(EmbeddedCluster(state)))


def _describe(cluster: EmbeddedCluster) -> Iterator[str]:
    yield f"{'daemon':<26}{'process':>9}{'MiB':>7}"
    total = 0
    for name, daemon in cluster.daemons.items():
        process = daemon.process
        memory = process.rss_bytes if process else 0
        total += memory
        yield f"{name:<26}{process.pid if process else 'dead':>9}{memory // _MIB:>7}"
    yield f"{'total':<26}{'':>9}{total // _MIB:>7}"
    for node in cluster.nodes:
        if node.is_cut:
            yield f"node {node.name} is cut off"
    yield ""
    yield _nodes(cluster)
    yield f"logs        {cluster.logs}"
    yield f"kubeconfig  {cluster.kubeconfig} (usable inside: nsenter --net=/run/netns/{layout.CONTROL})"


def _nodes(cluster: EmbeddedCluster) -> str:
    try:
        return cluster.kubectl("get", "nodes", "-L", "topology.kubernetes.io/zone", timeout=10)
    except CommandError as error:
        return f"the API server does not answer: {error}\n"
    except ClusterError as error:
        return f"{error}\n"
