"""The real nvidia-ml-py on a library that answers from a file, and a real gRPC server as the kubelet."""

import asyncio
import ctypes
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pynvml
import pytest
from grpclib.const import Cardinality, Handler
from grpclib.server import Server
from prometheus_client.parser import text_string_to_metric_families

from agentfleet.gpu import podresources
from e2e import nvml

GPU_A, GPU_B = "GPU-6c1f2a00-0000-0000-0000-00000000000a", "GPU-6c1f2a00-0000-0000-0000-00000000000b"
MIG_A = "MIG-8a2e4b00-0000-0000-0000-00000000000a"


@dataclass
class Hardware:
    """What the library answers: lines of its file (e2e/nvml/nvml.c), written at every change."""

    path: Path
    lines: dict[str, object] = field(default_factory=dict)

    def set(self, *states: Mapping[str, object]) -> None:
        """Replace everything."""
        self.lines = {key: value for state in states for key, value in state.items()}
        self.path.write_text(nvml.text(self.lines))

    def change(self, **lines: object) -> None:
        """Change lines, `__` for the dot; None takes one away."""
        self.lines |= {key.replace("__", "."): value for key, value in lines.items()}
        self.path.write_text(nvml.text({key: value for key, value in self.lines.items() if value is not None}))


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    return nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def hardware(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hardware]:
    """A node with two busy GPUs. Loaded beforehand, the library is what nvidia-ml-py gets for the name it asks for."""
    path = tmp_path / "state"
    monkeypatch.setenv("FAKE_NVML", str(path))
    ctypes.CDLL(str(nvml_library), mode=ctypes.RTLD_GLOBAL)
    made = Hardware(path)
    made.set(nvml.node(nvml.gpu(0, GPU_A), nvml.gpu(1, GPU_B)))
    yield made
    # Whatever the test left: the next one finds NVML not started, as a new process would.
    made.set(nvml.node())
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()


def mig(gpu: int, place: int, uuid: str = MIG_A, profile: str = "1g.10gb", **values: object) -> dict[str, object]:
    """Lines of a MIG device of 10 GiB."""
    prefix = f"{gpu}.mig.{place}."
    usual = {
        "uuid": uuid,
        "name": f"NVIDIA H100 80GB HBM3 MIG {profile}",
        "instance": 9,
        "memory.total": 10 * nvml.GIB,
        "memory.used": 3 * nvml.GIB,
        "memory.reserved": 0,
    }
    return {prefix + name: value for name, value in {**usual, **values}.items()}


Devices = Mapping[tuple[str, str, str], Mapping[str, list[str]]]
"""(namespace, pod, container) → resource → ids of its devices; a resource `driver:NAME` is a claim's."""


class Kubelet:
    """The pod-resources service, as far as it is asked."""

    def __init__(self) -> None:
        self.devices: Devices = {}
        self.hangs = False

    def __mapping__(self) -> dict[str, Handler]:
        request, response = (podresources.MESSAGES[f"ListPodResources{kind}"] for kind in ("Request", "Response"))
        return {podresources.METHOD: Handler(self._list, Cardinality.UNARY_UNARY, request, response)}

    async def _list(self, stream: Any) -> None:
        await stream.recv_message()
        if self.hangs:
            await asyncio.sleep(60)
        response = podresources.MESSAGES["ListPodResourcesResponse"]()
        for (namespace, name, container), resources in self.devices.items():
            pod = response.pod_resources.add(namespace=namespace, name=name)
            held = pod.containers.add(name=container)
            for resource, ids in resources.items():
                if resource.startswith("driver:"):
                    claim = held.dynamic_resources.add()
                    for device in ids:
                        claim.claim_resources.add(driver_name=resource.partition(":")[2], device_name=device)
                else:
                    held.devices.add(resource_name=resource, device_ids=ids)
        await stream.send_message(response)


@asynccontextmanager
async def kubelet_at(path: Path) -> AsyncIterator[Kubelet]:
    """A kubelet that listens on a socket for the time of the block."""
    kubelet = Kubelet()
    server = Server([kubelet])
    await server.start(path=str(path))
    try:
        yield kubelet
    finally:
        server.close()
        await server.wait_closed()


def samples(page: bytes | str, name: str) -> dict[tuple[str, ...], float]:
    """(uuid, pod) → value of one metric on a page; for metrics without them, all labels' values."""
    text = page if isinstance(page, str) else page.decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                labels = sample.labels
                key = (labels["uuid"], labels["pod"]) if "pod" in labels else tuple(labels.values())
                found[key] = sample.value
    return found


@dataclass
class Clock:
    """A time that tests move."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now
