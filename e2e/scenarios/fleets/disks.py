"""Disks of devices: the folders on a node that PersistentVolumes of type `local` name, as an administrator makes them.

What an earlier run has left is removed first, volumes as well as what lies on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from e2e.cluster import wait_until
from e2e.scenarios.kube import Kube, Manifest
from e2e.scenarios.scenario import Scenario

ROOT = "/var/lib/agentfleet/disks"
"""Where these volumes lie on their nodes."""
_IMAGE = "agentfleet/operator:dev"


@contextmanager
def made(scenario: Scenario, volumes: Sequence[Manifest]) -> Iterator[None]:
    """The folders of these PersistentVolumes, empty; the volumes go at the end."""
    names = [each["metadata"]["name"] for each in volumes]
    _forget(scenario.kube, names)
    if volumes:
        pods = [_maker(each) for each in volumes]
        which = [f"pod/{each['metadata']['name']}" for each in pods]
        scenario.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
        # A folder that comes after the pod that mounts it costs that pod half a minute of the kubelet's patience.
        scenario.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", *which, timeout=90)
        scenario.kubectl("delete", "--wait=false", *which)
    yield
    for name in names:
        scenario.kube.delete("PersistentVolume", name)  # it waits for its claim, which goes with the Agent


def _forget(kube: Kube, names: Sequence[str]) -> None:
    for name in names:
        kube.delete("PersistentVolume", name)
    wait_until(
        lambda: not any(kube.get("PersistentVolume", name) for name in names),
        "volumes of an earlier run are gone",
        timeout=60,
    )


def _maker(volume: Manifest) -> Manifest:
    """A pod on the volume's node that makes its folder."""
    folder = volume["spec"]["local"]["path"]
    if not folder.startswith(f"{ROOT}/"):
        raise ValueError(f"{folder} is not below {ROOT}")
    name = folder.removeprefix(f"{ROOT}/")
    program = (
        "import pathlib, shutil, sys\n"
        "disk = pathlib.Path('/disks', sys.argv[1])\n"
        "shutil.rmtree(disk, ignore_errors=True)\n"
        "disk.mkdir()\n"
    )
    container = {
        "name": "mkdir",
        "image": _IMAGE,
        "command": ["python3", "-c", program, name],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "disks", "mountPath": "/disks"}],
    }
    spec = {
        "automountServiceAccountToken": False,
        "restartPolicy": "OnFailure",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _nodes(volume)}},
        "containers": [container],
        "volumes": [{"name": "disks", "hostPath": {"path": ROOT, "type": "DirectoryOrCreate"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"disk-{name}"}, "spec": spec}


def _nodes(volume: Manifest) -> Manifest:
    found: Manifest = volume["spec"]["nodeAffinity"]["required"]
    return found
