"""nvml.py on a library that fails as the driver does: everything is told, nothing ends, all of it passes."""

import pytest

from agentfleet.gpu.nvml import RESTART_AFTER, NvmlSource
from agentfleet.gpu.readings import Look, Reading
from e2e import nvml
from tests.gpu.conftest import GPU_A, GPU_B, MIG_A, Clock, Hardware, mig

LOST, NOT_LOADED, MISMATCH, NOT_SUPPORTED, NO_FUNCTION, UNKNOWN = 15, 9, 18, 3, 13, 999
INVALID_ARGUMENT = 2


def _of(look: Look, uuid: str) -> Reading:
    return next(reading for reading in look.readings if reading.device.uuid == uuid)


async def test_a_busy_gpu(hardware: Hardware) -> None:
    look = await NvmlSource(Clock()).look()
    assert (look.answered, look.problems, look.driver) == (True, (), "570.124.06")
    reading = _of(look, GPU_A)
    assert (reading.device.gpu, reading.device.model, reading.device.minor) == ("0", "NVIDIA H100 80GB HBM3", 0)
    assert reading.values == {
        "utilization_percent": 37,
        "memory_utilization_percent": 12,
        "memory_used_bytes": 60 * nvml.GIB,
        "memory_total_bytes": 80 * nvml.GIB,
        "memory_reserved_bytes": nvml.GIB // 2,
        "power_watts": 312.5,
        "power_limit_watts": 700,
        "energy_joules": 9000,
        "temperature_celsius": 54,
        "sm_clock_hertz": 1.98e9,
        "memory_clock_hertz": 2.619e9,
        "ecc_corrected_errors": 2,
        "ecc_uncorrected_errors": 0,
        "processes": 1,
        "process_memory_bytes": 59 * nvml.GIB,
        "last_xid": 0,
    }


async def test_an_older_driver_counts_its_own_share_as_used(hardware: Hardware) -> None:
    hardware.change(error__nvmlDeviceGetMemoryInfo_v2=NO_FUNCTION)
    values = _of(await NvmlSource(Clock()).look(), GPU_A).values
    assert values["memory_used_bytes"] == 60 * nvml.GIB + nvml.GIB // 2
    assert "memory_reserved_bytes" not in values


async def test_memory_of_a_process_may_be_unknown(hardware: Hardware) -> None:
    hardware.change(**{"0.processes": f"1:{nvml.GIB},2:-"})
    values = _of(await NvmlSource(Clock()).look(), GPU_A).values
    assert values["processes"] == 2
    assert "process_memory_bytes" not in values


@pytest.mark.parametrize(
    ("gone", "call", "measure"),
    [
        ("0.utilization", "nvmlDeviceGetUtilizationRates", "utilization_percent"),
        ("0.power", "nvmlDeviceGetPowerUsage", "power_watts"),
        ("0.temperature", "nvmlDeviceGetTemperature", "temperature_celsius"),
        ("0.clock.sm", "nvmlDeviceGetClockInfo", "sm_clock_hertz"),
        ("0.ecc.corrected", "nvmlDeviceGetTotalEccErrors", "ecc_corrected_errors"),
    ],
)
async def test_what_a_gpu_does_not_have_is_no_failure(hardware: Hardware, gone: str, call: str, measure: str) -> None:
    hardware.change(**{gone: None})
    look = await NvmlSource(Clock()).look()
    reading = _of(look, GPU_A)
    assert reading.up
    assert measure not in reading.values
    assert measure in reading.unsupported
    assert (look.problems, look.failures) == ((), ())

    hardware.change(**{f"error.0.{call}": UNKNOWN})
    look = await NvmlSource(Clock()).look()
    reading = _of(look, GPU_A)
    assert reading.up
    assert measure not in reading.values
    assert measure not in reading.unsupported
    assert call in {failure.call for failure in look.failures}
    assert measure in _of(look, GPU_B).values


async def test_mig_devices_have_memory_and_no_utilization(hardware: Hardware) -> None:
    hardware.set(nvml.node(nvml.gpu(0, GPU_A, utilization=None, mig=7), nvml.gpu(1, GPU_B)), mig(0, 3))
    look = await NvmlSource(Clock()).look()
    assert look.problems == ()
    assert [reading.device.uuid for reading in look.readings] == [GPU_A, MIG_A, GPU_B]
    reading = _of(look, MIG_A)
    device = reading.device
    assert (device.parent, device.gpu, device.profile, device.instance) == (GPU_A, "0", "1g.10gb", "9")
    assert reading.values["memory_used_bytes"] == 3 * nvml.GIB
    assert reading.unsupported == _of(look, GPU_A).unsupported == ("utilization_percent",)


async def test_a_call_that_takes_no_mig_device(hardware: Hardware) -> None:
    hardware.set(nvml.node(nvml.gpu(0, GPU_A, mig=7)), mig(0, 3, utilization=50))
    hardware.change(error__0__nvmlDeviceGetUtilizationRates=INVALID_ARGUMENT)
    look = await NvmlSource(Clock()).look()
    assert _of(look, MIG_A).unsupported == ("utilization_percent",)
    assert [failure.call for failure in look.failures] == ["nvmlDeviceGetUtilizationRates"]  # of the whole GPU


