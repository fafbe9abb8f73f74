"""Fake nodes: kwok answers for their kubelets, so schedulers and controllers can be tried with many nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from e2e.cluster import layout
from e2e.cluster.daemon import Daemon
from e2e.cluster.network import CONTROL

NAME: Final = "kwok"
TAINT: Final = "kwok.x-k8s.io/node"
"""Taint (NoSchedule) and annotation of every fake node: pods get there only when they tolerate it."""


def daemon(programs: Path) -> Daemon:
    """The one process that plays every fake node, as kwok's own stages say; all lie in the folder ``programs``."""
    argv: list[str | Path] = [
        programs / "kwok",
        *(f"--config={stage}" for stage in sorted(programs.glob("*.yaml"))),
        f"--kubeconfig={layout.kubeconfig()}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={TAINT}=fake",
        "--cidr=10.245.0.0/16",
        f"--node-ip={layout.CONTROL_IP}",
        "--server-address=127.0.0.1:10247",
    ]
    return Daemon(NAME, tuple(CONTROL.enter(argv)))


def set_nodes(kubectl: Callable[..., str], present: int, wanted: int) -> None:
    """Make the fake nodes ``kwok-1`` to ``kwok-<wanted>``, and no more."""
    if wanted > 0:
        nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(index) for index in range(1, wanted + 1)]}
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(nodes))
        names = [f"node/{_name(index)}" for index in range(1, wanted + 1)]
        kubectl("wait", "--for=condition=Ready", "--timeout=60s", *names, timeout=90)
    surplus = [_name(index) for index in range(wanted + 1, present + 1)]
    if surplus:
        kubectl("delete", "node", "--ignore-not-found", *surplus)


def _name(index: int) -> str:
    return f"kwok-{index}"


def _node(index: int) -> dict[str, object]:
    labels = {
        "kubernetes.io/hostname": _name(index),
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": f"fake-{index}",
        "type": "kwok",
    }
    quantities = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": _name(index), "labels": labels, "annotations": {TAINT: "fake"}},
        "spec": {"taints": [{"key": TAINT, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": quantities, "allocatable": quantities},
    }
