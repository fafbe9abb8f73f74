"""Reads GPUs through the driver's own library, by nvidia-ml-py. Its blocking calls stay in one thread of their own.

An error of one call costs one number, one of a GPU that GPU, one of the library the look; each is told and tried again.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pynvml

from agentfleet.gpu import names
from agentfleet.gpu.questions import ABSENT, OF_GPU, OF_MIG, Question
from agentfleet.gpu.readings import Device, Failure, Look, Reading
from agentfleet.gpu.xids import Xids

RESTART_AFTER = 60.0
"""Seconds between two starts of NVML while a GPU is lost: a start may take long, and the others are read meanwhile."""

_LOST = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED}
_STOPPED = {pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
_PASSES_WITH_A_START = _LOST | _STOPPED | {pynvml.NVML_ERROR_UNKNOWN}
_HINTS = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "libnvidia-ml.so.1 is not in the container: does the node have a driver, and is the pod's runtime class that of"
        " NVIDIA's container toolkit?"
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the driver was replaced, and the container has the old one's library",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "is the kernel module nvidia loaded on the node?",
    pynvml.NVML_ERROR_NO_PERMISSION: "the container may not open /dev/nvidiactl",
}
_NEEDS_NEW_CONTAINER = {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}
_ABSENT_OF_MIG = ABSENT | {pynvml.NVML_ERROR_INVALID_ARGUMENT}
"""Some drivers take a MIG device for no argument at all of calls that are for whole GPUs."""
_PROFILE = re.compile(r"\bMIG (\S+)$")


class NvmlSource:
    """Looks at all GPUs of the node."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._nvml = _Nvml(clock)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nvml")

    async def look(self) -> Look:
        """All GPUs and MIG devices now."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._nvml.look)

    async def close(self) -> None:
        """Let go of the driver."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._nvml.stop)
        self._thread.shutdown(wait=False)


@dataclass(slots=True)
class _Notes:
    """What goes wrong during one look."""

    problems: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    restart: bool = False

    def failed(self, call: str, error: pynvml.NVMLError, what: str) -> None:
        self.failures.append(Failure(call, str(error)))
        self.problems.append(f"{what}: {call}: {error}")
        self.restart |= error.value in _PASSES_WITH_A_START


class _Nvml:
    """NVML's state in this process, and the GPUs that have been seen."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_at: float | None = None
        self._driver = ""
        self._known: dict[str, Device] = {}
        self._xids = Xids()

    def look(self) -> Look:
        """Start NVML where it is not running, and read everything."""
        notes = _Notes()
        now = self._clock()
        call = "nvmlInit"
        try:
            started_at = self._start(now)
            call = "nvmlDeviceGetCount"
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.stop()
            return self._blind(now, call, error)
        self._xids.drain(notes.failures)
        seen = [reading for index in range(count) for reading in self._gpu(index, notes)]
        readings = (*seen, *self._vanished(seen, notes))
        if notes.restart and now - started_at >= RESTART_AFTER:
            self.stop()  # the next look then sees a GPU that was reset, and the driver's new list
        return Look(
            now,
            "nvml",
            readings,
            tuple(notes.problems),
            tuple(notes.failures),
            driver=self._driver,
            xids=self._xids.counted,
        )

    def stop(self) -> None:
        """Shut NVML down; the next look starts it anew."""
        if self._started_at is None:
            return
        self._started_at = None
        self._xids.close()
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            if error.value not in _PASSES_WITH_A_START:
                raise

    def _start(self, now: float) -> float:
        if self._started_at is None:
            pynvml.nvmlInit()
            self._started_at = now
            self._driver = pynvml.nvmlSystemGetDriverVersion()
        return self._started_at

    def _blind(self, now: float, call: str, error: pynvml.NVMLError) -> Look:
        """What a look gives that could not read anything: the GPUs that there were, down."""
        hint = _HINTS.get(error.value)
        return Look(
            now,
            "nvml",
            tuple(Reading(device, up=False) for device in self._known.values()),
            (f"{call}: {error}".rstrip(".") + (f"; {hint}" if hint else ""),),
            (Failure(call, str(error)),),
            answered=False,
            needs_new_container=error.value in _NEEDS_NEW_CONTAINER,
            xids=self._xids.counted,
        )

    def _gpu(self, index: int, notes: _Notes) -> Iterator[Reading]:
        """A GPU, then its MIG devices."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            device = _identity(handle, index)
        except pynvml.NVMLError as error:
            device = self._last_at(index)
            notes.failed("nvmlDeviceGetHandleByIndex", error, _name(device))
            yield Reading(device, up=False)
            return
        self._known[device.uuid] = device
        self._xids.watch(handle, device.uuid, notes.failures)
        reading = _read(device, handle, OF_GPU, notes)
        last = self._xids.last(device.uuid)
        if reading.up and last is not None:
            reading = replace(reading, values={**reading.values, names.LAST_XID: last})
        yield reading
        if reading.up:
            yield from _mig_devices(device, handle, notes)

    def _last_at(self, index: int) -> Device:
        """The GPU that had this index when it last answered."""
        known = (device for device in self._known.values() if device.gpu == str(index))
        return next(known, Device("", str(index), ""))

    def _vanished(self, seen: Sequence[Reading], notes: _Notes) -> Iterator[Reading]:
        """GPUs that the driver lists no longer: they fell off the bus before NVML was started anew."""
        listed = {reading.device.uuid for reading in seen}
        for device in self._known.values():
            if device.uuid not in listed:
                notes.problems.append(f"{_name(device)}: the driver does not list it any more")
                notes.restart = True
                yield Reading(device, up=False)


def _name(device: Device) -> str:
    return f"GPU {device.gpu} {device.uuid}".rstrip()


def _identity(handle: Any, index: int) -> Device:
    uuid, model = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    try:
        minor = pynvml.nvmlDeviceGetMinorNumber(handle)
    except pynvml.NVMLError as error:
        if error.value not in ABSENT:
            raise
        minor = None
    return Device(uuid, str(index), model, minor)


def _mig_devices(gpu: Device, handle: Any, notes: _Notes) -> Iterator[Reading]:
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
        most = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle) if current == pynvml.NVML_DEVICE_MIG_ENABLE else 0
    except pynvml.NVMLError as error:
        if error.value not in ABSENT:
            notes.failed("nvmlDeviceGetMigMode", error, _name(gpu))
        return
    for index in range(most):
        try:
            mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            name, uuid = pynvml.nvmlDeviceGetName(mig), pynvml.nvmlDeviceGetUUID(mig)
            instance = str(pynvml.nvmlDeviceGetGpuInstanceId(mig))
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_NOT_FOUND:  # a place without a device
                notes.failed("nvmlDeviceGetMigDeviceHandleByIndex", error, _name(gpu))
            continue
        found = _PROFILE.search(name)
        profile = found[1] if found else "unknown"
        device = replace(gpu, uuid=uuid, parent=gpu.uuid, profile=profile, instance=instance)
        yield _read(device, mig, OF_MIG, notes, _ABSENT_OF_MIG)


def _read(
    device: Device, handle: Any, questions: Sequence[Question], notes: _Notes, absent: Set[int] = ABSENT
) -> Reading:
    values: dict[str, float] = {}
    unsupported: list[str] = []
    for question in questions:
        try:
            values |= question.ask(handle)
        except pynvml.NVMLError as error:
            if error.value in absent:
                unsupported.append(question.measure)
                continue
            notes.failed(question.call, error, _name(device))
            if error.value in _LOST | _STOPPED:
                return Reading(device, up=False)
    return Reading(device, True, values, tuple(unsupported))