async def test_a_mig_layout_that_changes_leaves_no_ghosts(hardware: Hardware) -> None:
    hardware.set(nvml.node(nvml.gpu(0, GPU_A, mig=7)), mig(0, 3))
    source = NvmlSource(Clock())
    await source.look()
    hardware.set(nvml.node(nvml.gpu(0, GPU_A)))
    look = await source.look()
    assert [reading.device.uuid for reading in look.readings] == [GPU_A]
    assert look.problems == ()


@pytest.mark.parametrize(
    ("code", "said", "container"),
    [
        (NOT_LOADED, "nvmlInit: Driver Not Loaded; is the kernel module nvidia loaded on the node?", False),
        (MISMATCH, "nvmlInit: RM has detected an NVML/RM version mismatch; the driver was replaced", True),
    ],
)
async def test_nvml_that_does_not_start_is_told_and_tried_again(
    hardware: Hardware, code: int, said: str, container: bool
) -> None:
    hardware.change(error__nvmlInit=code)
    source = NvmlSource(Clock())
    look = await source.look()
    assert (look.answered, look.readings, look.needs_new_container) == (False, (), container)
    assert look.problems[0].startswith(said)
    assert [failure.call for failure in look.failures] == ["nvmlInit"]

    hardware.change(error__nvmlInit=None)
    look = await source.look()
    assert (look.answered, look.problems, len(look.readings)) == (True, (), 2)


async def test_a_driver_that_is_unloaded_takes_all_gpus_down_until_it_is_back(hardware: Hardware) -> None:
    source = NvmlSource(Clock())
    await source.look()
    hardware.change(error__nvmlDeviceGetCount=NOT_LOADED, error__nvmlInit=NOT_LOADED)
    for _ in range(2):
        look = await source.look()
        assert not look.answered
        assert {reading.device.uuid: reading.up for reading in look.readings} == {GPU_A: False, GPU_B: False}
    hardware.change(error__nvmlDeviceGetCount=None, error__nvmlInit=None)
    assert all(reading.up for reading in (await source.look()).readings)


async def test_a_gpu_that_falls_off_the_bus(hardware: Hardware) -> None:
    clock = Clock()
    source = NvmlSource(clock)
    await source.look()
    hardware.change(**{"error.1.nvmlDeviceGetUtilizationRates": LOST, "1.xids": "79"})
    look = await source.look()
    lost = _of(look, GPU_B)
    assert (lost.up, lost.values, look.answered) == (False, {}, True)
    assert f"GPU 1 {GPU_B}: nvmlDeviceGetUtilizationRates: GPU is lost" in look.problems
    assert _of(look, GPU_A).up
    assert look.xids == {(GPU_B, 79): 1}

    # It answers no question at all from now on, and is still known by its name.
    hardware.change(**{"error.1.nvmlDeviceGetHandleByIndex": LOST})
    assert _of(await source.look(), GPU_B).up is False

    # NVML is started anew; the driver lists what is left.
    clock.now += RESTART_AFTER
    await source.look()
    hardware.change(gpus=1)
    look = await source.look()
    assert _of(look, GPU_B).up is False
    assert f"GPU 1 {GPU_B}: the driver does not list it any more" in look.problems
    assert _of(look, GPU_A).up

    # After a reset it is back.
    hardware.set(nvml.node(nvml.gpu(0, GPU_A), nvml.gpu(1, GPU_B)))
    look = await source.look()
    assert (_of(look, GPU_B).up, look.problems) == (True, ())


async def test_a_lost_gpu_does_not_make_nvml_start_at_every_look(hardware: Hardware) -> None:
    clock = Clock()
    source = NvmlSource(clock)
    hardware.change(**{"error.1.nvmlDeviceGetHandleByIndex": LOST})
    for _ in range(3):
        await source.look()
        clock.now += 5
    # A start would fail now; GPU 0 is read all the same.
    hardware.change(error__nvmlInit=NOT_LOADED)
    assert _of(await source.look(), GPU_A).up


async def test_a_gpu_lost_before_it_was_ever_seen(hardware: Hardware) -> None:
    hardware.change(**{"error.1.nvmlDeviceGetHandleByIndex": LOST})
    look = await NvmlSource(Clock()).look()
    assert [(reading.device.gpu, reading.device.uuid, reading.up) for reading in look.readings] == [
        ("0", GPU_A, True),
        ("1", "", False),
    ]


async def test_xids_are_counted_once_each_and_the_last_is_kept(hardware: Hardware) -> None:
    clock = Clock()
    source = NvmlSource(clock)
    await source.look()
    hardware.change(**{"0.xids": "48,13,48"})
    look = await source.look()
    assert look.xids == {(GPU_A, 48): 2, (GPU_A, 13): 1}
    assert _of(look, GPU_A).values["last_xid"] == 48
    assert _of(look, GPU_B).values["last_xid"] == 0
    assert (await source.look()).xids == look.xids


async def test_where_xids_cannot_be_watched_there_is_no_number(hardware: Hardware) -> None:
    hardware.change(error__nvmlDeviceRegisterEvents=NOT_SUPPORTED)
    look = await NvmlSource(Clock()).look()
    assert "last_xid" not in _of(look, GPU_A).values
    assert look.problems == ()
