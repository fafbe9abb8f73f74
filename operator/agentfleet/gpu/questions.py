"""What NVML is asked about one device: call → measures. Every question may fail on its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pynvml

from agentfleet.gpu import names

ABSENT = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,  # the driver is older than the call
    }
)
"""Errors that say that a device or driver does not have a thing."""

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Question:
    """One call of NVML."""

    call: str
    measure: str
    """What is said to be unsupported where the call is."""
    ask: Callable[[Any], Values]
    """Values of a handle, or NVMLError."""


def _one(call: str, measure: str, ask: Callable[..., float], *arguments: int, factor: float = 1.0) -> Question:
    return Question(call, measure, lambda handle: {measure: ask(handle, *arguments) * factor})


def _utilization(handle: Any) -> Values:
    rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return {names.UTILIZATION: rates.gpu, "memory_utilization_percent": rates.memory}


def _memory(handle: Any) -> Values:
    """Version 2 tells the driver's own share apart, as nvidia-smi and DCGM do; older drivers have version 1 only."""
    try:
        info = pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2)
    except pynvml.NVMLError as error:
        if error.value not in ABSENT:
            raise
        info = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return {names.MEMORY_USED: info.used, names.MEMORY_TOTAL: info.total}
    return {names.MEMORY_USED: info.used, names.MEMORY_TOTAL: info.total, "memory_reserved_bytes": info.reserved}


def _processes(handle: Any) -> Values:
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    used = [process.usedGpuMemory for process in processes]
    known = {"process_memory_bytes": float(sum(used))} if None not in used else {}
    return {"processes": float(len(processes))} | known


def _ecc(kind: str, error_type: int) -> Question:
    ask, measure = pynvml.nvmlDeviceGetTotalEccErrors, f"ecc_{kind}_errors"
    return _one("nvmlDeviceGetTotalEccErrors", measure, ask, error_type, pynvml.NVML_VOLATILE_ECC)


def _hertz(kind: str, clock: int) -> Question:
    return _one("nvmlDeviceGetClockInfo", f"{kind}_clock_hertz", pynvml.nvmlDeviceGetClockInfo, clock, factor=1e6)


def _milli(call: str, measure: str) -> Question:
    return _one(call, measure, getattr(pynvml, call), factor=1e-3)


OF_MIG = (
    Question("nvmlDeviceGetUtilizationRates", names.UTILIZATION, _utilization),
    Question("nvmlDeviceGetMemoryInfo", names.MEMORY_USED, _memory),
    Question("nvmlDeviceGetComputeRunningProcesses", "processes", _processes),
)
"""What a MIG device is asked; the rest belongs to its GPU."""

OF_GPU = (
    *OF_MIG,
    _milli("nvmlDeviceGetPowerUsage", "power_watts"),
    _milli("nvmlDeviceGetEnforcedPowerLimit", "power_limit_watts"),
    _milli("nvmlDeviceGetTotalEnergyConsumption", "energy_joules"),
    _one(
        "nvmlDeviceGetTemperature",
        "temperature_celsius",
        pynvml.nvmlDeviceGetTemperature,
        pynvml.NVML_TEMPERATURE_GPU,
    ),
    _hertz("sm", pynvml.NVML_CLOCK_SM),
    _hertz("memory", pynvml.NVML_CLOCK_MEM),
    _ecc("corrected", pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
    _ecc("uncorrected", pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
)
