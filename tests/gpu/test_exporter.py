"""The exporter as a whole: the real nvidia-ml-py, a kubelet's socket, its page and /healthz."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

import agentfleet
from agentfleet.gpu.exporter import NEW_CONTAINER_AFTER, Exporter
from agentfleet.gpu.holders import Assignment, KubeletSilent
from agentfleet.gpu.main import main, parse
from agentfleet.gpu.nvml import NvmlSource
from agentfleet.gpu.readings import Device, Holder, Look, Reading
from agentfleet.gpu.server import serve
from e2e import nvml
from tests.gpu.conftest import GPU_A, GPU_B, MIG_A, Clock, Hardware, kubelet_at, mig, samples

PREFIX = "agentfleet_gpu_"
MISMATCH = 18


class _Kubelet:
    """What the kubelet says: ids of the devices of each pod, or why it is silent."""

    def __init__(self, **pods: list[str]) -> None:
        self.pods = pods
        self.silent: str | None = None

    async def __call__(self) -> tuple[Assignment, ...]:
        if self.silent is not None:
            raise KubeletSilent(self.silent)
        return tuple(
            Assignment("demo", pod, "engine", "nvidia.com/gpu", device_id)
            for pod, ids in self.pods.items()
            for device_id in ids
        )


def _exporter(clock: Clock, kubelet: _Kubelet) -> Exporter:
    return Exporter(NvmlSource(clock), kubelet, interval=5, node="node-1", clock=clock)


async def test_samples_name_the_pod_that_holds_the_gpu(hardware: Hardware) -> None:
    exporter = _exporter(Clock(), _Kubelet(phi=[GPU_A]))
    await exporter.look()
    page = exporter.page()
    assert samples(page, PREFIX + "utilization_percent") == {(GPU_A, "phi"): 37, (GPU_B, ""): 37}
    assert samples(page, PREFIX + "memory_used_bytes")[GPU_A, "phi"] == 60 * nvml.GIB
    assert samples(page, PREFIX + "energy_joules_total")[GPU_A, "phi"] == 9000
    assert samples(page, PREFIX + "processes")[GPU_A, "phi"] == 1
    assert samples(page, PREFIX + "allocated") == {(GPU_A, "phi"): 1}
    assert samples(page, PREFIX + "exporter_up") == {("node-1", "nvml"): 1}
    assert (exporter.problems(), exporter.alive()) == ([], True)


async def test_a_shared_gpu_is_nobodys_alone(hardware: Hardware) -> None:
    exporter = _exporter(Clock(), _Kubelet(phi=[f"{GPU_A}::0", f"{GPU_A}::3"], qwen=[f"{GPU_A}::1"]))
    await exporter.look()
    assert samples(exporter.page(), PREFIX + "utilization_percent")[GPU_A, ""] == 37
    assert samples(exporter.page(), PREFIX + "allocated") == {(GPU_A, "phi"): 2, (GPU_A, "qwen"): 1}


async def test_mig_devices_name_their_pod_and_lack_utilization(hardware: Hardware) -> None:
    hardware.set(nvml.node(nvml.gpu(0, GPU_A, utilization=None, mig=7)), mig(0, 3))
    exporter = _exporter(Clock(), _Kubelet(phi=[MIG_A]))
    await exporter.look()
    page = exporter.page()
    assert samples(page, PREFIX + "memory_used_bytes") == {(GPU_A, ""): 60 * nvml.GIB, (MIG_A, "phi"): 3 * nvml.GIB}
    assert samples(page, PREFIX + "utilization_percent") == {}
    assert samples(page, PREFIX + "supported") == {(GPU_A, ""): 0, (MIG_A, "phi"): 0}
    assert (
        f'mig="1g.10gb",mig_instance="9",model="NVIDIA H100 80GB HBM3",namespace="demo",pod="phi",uuid="{MIG_A}"'
        in (page.decode())
    )


async def test_a_lost_gpu_is_down_and_has_no_numbers(hardware: Hardware) -> None:
    exporter = _exporter(Clock(), _Kubelet(phi=[GPU_B]))
    await exporter.look()
    hardware.change(**{"error.1.nvmlDeviceGetUtilizationRates": 15, "1.xids": "79"})
    await exporter.look()
    page = exporter.page()
    assert samples(page, PREFIX + "up") == {(GPU_A, ""): 1, (GPU_B, "phi"): 0}
    assert (GPU_B, "phi") not in samples(page, PREFIX + "memory_used_bytes")
    assert samples(page, PREFIX + "errors_total") == {("nvmlDeviceGetUtilizationRates", "GPU is lost"): 1}
    assert samples(page, PREFIX + "xid_errors_total") == {(GPU_B, "79"): 1}
    assert exporter.problems() == [f"GPU 1 {GPU_B}: nvmlDeviceGetUtilizationRates: GPU is lost"]
    assert exporter.alive()


async def test_a_silent_kubelet_takes_the_pods_and_nothing_else(hardware: Hardware) -> None:
    kubelet = _Kubelet(phi=[GPU_A])
    exporter = _exporter(Clock(), kubelet)
    await exporter.look()
    kubelet.silent = "there is no socket /x"
    await exporter.look()
    page = exporter.page()
    assert samples(page, PREFIX + "utilization_percent") == {(GPU_A, ""): 37, (GPU_B, ""): 37}
    assert samples(page, PREFIX + "pod_resources_up") == {(): 0}
    assert exporter.problems() == ["which pod holds which GPU is not known: there is no socket /x"]
    assert exporter.alive()
    kubelet.silent = None
    await exporter.look()
    assert samples(exporter.page(), PREFIX + "allocated") == {(GPU_A, "phi"): 1}
    assert exporter.problems() == []


async def test_a_new_container_is_asked_for_where_only_that_helps_and_late(hardware: Hardware) -> None:
    clock = Clock()
    exporter = _exporter(clock, _Kubelet())
    hardware.change(error__nvmlInit=MISMATCH)
    await exporter.look()
    assert samples(exporter.page(), PREFIX + "exporter_up") == {("node-1", "nvml"): 0}
    assert samples(exporter.page(), PREFIX + "up") == {}
    assert exporter.alive()
    clock.now += NEW_CONTAINER_AFTER
    await exporter.look()
    assert not exporter.alive()
    hardware.change(error__nvmlInit=None)
    await exporter.look()
    assert exporter.alive()


async def test_a_driver_that_hangs_leaves_an_old_look_that_soon_counts_for_nothing(hardware: Hardware) -> None:
    clock = Clock()
    exporter = _exporter(clock, _Kubelet())
    await exporter.look()
    hardware.change(delay__nvmlDeviceGetCount=300)
    looking = asyncio.create_task(exporter.look())
    await asyncio.sleep(0)  # the look is on its way, and the page answers meanwhile
    clock.now += 10
    assert samples(exporter.page(), PREFIX + "sample_age_seconds") == {(): 10}
    assert samples(exporter.page(), PREFIX + "up") != {}
    clock.now += 30
    page = exporter.page()
    assert samples(page, PREFIX + "up") == samples(page, PREFIX + "utilization_percent") == {}
    assert samples(page, PREFIX + "exporter_up") == {("node-1", "nvml"): 0}
    assert exporter.problems() == ["the driver has not answered for 40 s"]
    clock.now += NEW_CONTAINER_AFTER
    assert not exporter.alive()
    await looking


class _Dcgm:
    """A source that names the holders itself."""

    gpu = Device(GPU_A, "0", "H100", minor=0)
    slice = Device(GPU_B, "1", "H100", minor=1, parent=GPU_B, profile="1g.10gb", instance="9")

    async def look(self) -> Look:
        held = (Holder("demo", "old", "engine"),)
        values = {"memory_used_bytes": 1.0}
        return Look(1_000_000.0, "dcgm", tuple(Reading(d, True, values, holders=held) for d in (self.gpu, self.slice)))

    async def close(self) -> None:
        pass


async def test_dcgms_word_on_holders_counts_where_the_kubelets_cannot() -> None:
    kubelet = _Kubelet(phi=[GPU_A])
    exporter = Exporter(_Dcgm(), kubelet, interval=5, clock=Clock())
    await exporter.look()
    assert samples(exporter.page(), PREFIX + "memory_used_bytes") == {(GPU_A, "phi"): 1, (GPU_B, "old"): 1}
    kubelet.pods = {}
    await exporter.look()
    assert samples(exporter.page(), PREFIX + "memory_used_bytes") == {(GPU_A, ""): 1, (GPU_B, "old"): 1}
    kubelet.silent = "away"
    await exporter.look()
    assert samples(exporter.page(), PREFIX + "memory_used_bytes") == {(GPU_A, "old"): 1, (GPU_B, "old"): 1}


async def test_it_serves_page_and_problems(hardware: Hardware) -> None:
    kubelet = _Kubelet()
    kubelet.silent = "away"
    exporter = _exporter(Clock(), kubelet)
    await exporter.look()
    async with serve(exporter, 0) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/metrics") as answer:
            families = {family.name for family in text_string_to_metric_families(await answer.text())}
        async with session.get("/healthz") as answer:
            body = await answer.json()
            assert answer.status == 200
    assert PREFIX + "power_watts" in families
    assert body == {"status": "degraded", "problems": ["which pod holds which GPU is not known: away"]}


# --- the program itself -----------------------------------------------------------------------------------------------


def _program(*arguments: str, library: Path | None, state: Path) -> subprocess.Popen[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(agentfleet.__file__).parent.parent),
        "FAKE_NVML": str(state),
        "NODE_NAME": "node-1",
    }
    if library is not None:
        environment["LD_LIBRARY_PATH"] = str(library.parent)
    command = [sys.executable, "-m", "agentfleet", "gpu-exporter", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_once_prints_the_page(nvml_library: Path, hardware: Hardware, tmp_path: Path) -> None:
    program = _program("--once", f"--pod-resources={tmp_path / 'x'}", library=nvml_library, state=hardware.path)
    page, log = program.communicate(timeout=30)
    assert program.returncode == 0
    assert samples(page, PREFIX + "utilization_percent") == {(GPU_A, ""): 37, (GPU_B, ""): 37}
    assert "there is no socket" in log


def test_once_without_a_driver_says_so_and_ends_well(hardware: Hardware) -> None:
    program = _program("--once", library=None, state=hardware.path)
    page, log = program.communicate(timeout=30)
    assert program.returncode == 0
    assert samples(page, PREFIX + "exporter_up") == {("node-1", "nvml"): 0}
    assert samples(page, PREFIX + "errors_total") != {}
    assert "libnvidia-ml.so.1 is not in the container" in log


def test_once_loads_neither_server_nor_grpc() -> None:
    code = (
        "import sys; from agentfleet.gpu.main import main\n"
        "main(['--once', '--pod-resources=/nowhere', '--log-level=ERROR'])\n"
        "print(sorted({'aiohttp', 'grpclib', 'google.protobuf', 'pydantic', 'httpx'} & set(sys.modules)))"
    )
    folder = Path(agentfleet.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


async def test_the_program_serves_until_it_is_told_to_end(
    nvml_library: Path, hardware: Hardware, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with kubelet_at(tmp_path / "kubelet.sock") as kubelet:
        kubelet.devices = {("demo", "phi-0", "engine"): {"nvidia.com/gpu": [GPU_B]}}
        program = _program(
            *(f"--port={unused_tcp_port}", "--interval=1s", f"--pod-resources={tmp_path / 'kubelet.sock'}"),
            library=nvml_library,
            state=hardware.path,
        )
        try:
            page = await _page(unused_tcp_port)
        finally:
            program.send_signal(signal.SIGTERM)
            _, log = await asyncio.to_thread(program.communicate, timeout=30)
    assert samples(page, PREFIX + "utilization_percent") == {(GPU_A, ""): 37, (GPU_B, "phi-0"): 37}
    assert (program.returncode, log) == (0, "")


async def _page(port: int) -> str:
    """The first page with a look on it."""
    deadline = time.monotonic() + 20
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    page = await answer.text()
                if PREFIX + "up{" in page:
                    return page
            except aiohttp.ClientConnectionError as error:
                if time.monotonic() > deadline:
                    raise AssertionError("no page within 20 s") from error
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--interval=5"], "'5' is not a duration"),
        (["--interval=1h"], "1h is not between 1s and 5m"),
        (["--dcgm-url=10.0.0.7:9400"], "is no http or https URL"),
        (["--port=x"], "invalid int value"),
    ],
)
def test_options_that_cannot_be_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_empty_dcgm_url_is_none() -> None:
    assert parse(["--dcgm-url="]).dcgm_url == ""
