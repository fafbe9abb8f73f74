"""CPU time of those who take part in a measurement, and of those who only share the machine with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from e2e.bench.control_plane import ControlPlane
from e2e.bench.process import Process

_TICK = os.sysconf("SC_CLK_TCK")


class Meter:
    """Reads from its making until ``stop``."""

    def __init__(self, plane: ControlPlane, operator: Process | None) -> None:
        """Without an operator this very process is the writer."""
        self._plane = plane
        self._operator = operator
        self._before = self._read()
        self.writer_cpu = 0.0
        """CPU seconds of the operator, or of the bare client."""
        self.plane_cpu = 0.0
        """CPU seconds of the control plane."""
        self.other_load = 0.0
        """Percentage of the machine that went to others: figures of a busy machine say little."""

    def stop(self) -> None:
        """Take the reading."""
        spent = [now - before for before, now in zip(self._before, self._read(), strict=True)]
        operator, ours, self.plane_cpu, busy, total = spent
        self.writer_cpu = operator if self._operator else ours
        self.other_load = 100 * max(0.0, busy - operator - ours - self.plane_cpu) / max(total, 1 / _TICK)

    def _read(self) -> tuple[float, ...]:
        operator = self._operator.cpu_seconds if self._operator else 0.0
        return (operator, time.process_time(), self._plane.cpu_seconds, *machine_seconds())


def machine_seconds() -> tuple[float, float]:
    """Seconds that all CPUs together were busy since boot, and seconds that there were."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()
    times = [int(field) / _TICK for field in fields[1:9]]  # guest times behind these are in user time already
    idle = times[3] + times[4]
    return sum(times) - idle, sum(times)
