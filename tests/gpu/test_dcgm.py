"""dcgm.py against pages as DCGM exporter writes them, over real HTTP."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from agentfleet.gpu.dcgm import DcgmSource, translate
from agentfleet.gpu.readings import Holder, Look
from agentfleet.gpu.sources import FirstThatAnswers
from tests.gpu.conftest import GPU_A, GPU_B, Clock

MIB = 1 << 20


def _line(name: str, value: object, uuid: str = GPU_A, **labels: str) -> str:
    gpu = "0" if uuid == GPU_A else "1"
    usual = {"gpu": gpu, "UUID": uuid, "pci_bus_id": "00000000:41:00.0", "device": f"nvidia{gpu}"}
    usual |= {"modelName": "NVIDIA H100 80GB HBM3", "Hostname": "node-1", **labels}
    text = ",".join(f'{key}="{value}"' for key, value in usual.items())
    return f"{name}{{{text}}} {value}\n"


HELD = {"container": "engine", "namespace": "demo", "pod": "phi-0"}
PAGE = """\
# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
""" + "".join(
    _line(name, value, **HELD)
    for name, value in {
        "DCGM_FI_DEV_GPU_UTIL": 93,
        "DCGM_FI_DEV_MEM_COPY_UTIL": 40,
        "DCGM_FI_DEV_FB_USED": 60_000,
        "DCGM_FI_DEV_FB_FREE": 21_000,
        "DCGM_FI_DEV_FB_RESERVED": 559,
        "DCGM_FI_DEV_POWER_USAGE": 312.5,
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 9_000_000,
        "DCGM_FI_DEV_GPU_TEMP": 54,
        "DCGM_FI_DEV_SM_CLOCK": 1980,
        "DCGM_FI_DEV_MEM_CLOCK": 2619,
        "DCGM_FI_DEV_XID_ERRORS": 0,
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": 2,
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": 0,
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": 0.91,
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.25,
        "DCGM_FI_PROF_DRAM_ACTIVE": 0.5,
        "DCGM_FI_PROF_PCIE_TX_BYTES": 123456,
    }.items()
)


def test_the_default_metrics_in_our_terms() -> None:
    (reading,) = translate(PAGE)
    device = reading.device
    assert (device.uuid, device.gpu, device.minor, device.model) == (GPU_A, "0", 0, "NVIDIA H100 80GB HBM3")
    assert reading.holders == (Holder("demo", "phi-0", "engine"),)
    assert reading.values == {
        "utilization_percent": 93,
        "memory_utilization_percent": 40,
        "memory_used_bytes": 60_000 * MIB,
        "memory_reserved_bytes": 559 * MIB,
        "memory_total_bytes": (60_000 + 21_000 + 559) * MIB,
        "power_watts": 312.5,
        "energy_joules": 9000,
        "temperature_celsius": 54,
        "sm_clock_hertz": 1.98e9,
        "memory_clock_hertz": 2.619e9,
        "last_xid": 0,
        "ecc_corrected_errors": 2,
        "ecc_uncorrected_errors": 0,
        "engine_active_ratio": 0.91,
        "tensor_active_ratio": 0.25,
        "dram_active_ratio": 0.5,
    }


def test_mig_devices_are_told_apart_by_their_instance() -> None:
    migs = [{"GPU_I_PROFILE": "1g.10gb", "GPU_I_ID": number} for number in ("7", "9")]
    page = "".join(_line("DCGM_FI_DEV_FB_USED", 100 + index, **mig) for index, mig in enumerate(migs))
    first, second = translate(page)
    assert (first.device.parent, first.device.profile, first.device.instance) == (GPU_A, "1g.10gb", "7")
    assert second.device.instance == "9"
    assert "utilization_percent" not in first.values
    assert [reading.values["memory_used_bytes"] for reading in (first, second)] == [100 * MIB, 101 * MIB]


def test_pods_that_share_a_gpu_and_the_labels_of_old_releases() -> None:
    old = {"container_name": "engine", "pod_namespace": "demo", "pod_name": "qwen-0"}
    page = _line("DCGM_FI_DEV_GPU_UTIL", 93, **HELD) + _line("DCGM_FI_DEV_GPU_UTIL", 93, **old)
    (reading,) = translate(page)
    assert [holder.pod for holder in reading.holders] == ["phi-0", "qwen-0"]


@pytest.mark.parametrize("blank", ["9223372036854775794", "2147483632", "140737488355328", "NaN"])
def test_what_dcgm_does_not_know_is_not_a_number(blank: str) -> None:
    (reading,) = translate(_line("DCGM_FI_DEV_GPU_UTIL", blank) + _line("DCGM_FI_DEV_GPU_TEMP", 50))
    assert reading.values == {"temperature_celsius": 50}


@asynccontextmanager
async def _serving(answer: Callable[[], web.Response]) -> AsyncIterator[str]:
    """URL of a page whose content is made for each request."""

    async def handle(_: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_get("/metrics", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: web.Response(status=503), "could not be read: ClientResponseError: 503"),
        (lambda: web.Response(text="<html>\n{"), "could not be read: ValueError"),
        (lambda: web.Response(text="up 1\n"), "has no metric DCGM_FI_"),
    ],
)
async def test_a_page_that_is_none_is_told(answer: Callable[[], web.Response], said: str) -> None:
    async with _serving(answer) as url:
        look = await DcgmSource(url, Clock()).look()
    assert (look.answered, look.readings) == (False, ())
    assert said in look.problems[0]
    assert url in look.problems[0]


async def test_a_gpu_that_dcgm_lists_no_longer() -> None:
    page = PAGE + _line("DCGM_FI_DEV_GPU_UTIL", 1, GPU_B)
    async with _serving(lambda: web.Response(text=page)) as url:
        source = DcgmSource(url, Clock())
        assert all(reading.up for reading in (await source.look()).readings)
        page = PAGE
        look = await source.look()
    assert {reading.device.uuid: reading.up for reading in look.readings} == {GPU_A: True, GPU_B: False}
    assert look.problems == (f"GPU 1 {GPU_B}: DCGM does not list it any more",)
    # The exporter is gone as a whole: no GPU is known to be up.
    look = await source.look()
    assert not look.answered
    assert not any(reading.up for reading in look.readings)


class _Driver:
    def __init__(self) -> None:
        self.closed = 0

    async def look(self) -> Look:
        return Look(1.0, "nvml", problems=("no driver",), answered=False, needs_new_container=True)

    async def close(self) -> None:
        self.closed += 1


async def test_the_driver_is_read_while_dcgm_exporter_is_away() -> None:
    status = 503
    driver = _Driver()
    async with _serving(lambda: web.Response(text=PAGE, status=status)) as url:
        source = FirstThatAnswers(DcgmSource(url, Clock()), driver)
        look = await source.look()
        assert look.source == "nvml"
        assert [problem.split(" at ")[0] for problem in look.problems] == ["DCGM exporter", "no driver"]
        assert not look.needs_new_container
        assert driver.closed == 0
        status = 200
        assert (await source.look()).source == "dcgm"
        assert driver.closed == 1
        await source.look()
        assert driver.closed == 1
