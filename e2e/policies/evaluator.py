"""Asks cyclonus, built once from its Go module, which traffic a set of NetworkPolicies allows.

The policies are those of a file or of a live cluster; nothing is sent anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.cluster import toolchain
from e2e.cluster.shell import run

Manifest = dict[str, Any]

CYCLONUS = toolchain.Build(
    name="cyclonus",
    module=str(Path(__file__).parent / "cyclonus"),
    packages=(".",),
    versioned_by="github.com/mattfenwick/cyclonus",
)
_NAME_LABEL = "kubernetes.io/metadata.name"


def build() -> Path:
    """The folder of the program; nothing to do when it is there."""
    return toolchain.ensure(CYCLONUS)


@dataclass(frozen=True)
class Peer:
    """One end of a connection: a pod, or an address outside the cluster where it has no namespace."""

    address: str
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """In cyclonus' words; every namespace has the label with its name."""
        if not self.namespace:
            return {"IP": self.address}
        inside = {
            "Namespace": self.namespace,
            "NamespaceLabels": {_NAME_LABEL: self.namespace} | self.namespace_labels,
            "PodLabels": self.labels,
        }
        return {"IP": self.address, "Internal": inside}


@dataclass(frozen=True)
class Connection:
    """A first packet; the port is the one that the pod listens on, after Services have been resolved."""

    source: Peer
    destination: Peer
    port: int
    protocol: str = "TCP"
    port_name: str = ""

    def dump(self) -> dict[str, Any]:
        """In cyclonus' words."""
        return {
            "Source": self.source.dump(),
            "Destination": self.destination.dump(),
            "ResolvedPort": self.port,
            "ResolvedPortName": self.port_name,
            "Protocol": self.protocol,
        }


def allowed(policies: Iterable[Manifest], connections: Sequence[Connection]) -> list[bool]:
    """For each connection, whether the egress rules of its source and the ingress rules of its destination let it
    pass."""
    question = {"policies": list(policies), "traffic": [connection.dump() for connection in connections]}
    program = build() / "cyclonus"
    answer: list[bool] = json.loads(run([str(program)], stdin=json.dumps(question)))
    return answer
