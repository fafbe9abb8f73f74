"""Network namespaces of the embedded cluster and the links between them.

Everything runs in namespaces of its own, so no rule, route or port of the machine is touched: the control plane's has a
bridge, each node's has a link to it (``eth0``), and nothing leads out. Cutting a node off is taking its link down.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import layout, mounts
from e2e.cluster.shell import run, succeeds

NETNS_FOLDER = Path("/run/netns")  # fixed by `ip netns`
_FOLDER_MADE = layout.STATE / "netns-folder-made"


@dataclass(frozen=True)
class Namespace:
    """A named network namespace, as ``ip netns`` keeps them."""

    name: str

    @property
    def path(self) -> Path:
        return NETNS_FOLDER / self.name

    @property
    def exists(self) -> bool:
        # A file without the mount is what is left when the machine died in between; it cannot be entered.
        return self.path.exists() and succeeds(["nsenter", f"--net={self.path}", "true"])

    def enter(self, argv: Sequence[str | Path]) -> list[str]:
        """Command line that runs ``argv`` in here. Not ``ip netns exec``: that remounts /sys without cgroups."""
        return ["nsenter", f"--net={self.path}", "--", *map(str, argv)]

    def create(self) -> None:
        """Make the namespace with loopback up and forwarding on."""
        run(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")
        self.sysctl("net.ipv4.ip_forward", "1")

    def delete(self) -> None:
        run(["ip", "netns", "del", self.name])

    def ip(self, *arguments: str) -> str:
        return run(["ip", "-n", self.name, *arguments])

    def sysctl(self, name: str, value: str) -> None:
        run(self.enter(["sh", "-c", f"echo {value} > /proc/sys/{name.replace('.', '/')}"]))


CONTROL = Namespace(layout.CONTROL)


def ours() -> list[Namespace]:
    """Every namespace that carries our prefix, also those of a cluster that was never finished."""
    return [Namespace(path.name) for path in sorted(NETNS_FOLDER.glob(f"{layout.PREFIX}*"))]


def create_control() -> None:
    """The control plane's namespace: the bridge that the nodes hang on, and the way to the Services."""
    if not mounts.is_mount(NETNS_FOLDER):
        _FOLDER_MADE.touch()
    CONTROL.create()
    # It forwards from node to node on one interface, and must not tell the nodes to go around it.
    CONTROL.sysctl("net.ipv4.conf.all.send_redirects", "0")
    CONTROL.sysctl("net.ipv4.conf.default.send_redirects", "0")
    CONTROL.ip("link", "add", layout.BRIDGE, "type", "bridge")
    CONTROL.ip("address", "add", f"{layout.CONTROL_IP}/24", "dev", layout.BRIDGE)
    CONTROL.ip("link", "set", layout.BRIDGE, "up")
    # kube-proxy rewrites the destination, but only of packets that have a route to begin with.
    CONTROL.ip("route", "add", layout.SERVICE_NETWORK, "dev", layout.BRIDGE)
    if succeeds(CONTROL.enter(["test", "-e", "/proc/sys/net/bridge/bridge-nf-call-iptables"])):
        # Traffic between two nodes only crosses the bridge; the control plane's own rules must not see it.
        CONTROL.sysctl("net.bridge.bridge-nf-call-iptables", "0")


def create_node(name: str, ip: str, pod_cidr: str) -> None:
    """A node's namespace, linked to the bridge; nodes reach each other's pods through the control plane's routes."""
    namespace = Namespace(layout.network_namespace(name))
    namespace.create()
    CONTROL.ip("link", "add", namespace.name, "type", "veth", "peer", "name", "eth0", "netns", namespace.name)
    CONTROL.ip("link", "set", namespace.name, "master", layout.BRIDGE, "up")
    namespace.ip("address", "add", f"{ip}/24", "dev", "eth0")
    namespace.ip("link", "set", "eth0", "up")
    namespace.ip("route", "add", "default", "via", layout.CONTROL_IP)
    CONTROL.ip("route", "replace", pod_cidr, "via", ip)


def forget_folder() -> None:
    """Remove the folder of named namespaces, which `ip netns` makes a mount, if it was made for us and is empty."""
    if _FOLDER_MADE.exists() and mounts.is_mount(NETNS_FOLDER) and not any(NETNS_FOLDER.iterdir()):
        run(["umount", "--no-mtab", NETNS_FOLDER])
        NETNS_FOLDER.rmdir()


def set_link(node: str, *, up: bool) -> None:
    """Plug a node's cable in or out, at the bridge's end: the node sees it lose its carrier."""
    CONTROL.ip("link", "set", layout.network_namespace(node), "up" if up else "down")


def link_is_up(node: str) -> bool:
    link = json.loads(CONTROL.ip("-json", "link", "show", layout.network_namespace(node)))
    return "UP" in link[0]["flags"]


def forget_attempts() -> None:
    """Forget connections of the control plane's network that were begun and never answered; there must be some.

    The kernel keeps an attempt's translated address for two minutes. Whoever gets the same source port for the same
    Service within that time is sent there again, whatever kube-proxy has learnt since.
    """
    run(CONTROL.enter(["conntrack", "-D", "-p", "tcp", "--state", "SYN_SENT"]))
