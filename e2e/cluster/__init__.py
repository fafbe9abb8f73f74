"""Clusters for end-to-end tests: the embedded one, kind, or one that the user names.

Start here: ``Cluster`` is what every cluster offers; ``EmbeddedCluster`` adds faults, fake GPUs and fake nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e2e.cluster.embedded import EmbeddedCluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.existing import ContextCluster, KindCluster
from e2e.cluster.shell import CommandError, wait_until

__all__ = [
    "Cluster",
    "ClusterError",
    "CommandError",
    "ContextCluster",
    "EmbeddedCluster",
    "KindCluster",
    "Target",
    "connect",
    "wait_until",
]


class Cluster(Protocol):
    """A running cluster as the scenarios see it."""

    @property
    def name(self) -> str:
        """How the cluster is called in messages."""

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig whose current context is this cluster; usable by what ``network_command`` runs."""

    @property
    def loads_images(self) -> bool:
        """Whether ``load_image`` works; if not, images must be where the cluster can pull them."""

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl and return its output; raise ``CommandError`` when it fails."""

    def kubectl_command(self, *args: str) -> list[str]:
        """Command line of kubectl for this cluster, for what needs a terminal or runs long."""

    def network_command(self, argv: Sequence[str | Path]) -> list[str]:
        """Command line that runs ``argv`` where the kubeconfig and the addresses of ``service`` work."""

    def service(self, namespace: str, name: str, port: int) -> AbstractContextManager[str]:
        """``host:port`` at which a Service answers for the time of the block."""

    def load_image(self, archive: Path) -> None:
        """Load an image archive (``docker save`` format) into every node that runs pods."""


@dataclass(frozen=True)
class Target:
    """Which cluster is meant: a kubeconfig context, a kind cluster, or (neither) the embedded one."""

    context: str | None = None
    kind: str | None = None


def connect(target: Target = Target()) -> Cluster:
    """The running cluster that ``target`` names; raise ``ClusterError`` when there is none."""
    if target.context is not None:
        return ContextCluster.connect(target.context)
    if target.kind is not None:
        return KindCluster.connect(target.kind)
    return EmbeddedCluster.connect()
