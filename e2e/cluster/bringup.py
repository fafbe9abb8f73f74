"""Bring the embedded cluster up, as steps that each look first: calling it again repairs what has died.

A cluster that was never finished, or whose namespaces are gone (the machine was restarted), is removed and built anew:
that takes seconds, and is surer than any repair.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from e2e.cluster import archive, cgroups, control_plane, layout, network, packages, pki, sysctls, teardown, toolchain
from e2e.cluster.embedded import EmbeddedCluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.node import PAUSE_IMAGE, Node
from e2e.cluster.progress import note, step
from e2e.cluster.shell import exclusive, wait_until
from e2e.cluster.state import State

_DNS_HINT = "See `python3 e2e kubectl -n kube-system describe pods`"
_DNS_MANIFEST = Path(__file__).parent / "manifests" / "coredns.yaml"


def up(*, nodes: int = 2, gpus: int | None = None, fake_nodes: int | None = None) -> EmbeddedCluster:
    """Bring the cluster up as asked for. Nodes are never removed; None leaves GPUs and fake nodes as they are."""
    packages.require_root()
    if not 1 <= nodes <= layout.MAX_NODES:
        raise ClusterError(f"--nodes {nodes}: must be 1 to {layout.MAX_NODES}")
    packages.ensure()
    programs = toolchain.ensure(toolchain.KUBERNETES)
    images = _own_images()
    with exclusive(layout.LOCK):
        cluster = _repaired(programs, nodes, images) or _built(programs, nodes, images)
        if gpus is not None:
            for node in cluster.nodes:
                cluster.set_gpus(node.name, gpus)
        if fake_nodes is not None:
            cluster.set_fake_nodes(fake_nodes)
    return cluster


def _own_images() -> dict[str, Path]:
    """Archives of the images that the cluster itself needs, by image name."""
    dns = toolchain.ensure(toolchain.COREDNS)
    wanted = {
        PAUSE_IMAGE: (toolchain.ensure(toolchain.KUBERNETES) / "pause", "/pause"),
        _dns_image(): (dns / "coredns", "/coredns"),
    }
    archives = {}
    for image, (program, path) in wanted.items():
        archives[image] = program.with_suffix(".tar")
        if not archives[image].exists():
            archive.pack(archives[image], image, {path: program}, [path])
    return archives


def _dns_image() -> str:
    return f"localhost/af-coredns:{toolchain.COREDNS.version}"


def _repaired(programs: Path, nodes: int, images: dict[str, Path]) -> EmbeddedCluster | None:
    """The cluster that is there, with every part running; None when there is none worth a repair."""
    state = State.load()
    if state is None or not state.usable or state.programs != str(programs):
        return None
    cluster = EmbeddedCluster(state)
    if not network.CONTROL.exists or not all(node.prepared for node in cluster.nodes):
        return None
    try:
        return _converge(cluster, max(nodes, state.nodes), images)
    except ClusterError as error:
        note(f"the cluster that is there cannot be repaired, so it is built anew: {error}")
        return None


def _built(programs: Path, nodes: int, images: dict[str, Path]) -> EmbeddedCluster:
    teardown.down()
    layout.STATE.mkdir(mode=0o700)
    cluster = EmbeddedCluster(State.new(programs, nodes=0).save())
    with step("network, certificates"):
        sysctls.remember()
        cgroups.create(layout.SYSTEM_CGROUP)
        network.create_control()
        pki.create_control_plane()
        control_plane.write_config()
    return _converge(cluster, nodes, images)


def _converge(cluster: EmbeddedCluster, nodes: int, images: dict[str, Path]) -> EmbeddedCluster:
    """Start what does not run, add the nodes that are missing, and wait until the cluster serves."""
    _undo_faults(cluster)
    with step("control plane"):
        _start_control_plane(cluster)
    if len(cluster.nodes) < nodes:
        with step("namespaces of the nodes"):
            for index in range(len(cluster.nodes) + 1, nodes + 1):
                Node(index, cluster.programs).prepare()
            cluster.record(nodes=nodes)
    with step(f"{nodes} nodes"):
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: _start_node(node, images, cluster.loaded_images), cluster.nodes))
        cluster.wait_ready()
        for node in cluster.nodes:
            cluster.kubectl("uncordon", node.name)  # drained by a scenario that was interrupted
    with step("services and DNS"):
        _start_control_proxy(cluster)
        _deploy_dns(cluster)
    cluster.record(complete=True)
    return cluster


def _undo_faults(cluster: EmbeddedCluster) -> None:
    """An interrupted scenario may have left a node cut off or a daemon frozen."""
    for daemon in cluster.daemons.values():
        daemon.resume()
    for node in cluster.nodes:
        if node.is_cut:
            node.heal()


def _start_control_plane(cluster: EmbeddedCluster) -> None:
    for name in (control_plane.ETCD, control_plane.API_SERVER):
        cluster.daemon(name).start()
    cluster.wait_api()
    for name in (control_plane.CONTROLLER_MANAGER, control_plane.SCHEDULER):
        cluster.daemon(name).start()


def _start_node(node: Node, own_images: dict[str, Path], other_images: list[Path]) -> None:
    node.containerd.start()
    node.kube_proxy.start()
    wait_until(node.containerd_answers, f"containerd of {node.name} answers", timeout=30)
    present = node.images()
    missing = [path for image, path in own_images.items() if image not in present]
    for path in missing + (other_images if missing else []):  # a node without ours is new
        node.import_image(path)
    node.kubelet.start()


def _start_control_proxy(cluster: EmbeddedCluster) -> None:
    """Start the control plane's kube-proxy. It wants a Node of its own name, or it waits half a minute for one.

    A node that no kubelet runs would disturb everything that counts nodes, so it exists only for that moment.
    """
    proxy = cluster.daemon(control_plane.PROXY)
    if proxy.running:
        cluster.kubectl("delete", "node", layout.CONTROL, "--ignore-not-found")  # of a start that was interrupted
        return
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_control_node()))
    patch = {"status": {"addresses": [{"type": "InternalIP", "address": layout.CONTROL_IP}]}}
    cluster.kubectl("patch", "node", layout.CONTROL, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    try:
        proxy.start()
        healthz = ("--kubeconfig=/dev/null", f"--server=http://{layout.CONTROL_IP}:10256", "get", "--raw=/healthz")
        wait_until(
            lambda: "currentTime" in cluster.kubectl(*healthz),
            "the control plane's kube-proxy serves",
            timeout=40,
            hint=proxy.log_tail,
        )
    finally:
        cluster.kubectl("delete", "node", layout.CONTROL, "--ignore-not-found")


def _control_node() -> dict[str, object]:
    taints = [
        {"key": "node-role.kubernetes.io/control-plane", "effect": effect} for effect in ("NoSchedule", "NoExecute")
    ]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": layout.CONTROL}, "spec": {"taints": taints}}


def _deploy_dns(cluster: EmbeddedCluster) -> None:
    """Have one DNS server on each node, and wait for it."""
    manifest = _DNS_MANIFEST.read_text(encoding="utf-8")
    for placeholder, value in {"COREDNS_IMAGE": _dns_image(), "COREDNS_REPLICAS": str(len(cluster.nodes))}.items():
        manifest = manifest.replace(placeholder, value)
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    wait_until(lambda: _available(cluster), "cluster DNS is available", timeout=90, hint=lambda: _DNS_HINT)


def _available(cluster: EmbeddedCluster) -> bool:
    deployment: dict[str, Any] = json.loads(
        cluster.kubectl("-n", "kube-system", "get", "deployment", "coredns", "-o", "json")
    )
    status = deployment["status"]
    current: bool = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return current and bool(status.get("availableReplicas") == deployment["spec"]["replicas"])
