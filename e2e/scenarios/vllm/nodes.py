"""What the scenario needs on the nodes: vLLM's packages, mounted, and the repositories that the stand-in hub serves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster import ClusterError, EmbeddedCluster
from e2e.cluster.node import Node
from e2e.models import tiny_vllm

FOLDER = "/var/lib/agentfleet/e2e-vllm"
PACKAGES = f"{FOLDER}/packages"
MODEL = "acme/tiny"
ADAPTERS = {"acme/pirate": 1, "acme/poet": 2}
"""Repositories of LoRA adapters, with the seeds that make them different."""


@contextmanager
def provided(cluster: EmbeddedCluster, packages: Path) -> Iterator[None]:
    """Every node has them for the time of the block; pods that mount them by its end may keep them."""
    for node in cluster.nodes:
        _put_repositories(node)
        _mount(node, packages)
    try:
        yield
    finally:
        for node in cluster.nodes:
            _unmount(node)
            shutil.rmtree(node.host_path(FOLDER))


def _put_repositories(node: Node) -> None:
    repositories = node.host_path(f"{FOLDER}/repositories")
    shutil.rmtree(repositories, ignore_errors=True)
    tiny_vllm.make(repositories / MODEL)
    for name, seed in ADAPTERS.items():
        tiny_vllm.make_adapter(repositories / name, seed=seed)


def _mount(node: Node, packages: Path) -> None:
    _unmount(node)  # what a killed run left
    node.host_path(PACKAGES).mkdir(exist_ok=True)
    try:
        # In the node's own mount namespace, so that it ends with the node whatever becomes of us.
        node.run(["mount", "--no-mtab", "-o", "bind,ro", packages, PACKAGES])
    except ClusterError as error:
        raise ClusterError(f"{packages} is not to be seen from the nodes; see AGENTFLEET_E2E_HOME: {error}") from error


def _unmount(node: Node) -> None:
    mounted = node.run(["cat", "/proc/self/mounts"])
    for _ in range(mounted.count(f" {PACKAGES} ")):
        node.run(["umount", "--no-mtab", "--lazy", PACKAGES])
