"""What the commands of ``python3 e2e`` do, each as one function over the parts of the harness.

Modules that need more than the standard library are imported where they are used.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster import Cluster, ClusterError, KindCluster, Target, bringup, connect, layout, packages, teardown
from e2e.cluster import status as status_text
from e2e.cluster.progress import note, step
from e2e.cluster.shell import exclusive
from e2e.cluster.state import State

_CACHES = ("bin", "venv", "images", "kubeconfig")


def up(target: Target, *, nodes: int, gpus: int | None, fake_nodes: int | None, bare: bool) -> Cluster:
    """Bring the cluster up; unless ``bare``, load the images and install the project with its chart."""
    if target != Target() and (gpus is not None or fake_nodes is not None):
        raise ClusterError("--gpus and --kwok need the embedded cluster: leave them out with --context and --kind")
    cluster: Cluster
    if target.context is not None:
        cluster = connect(target)
    elif target.kind is not None:
        cluster = KindCluster.up(target.kind, nodes)
    else:
        cluster = bringup.up(nodes=nodes, gpus=gpus, fake_nodes=fake_nodes)
    if not bare:
        _install(cluster)
    note(f"{cluster.name} cluster is up; `python3 e2e status` shows it, `python3 e2e kubectl ...` talks to it")
    return cluster


def running(target: Target) -> Cluster:
    """The cluster to run a program on: the embedded one is brought up when it is not there."""
    if target == Target() and ((state := State.load()) is None or not state.usable):
        return up(target, nodes=2, gpus=None, fake_nodes=None, bare=False)
    return connect(target)


def down(target: Target, *, purge_cache: bool) -> None:
    """Remove the cluster. One that we did not make stays, without the project."""
    if target.kind is not None:
        KindCluster.connect(target.kind).down()
    elif target.context is not None:
        importlib.import_module("e2e.install").uninstall(connect(target))
    else:
        packages.require_root()
        with exclusive(layout.LOCK):
            if not teardown.down():
                note("nothing was up")
    if purge_cache:
        for name in _CACHES:
            shutil.rmtree(layout.cache_home() / name, ignore_errors=True)


def status(target: Target) -> None:
    """Print what runs."""
    if target == Target():
        print(status_text.describe())
    else:
        print(connect(target).kubectl("get", "nodes", "-o", "wide"))


def kubectl(target: Target, arguments: Sequence[str]) -> int:
    """Become kubectl, so that terminals and pipes work."""
    words = connect(target).kubectl_command(*arguments)
    os.execvp(words[0], words)  # noqa: S606


def load(target: Target, archives: Sequence[Path]) -> None:
    """Load the given archives; without any, build the project's images again, load them and restart what of the chart
    runs them."""
    cluster = connect(target)
    for archive in archives:
        if not archive.is_file():
            raise ClusterError(f"{archive}: no such image archive")
        _load(cluster, archive)
    if not archives:
        for image in importlib.import_module("e2e.images.build").build_project(note):
            _load(cluster, image.archive)
            _restart(cluster, image.name)


def _install(cluster: Cluster) -> None:
    if cluster.loads_images:
        for image in importlib.import_module("e2e.images.build").build_all(note):
            _load(cluster, image.archive)
    importlib.import_module("e2e.install").install(cluster)


def _load(cluster: Cluster, archive: Path) -> None:
    with step(f"load {archive.name}"):
        cluster.load_image(archive)


def _restart(cluster: Cluster, image: str) -> None:
    """Restart every Deployment of the chart that runs ``image``: the tag is the same, so nothing else would."""
    deployments = json.loads(
        cluster.kubectl("get", "deployments", "-A", "-l", "app.kubernetes.io/managed-by=Helm", "-o", "json")
    )["items"]
    for deployment in deployments:
        containers = deployment["spec"]["template"]["spec"]["containers"]
        if any(container["image"] == image for container in containers):
            meta = deployment["metadata"]
            with step(f"restart {meta['namespace']}/{meta['name']}"):
                target = f"deployment/{meta['name']}"
                cluster.kubectl("-n", meta["namespace"], "rollout", "restart", target)
                cluster.kubectl("-n", meta["namespace"], "rollout", "status", target, "--timeout=120s", timeout=150)
