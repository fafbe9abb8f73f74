"""podresources.py against a real gRPC server on a unix socket, and against what is there when there is none."""

import asyncio
import socket
from pathlib import Path

import pytest

from agentfleet.gpu.holders import Assignment, KubeletSilent
from agentfleet.gpu.podresources import MESSAGES, assignments
from tests.gpu.conftest import kubelet_at


async def test_devices_and_claims_of_all_containers(tmp_path: Path) -> None:
    async with kubelet_at(tmp_path / "kubelet.sock") as kubelet:
        assert await assignments(tmp_path / "kubelet.sock") == ()
        kubelet.devices = {
            ("demo", "phi-0", "engine"): {"nvidia.com/gpu": ["GPU-a", "GPU-b"], "rdma/hca": ["0"]},
            ("demo", "qwen-0", "engine"): {"driver:gpu.nvidia.com": ["gpu-3"]},
            ("demo", "plain", "app"): {},
        }
        assert await assignments(tmp_path / "kubelet.sock") == (
            Assignment("demo", "phi-0", "engine", "nvidia.com/gpu", "GPU-a"),
            Assignment("demo", "phi-0", "engine", "nvidia.com/gpu", "GPU-b"),
            Assignment("demo", "phi-0", "engine", "rdma/hca", "0"),
            Assignment("demo", "qwen-0", "engine", "gpu.nvidia.com", "gpu-3"),
        )


def test_fields_of_a_newer_kubelet_are_passed_over() -> None:
    """ContainerResources has cpu_ids (3) and memory (4), which we do not declare; so may anything else."""
    container = MESSAGES["Container"](name="engine")
    container.devices.add(resource_name="nvidia.com/gpu", device_ids=["GPU-a"])
    newer = container.SerializeToString() + b"\x18\x05" + b"\x22\x03abc" + b"\xfa\x07\x01x"
    read = MESSAGES["Container"].FromString(newer)
    assert (read.name, read.devices[0].device_ids) == ("engine", ["GPU-a"])


async def test_no_kubelet_behind_the_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "kubelet.sock"))
    with pytest.raises(KubeletSilent, match=r"cannot ask the kubelet at .*kubelet.sock: .*refused"):
        await assignments(tmp_path / "kubelet.sock")


async def test_a_kubelet_that_hangs(tmp_path: Path) -> None:
    async with kubelet_at(tmp_path / "kubelet.sock") as kubelet:
        kubelet.hangs = True
        with pytest.raises(KubeletSilent, match=r"did not answer within 0.2 s"):
            await assignments(tmp_path / "kubelet.sock", timeout=0.2)


async def test_something_that_is_no_kubelet(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, str(tmp_path / "kubelet.sock"))
    async with server:
        with pytest.raises(KubeletSilent, match="cannot ask the kubelet"):
            await assignments(tmp_path / "kubelet.sock", timeout=2)
