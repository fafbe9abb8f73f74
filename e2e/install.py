"""Install agentfleet with its chart into a test cluster, and what the tests need beside it: a registry and tiny models.

Both directions may be called again at any time; what is as it should be stays untouched. It knows nothing of scenarios.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import Cluster, CommandError, toolchain
from e2e.cluster.progress import note, step
from e2e.cluster.shell import run
from e2e.images import build

RELEASE = "agentfleet"
NAMESPACE = "agentfleet-system"
SUPPORT_NAMESPACE = "agentfleet-e2e"
MODEL_FOLDER = "/var/lib/agentfleet/models"
"""Where the nodes have tiny.gguf and slow.gguf."""
REGISTRY = "registry.agentfleet-e2e.svc:5000"
"""Registry inside the cluster with library/tiny:latest and library/slow:latest."""

_CRDS = ("agentroutes.agentfleet.dev", "agents.agentfleet.dev", "modelservers.agentfleet.dev")
_HERE = Path(__file__).parent
_CHART = _HERE.parent / "charts" / "agentfleet"
_VALUES = _HERE / "values.yaml"
_SUPPORT = _HERE / "support"

Values = Mapping[str, Any]


def install(cluster: Cluster, values: Values | None = None) -> None:
    """Install or upgrade agentfleet, with ``values`` over those of values.yaml, and wait until it is ready."""
    annotations = {"podAnnotations": {"agentfleet.dev/e2e-image": _own_images(cluster)}}
    _support(cluster)
    with step("helm upgrade --install agentfleet"):
        helm(
            cluster,
            *("upgrade", RELEASE, _CHART, "--install", "--create-namespace", "--wait", "--timeout=150s"),
            *(f"--values={_VALUES}", "--values=-"),
            stdin=yaml.safe_dump({**annotations, **(values or {})}),
        )


def uninstall(cluster: Cluster) -> None:
    """Remove agentfleet with its CRDs, every AgentRoute, Agent and ModelServer, and what the tests needed beside it."""
    with step("remove agentfleet"):
        if is_installed(cluster):
            # First the objects, so that their children are collected while the CRDs still tell who owned them.
            cluster.kubectl("delete", "agentroutes,agents,modelservers", "-A", "--all", "--timeout=120s", timeout=150)
        helm(cluster, "uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout=120s")
        cluster.kubectl("delete", "crd", *_CRDS, "--ignore-not-found", timeout=90)
        cluster.kubectl("delete", "namespace", NAMESPACE, SUPPORT_NAMESPACE, "--ignore-not-found", timeout=150)


def is_installed(cluster: Cluster) -> bool:
    """Whether the cluster knows ModelServers."""
    try:
        cluster.kubectl("get", "crd", "modelservers.agentfleet.dev", "-o", "name")
    except CommandError as error:
        if "NotFound" in error.stderr:
            return False
        raise
    return True


def helm(cluster: Cluster, *arguments: str | Path, stdin: str | None = None, timeout: float = 240) -> str:
    """Run helm on the release's namespace; raise ``CommandError`` with its words where it fails."""
    where = [f"--kubeconfig={cluster.kubeconfig}", f"--namespace={NAMESPACE}"]
    command = cluster.network_command([toolchain.helm(), *arguments, *where])
    return run(command, stdin=stdin, timeout=timeout, shown=["helm", *map(str, arguments)])


def _own_images(cluster: Cluster) -> str:
    """Load the images of the working tree; the operator's digest, so that its pods are replaced when it has changed."""
    if not cluster.loads_images:
        return "as-pulled"
    archives = [image.archive for image in build.build_project(note)]
    for archive in archives:
        cluster.load_image(archive)
    return archives[0].stem


def _support(cluster: Cluster) -> None:
    with step("registry and tiny models"):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SUPPORT_NAMESPACE}}
        cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(namespace))
        cluster.kubectl("apply", "--server-side", "-f", str(_SUPPORT))
        for workload in ("deployment/registry", "daemonset/models"):
            cluster.kubectl("-n", SUPPORT_NAMESPACE, "rollout", "status", workload, "--timeout=150s", timeout=180)
