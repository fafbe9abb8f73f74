"""Whose is a device? Finds the device that an id of the kubelet's pod-resources API means. Pure.

GPU-6c1f…, MIG-8a2e…             NVIDIA's device plugin
GPU-6c1f…::2                     the same, share 2 of a time-sliced or MPS-shared GPU
MIG-GPU-6c1f…/3/0                the same with drivers before R470: GPU, GPU instance, compute instance
nvidia0, nvidia0/gi3, …/vgpu1    GKE's device plugin: minor number, GPU instance, share
gpu-0 of gpu.nvidia.com          NVIDIA's DRA driver: minor number
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agentfleet.gpu.readings import Device, Holder

_DRA_DRIVER = "gpu.nvidia.com"
_BY_MINOR = re.compile(r"nvidia(\d+)(?:/gi(\d+))?(?:/vgpu\d+)?")
_OLD_MIG = re.compile(r"MIG-(GPU-[^/]+)/(\d+)/\d+")
_DRA = re.compile(r"gpu-(\d+)")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A device, or a share of one, that the kubelet gave to a container."""

    namespace: str
    pod: str
    container: str
    resource: str
    """Name of the extended resource (nvidia.com/gpu) or of the DRA driver."""
    device_id: str


class KubeletSilent(Exception):
    """Who holds which device is not known; the text says why."""


def holders(devices: Iterable[Device], assignments: Sequence[Assignment]) -> Mapping[Device, tuple[Holder, ...]]:
    """Who holds each device; those that nobody holds are absent, and ids of other hardware are passed over."""
    found: dict[Device, Counter[tuple[str, str, str]]] = {}
    listed = tuple(devices)
    for assignment in assignments:
        device = _device(assignment, listed)
        if device is not None:
            holder = (assignment.namespace, assignment.pod, assignment.container)
            found.setdefault(device, Counter())[holder] += 1
    return {
        device: tuple(Holder(*holder, shares) for holder, shares in sorted(counted.items()))
        for device, counted in found.items()
    }


def _device(assignment: Assignment, devices: Sequence[Device]) -> Device | None:
    device_id = assignment.device_id.partition("::")[0]
    if assignment.resource == _DRA_DRIVER:
        named = _DRA.fullmatch(device_id)
        return _first(devices, minor=int(named[1]), instance="") if named else None
    if old := _OLD_MIG.fullmatch(device_id):
        return _first(devices, parent=old[1], instance=old[2])
    if numbered := _BY_MINOR.fullmatch(device_id):
        return _first(devices, minor=int(numbered[1]), instance=numbered[2] or "")
    return _first(devices, uuid=device_id)


def _first(devices: Sequence[Device], **wanted: str | int) -> Device | None:
    return next(
        (device for device in devices if all(getattr(device, name) == value for name, value in wanted.items())), None
    )
