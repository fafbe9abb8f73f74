"""Names, addresses and paths of the embedded cluster: every name that the machine can see is made here.

Taking the cluster down relies on it: what carries ``PREFIX`` (namespaces, control groups) or lies under ``STATE`` is
ours. The state folder is fixed, not under the user's home, because the names are machine-wide too: one cluster at a
time, and ``down`` finds it whoever started it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PREFIX: Final = "af-"
STATE: Final = Path("/var/lib/agentfleet-e2e")
LOCK: Final = Path("/run/agentfleet-e2e.lock")

CONTROL: Final = PREFIX + "control"
"""Network namespace of the control plane, where tests run as well."""
BRIDGE: Final = PREFIX + "br0"
SYSTEM_CGROUP: Final = PREFIX + "system"

NETWORK: Final = "172.30.0.0/24"
CONTROL_IP: Final = "172.30.0.1"
API_SERVER: Final = f"https://{CONTROL_IP}:6443"
POD_NETWORK: Final = "10.244.0.0/16"
SERVICE_NETWORK: Final = "10.96.0.0/16"
SERVICE_API_IP: Final = "10.96.0.1"
DNS_IP: Final = "10.96.0.10"
CLUSTER_DOMAIN: Final = "cluster.local"

MAX_NODES: Final = 50
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def cache_home() -> Path:
    """Folder of everything that is built once: ``$AGENTFLEET_E2E_HOME`` or ``~/.cache/agentfleet-e2e``."""
    configured = os.environ.get("AGENTFLEET_E2E_HOME")
    return Path(configured).expanduser().resolve() if configured else Path.home() / ".cache" / "agentfleet-e2e"


def node_name(index: int) -> str:
    """Name of the real node number ``index``, counted from 1."""
    return f"edge-{index}"


def node_zone(index: int) -> str:
    """Value of ``topology.kubernetes.io/zone``: every node is an edge site of its own."""
    return f"store-{index}"


def node_ip(index: int) -> str:
    return f"172.30.0.{10 + index}"


def node_pod_cidr(index: int) -> str:
    return f"10.244.{index}.0/24"


def network_namespace(node: str) -> str:
    return PREFIX + node


def kubeconfig(user: str = "admin") -> Path:
    return STATE / "kubeconfig" / user


def logs() -> Path:
    return STATE / "logs"
