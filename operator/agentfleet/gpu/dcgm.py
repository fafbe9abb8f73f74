"""Reads DCGM exporter where it runs, and says the same in our terms. Numbers are as old as its own interval (30 s).

Field names: dcgm-exporter's default-counters.csv; units there are MiB, W, mJ, °C and MHz.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from agentfleet.gpu import names
from agentfleet.gpu.readings import Device, Failure, Holder, Look, Reading

TIMEOUT = 4.0
_MIB = 1024.0 * 1024.0
_MEASURES: Mapping[str, tuple[str, float]] = {
    "DCGM_FI_DEV_GPU_UTIL": (names.UTILIZATION, 1),
    "DCGM_FI_DEV_MEM_COPY_UTIL": ("memory_utilization_percent", 1),
    "DCGM_FI_DEV_FB_USED": (names.MEMORY_USED, _MIB),
    "DCGM_FI_DEV_FB_RESERVED": ("memory_reserved_bytes", _MIB),
    "DCGM_FI_DEV_FB_TOTAL": (names.MEMORY_TOTAL, _MIB),
    "DCGM_FI_DEV_POWER_USAGE": ("power_watts", 1),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy_joules", 1e-3),
    "DCGM_FI_DEV_GPU_TEMP": ("temperature_celsius", 1),
    "DCGM_FI_DEV_SM_CLOCK": ("sm_clock_hertz", 1e6),
    "DCGM_FI_DEV_MEM_CLOCK": ("memory_clock_hertz", 1e6),
    "DCGM_FI_DEV_XID_ERRORS": (names.LAST_XID, 1),
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": ("ecc_corrected_errors", 1),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": ("ecc_uncorrected_errors", 1),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("engine_active_ratio", 1),
    "DCGM_FI_PROF_SM_ACTIVE": ("sm_active_ratio", 1),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("tensor_active_ratio", 1),
    "DCGM_FI_PROF_DRAM_ACTIVE": ("dram_active_ratio", 1),
}
_FREE = "DCGM_FI_DEV_FB_FREE"
_BLANKS = ((0x7FFFFFF0, 0x7FFFFFFF), (0x7FFFFFFFFFFFFFF0, 0x7FFFFFFFFFFFFFFF), (140737488355328.0, 140737488355332.0))
"""What DCGM writes where it has no value: the upper ends of int32, int64 and of what it takes for double."""
_MINOR = re.compile(r"nvidia(\d+)")


class DcgmSource:
    """Looks at all GPUs of the node through its DCGM exporter."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._clock = clock
        self._known: dict[str, Device] = {}

    async def look(self) -> Look:
        """All GPUs and MIG devices, as DCGM exporter's page has them now."""
        now = self._clock()
        try:
            readings = tuple(translate(await self._page()))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            words = f"{type(error).__name__}: {error}".rstrip(": ")
            return self._blind(now, f"DCGM exporter at {self._url} could not be read: {words}", type(error).__name__)
        if not readings:
            problem = f"the page of {self._url} has no metric DCGM_FI_*: is it that of DCGM exporter?"
            return self._blind(now, problem, "no metrics")
        self._known |= {reading.device.uuid: reading.device for reading in readings if not reading.device.profile}
        lost = [device for uuid, device in self._known.items() if uuid not in {r.device.uuid for r in readings}]
        problems = tuple(f"GPU {device.gpu} {device.uuid}: DCGM does not list it any more" for device in lost)
        return Look(now, "dcgm", (*readings, *(Reading(device, up=False) for device in lost)), problems)

    async def close(self) -> None:
        """Nothing stays open between looks."""

    async def _page(self) -> str:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as response:
            response.raise_for_status()
            return await response.text()

    def _blind(self, now: float, problem: str, error: str) -> Look:
        down = tuple(Reading(device, up=False) for device in self._known.values())
        return Look(now, "dcgm", down, (problem,), (Failure("DCGM exporter", error),), answered=False)


@dataclass(slots=True)
class _Row:
    """What the page says of one device, over all its lines."""

    device: Device
    values: dict[str, float] = field(default_factory=dict)
    free: float | None = None
    holders: set[tuple[str, str, str]] = field(default_factory=set)


def translate(page: str) -> Iterator[Reading]:
    """The readings in DCGM exporter's page; ValueError where it is no page of metrics."""
    rows: dict[tuple[str, str], _Row] = {}
    for name, labels, value in _samples(page):
        device = _device(labels)
        row = rows.setdefault((device.uuid, device.instance), _Row(device))
        # The names before release 3.0 carry a prefix of their own.
        held = tuple(labels.get(new) or labels.get(old, "") for new, old in _HOLDER)
        if held[1]:
            row.holders.add((held[0], held[1], held[2]))
        if name == _FREE:
            row.free = value * _MIB
        else:
            measure, factor = _MEASURES[name]
            row.values[measure] = value * factor
    for row in rows.values():
        holders = tuple(Holder(*holder) for holder in sorted(row.holders))
        yield Reading(row.device, True, row.values | _total(row), holders=holders)


_HOLDER = (("namespace", "pod_namespace"), ("pod", "pod_name"), ("container", "container_name"))


def _samples(page: str) -> Iterable[tuple[str, Mapping[str, str], float]]:
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            blank = any(low <= sample.value <= high for low, high in _BLANKS)
            if (sample.name in _MEASURES or sample.name == _FREE) and sample.value == sample.value and not blank:
                yield sample.name, sample.labels, sample.value


def _device(labels: Mapping[str, str]) -> Device:
    minor = _MINOR.fullmatch(labels.get("device", ""))
    profile, uuid = labels.get("GPU_I_PROFILE", ""), labels.get("UUID", "")
    return Device(
        uuid=uuid,
        gpu=labels.get("gpu", ""),
        model=labels.get("modelName", ""),
        minor=int(minor[1]) if minor else None,
        parent=uuid if profile else "",
        profile=profile,
        instance=labels.get("GPU_I_ID", "") if profile else "",
    )


def _total(row: _Row) -> dict[str, float]:
    """Device memory from its parts: DCGM exporter leaves the total out unless it is asked for."""
    used = row.values.get(names.MEMORY_USED)
    if names.MEMORY_TOTAL in row.values or used is None or row.free is None:
        return {}
    return {names.MEMORY_TOTAL: used + row.free + row.values.get("memory_reserved_bytes", 0.0)}
