"""XID errors as the driver reports them, by an event set of NVML. Called from NVML's thread alone."""

import ctypes
from collections import Counter
from typing import Any

import pynvml

from agentfleet.gpu.readings import Failure

_MOST = 64
"""Events taken in one look: a GPU that reports without end must not keep the others from being read."""


class Xids:
    """What was reported since the process began. It outlives restarts of NVML; the event set does not."""

    def __init__(self) -> None:
        self._events: Any = None
        self._uuids: dict[int, str] = {}
        self._refused: set[str] = set()
        self._last: dict[str, int] = {}
        self._counted: Counter[tuple[str, int]] = Counter()

    def watch(self, handle: Any, uuid: str, failures: list[Failure]) -> None:
        """From now on take what is reported of a GPU, where the driver lets us."""
        if uuid in self._uuids.values() or uuid in self._refused:
            return
        try:
            if self._events is None:
                self._events = pynvml.nvmlEventSetCreate()
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)
        except pynvml.NVMLError as error:
            self._refused.add(uuid)
            if error.value != pynvml.NVML_ERROR_NOT_SUPPORTED:
                failures.append(Failure("nvmlDeviceRegisterEvents", str(error)))
            return
        self._uuids[_address(handle)] = uuid

    def last(self, uuid: str) -> int | None:
        """The last XID of a GPU, 0 where there was none, None where it is not watched."""
        return self._last.get(uuid, 0) if uuid in self._uuids.values() else None

    @property
    def counted(self) -> dict[tuple[str, int], int]:
        """(UUID, XID) → how many."""
        return dict(self._counted)

    def drain(self, failures: list[Failure]) -> None:
        """Take what has been reported since the last look; waits for nothing."""
        if self._events is None:
            return
        for _ in range(_MOST):
            try:
                event = pynvml.nvmlEventSetWait(self._events, 0)
            except pynvml.NVMLError as error:
                if error.value != pynvml.NVML_ERROR_TIMEOUT:
                    failures.append(Failure("nvmlEventSetWait", str(error)))
                return
            if event.eventType == pynvml.nvmlEventTypeXidCriticalError:
                uuid = self._uuids.get(_address(event.device), "")
                self._last[uuid] = int(event.eventData)
                self._counted[uuid, int(event.eventData)] += 1

    def close(self) -> None:
        """Forget the event set: NVML is about to be shut down, which frees it."""
        self._events = None
        self._uuids.clear()
        self._refused.clear()


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
