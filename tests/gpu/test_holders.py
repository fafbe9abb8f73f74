"""Which device an id of the kubelet means, in the forms that device plugins and drivers use."""

import pytest

from agentfleet.gpu.holders import Assignment, holders
from agentfleet.gpu.readings import Device, Holder

A = Device("GPU-a", "0", "H100", minor=0)
B = Device("GPU-b", "1", "H100", minor=3)
MIG = Device("MIG-c", "1", "H100", minor=3, parent="GPU-b", profile="1g.10gb", instance="9")


def _given(device_id: str, resource: str = "nvidia.com/gpu", pod: str = "phi-0") -> Assignment:
    return Assignment("demo", pod, "engine", resource, device_id)


@pytest.mark.parametrize(
    ("resource", "device_id", "device"),
    [
        ("nvidia.com/gpu", "GPU-a", A),
        ("nvidia.com/gpu", "GPU-b", B),
        ("nvidia.com/gpu.shared", "GPU-b::2", B),
        ("nvidia.com/mig-1g.10gb", "MIG-c", MIG),
        ("nvidia.com/mig-1g.10gb", "MIG-c::0", MIG),
        ("nvidia.com/mig-1g.10gb", "MIG-GPU-b/9/0", MIG),
        ("nvidia.com/gpu", "nvidia0", A),
        ("nvidia.com/gpu", "nvidia3", B),
        ("nvidia.com/gpu", "nvidia3/gi9", MIG),
        ("nvidia.com/gpu", "nvidia0/vgpu1", A),
        ("nvidia.com/gpu", "nvidia3/gi9/vgpu0", MIG),
        ("gpu.nvidia.com", "gpu-3", B),
    ],
)
def test_an_id_of_a_gpu(resource: str, device_id: str, device: Device) -> None:
    assert holders([A, B, MIG], [_given(device_id, resource)]) == {device: (Holder("demo", "phi-0", "engine"),)}


@pytest.mark.parametrize(
    ("resource", "device_id"),
    [
        ("nvidia.com/gpu", "GPU-z"),
        ("nvidia.com/gpu", "nvidia1"),
        ("nvidia.com/gpu", "nvidia0/gi9"),
        ("rdma/hca", "0000:81:00.1"),
        ("amd.com/gpu", "0000:03:00.0"),
        ("other.example", "gpu-0"),
        ("gpu.nvidia.com", "gpu-0-mig-1g.10gb-19-4"),
        ("nvidia.com/gpu", ""),
    ],
)
def test_an_id_of_something_else(resource: str, device_id: str) -> None:
    assert holders([A, B, MIG], [_given(device_id, resource)]) == {}


def test_shares_are_counted_for_each_container() -> None:
    assigned = [_given("GPU-a::0"), _given("GPU-a::1"), _given("GPU-a::2", pod="qwen-0")]
    assert holders([A], assigned) == {A: (Holder("demo", "phi-0", "engine", 2), Holder("demo", "qwen-0", "engine", 1))}
