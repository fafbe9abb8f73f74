"""The embedded cluster: a real Kubernetes on this machine, without Docker or a registry.

This is what scenarios work with, faults included. Bringing it up is ``bringup.py``, taking it down ``teardown.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e.cluster import control_plane, kwok, layout, network, packages, toolchain
from e2e.cluster.daemon import Daemon
from e2e.cluster.errors import ClusterError
from e2e.cluster.node import Node
from e2e.cluster.progress import step
from e2e.cluster.shell import run, wait_until
from e2e.cluster.state import State

GPU = "nvidia.com/gpu"


class EmbeddedCluster:
    """The cluster on this machine; see ``e2e.cluster.Cluster`` for what it shares with other clusters."""

    name = "embedded"
    loads_images = True

    def __init__(self, state: State) -> None:
        self._state = state
        self.programs = Path(state.programs)
        self.kubeconfig = layout.kubeconfig()
        self.logs = layout.logs()
        self._control = control_plane.daemons(self.programs)

    @classmethod
    def connect(cls) -> EmbeddedCluster:
        """The cluster that is up."""
        packages.require_root()
        state = State.load()
        if state is None or not state.usable:
            raise ClusterError("no embedded cluster is up: run `python3 e2e up`")
        return cls(state)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The real nodes, ``edge-1`` first."""
        return tuple(Node(index, self.programs) for index in range(1, self._state.nodes + 1))

    def node(self, name: str) -> Node:
        """The real node called ``name``."""
        nodes = {node.name: node for node in self.nodes}
        if name not in nodes:
            raise ClusterError(f"no real node {name!r}: there are {', '.join(nodes)}")
        return nodes[name]

    @property
    def daemons(self) -> dict[str, Daemon]:
        """Every daemon of the cluster by name: ``kube-apiserver``, ``kubelet@edge-1``, …"""
        found = dict(self._control)
        for node in self.nodes:
            found |= node.daemons
        if self._state.kwok:
            found[kwok.NAME] = kwok.daemon(Path(self._state.kwok))
        return found

    def daemon(self, name: str) -> Daemon:
        """The daemon called ``name``; stop and start it to see what the project does meanwhile."""
        daemons = self.daemons
        if name not in daemons:
            raise ClusterError(f"no daemon {name!r}: there are {', '.join(daemons)}")
        return daemons[name]

    def kubectl_command(self, *args: str) -> list[str]:
        """Command line of the cluster's own kubectl, from wherever it is run."""
        return network.CONTROL.enter([self.programs / "kubectl", f"--kubeconfig={self.kubeconfig}", *args])

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl and return its output; raise ``CommandError`` when it fails."""
        return run(self.kubectl_command(*args), stdin=stdin, timeout=timeout, shown=["kubectl", *args])

    def network_command(self, argv: Sequence[str | Path]) -> list[str]:
        """Command line that runs ``argv`` where pods, Services and the API server can be reached by address."""
        return network.CONTROL.enter(argv)

    def run_in_network(self, argv: Sequence[str | Path], *, timeout: float = 120) -> str:
        """Run ``argv`` in the control plane's network and return its output."""
        return run(self.network_command(argv), timeout=timeout)

    @contextmanager
    def service(self, namespace: str, name: str, port: int) -> Iterator[str]:
        """``host:port`` at which a Service answers, for a process in the cluster's network."""
        address = self.kubectl("-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
        yield f"{address}:{port}"

    def forget_attempts(self) -> None:
        """Forget connections that were begun here and never answered: their source ports are free to go elsewhere."""
        network.forget_attempts()

    def load_image(self, archive: Path) -> None:
        """Load an image archive (``docker save`` format) into every real node, unless it is there already."""
        archive = archive.resolve()
        about = archive.stat()
        fingerprint = f"{about.st_mtime_ns} {about.st_size}"
        if self._state.images.get(str(archive)) == fingerprint:
            return
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.import_image(archive), self.nodes))
        self.record(images={**self._state.images, str(archive): fingerprint})

    @property
    def loaded_images(self) -> list[Path]:
        """Archives that were loaded and still exist: a node that joins later gets them too."""
        return [Path(archive) for archive in self._state.images if Path(archive).exists()]

    def set_gpus(self, node: str, count: int, resource: str = GPU) -> None:
        """Let a node offer ``count`` GPUs that it has not: the scheduler counts them, the kubelet runs the pods."""
        quantity = {resource: str(count)}
        patch = json.dumps({"status": {"capacity": quantity, "allocatable": quantity}})
        self.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)
        if resource == GPU and node in {real.name for real in self.nodes}:
            self.record(gpus={**self._state.gpus, node: count})

    def set_fake_nodes(self, count: int) -> None:
        """Have ``count`` nodes that kwok only pretends to run, beside the real ones; their pods are Running at once."""
        if count > 0 and self._state.kwok is None:
            self.record(kwok=str(toolchain.ensure(toolchain.KWOK)))
        with step(f"{count} fake nodes"):
            if self._state.kwok:
                self.daemon(kwok.NAME).start()
            kwok.set_nodes(self.kubectl, self._state.fake_nodes, count)
        self.record(fake_nodes=count)

    def restart_kubelet(self, node: str, *, kill: bool = False) -> None:
        """Restart a node's kubelet and wait until it has registered again and its node is Ready with its GPUs."""
        kubelet = self.node(node).kubelet
        before = self._heartbeat(node)
        kubelet.stop(kill=kill)
        kubelet.start()
        wait_until(lambda: self._heartbeat(node) != before, f"the kubelet of {node} has registered again", timeout=60)
        self.wait_ready()

    def start_api_server(self) -> None:
        """Start the API server again and wait until it answers."""
        self.daemon(control_plane.API_SERVER).start()
        self.wait_api()

    def wait_api(self, timeout: float = 60) -> None:
        """Wait until the API server is ready."""
        api_server, etcd = self.daemon(control_plane.API_SERVER), self.daemon(control_plane.ETCD)

        def ready() -> bool:
            for daemon in (etcd, api_server):
                daemon.expect_running()
            return self.kubectl("get", "--raw=/readyz", timeout=10) == "ok"

        wait_until(ready, "the API server is ready", timeout=timeout, hint=lambda: f"See {api_server.log}")

    def wait_ready(self, timeout: float = 90) -> None:
        """Wait until every real node that is not cut off is Ready and offers its GPUs."""
        waiting = [node for node in self.nodes if not node.is_cut]

        def ready() -> bool:
            for node in waiting:
                node.kubelet.expect_running()
            return set(self._ready_nodes()) >= {node.name for node in waiting}

        wait_until(
            ready,
            f"nodes {', '.join(node.name for node in waiting)} are Ready",
            timeout=timeout,
            hint=lambda: f"See {self.logs}/kubelet@*.log",
        )
        for name, count in self._state.gpus.items():
            if not self.node(name).is_cut:
                self.set_gpus(name, count)

    def record(self, **changes: object) -> None:
        """Note in the cluster's state what has changed, for later commands."""
        # Another process may have noted something meanwhile: a test beside a command.
        self._state = (State.load() or self._state).changed(**changes)

    def _node_objects(self) -> list[Mapping[str, Any]]:
        items: list[Mapping[str, Any]] = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        return items

    def _ready_nodes(self) -> list[str]:
        return [
            node["metadata"]["name"] for node in self._node_objects() if _ready_condition(node).get("status") == "True"
        ]

    def _heartbeat(self, name: str) -> str:
        node = next((node for node in self._node_objects() if node["metadata"]["name"] == name), {})
        return str(_ready_condition(node).get("lastHeartbeatTime"))


def _ready_condition(node: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions: list[Mapping[str, Any]] = node.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})
