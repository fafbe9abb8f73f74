"""Looks at this process each second: memory against its soft limit, alerts and their actions, and a line of history.

Actions work through Strain, which the gate and the calls of the model read: SmallerTier sends x-agentroute-tier to the
agent's route while its alert lasts, Shed refuses low priority first. Memory above the soft limit refuses new runs, so
that those under way are not lost to the kernel's limit.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from agentfleet.runtime.alarms import Alarms
from agentfleet.runtime.cgroup import Cgroup
from agentfleet.runtime.config import Alert, Monitoring
from agentfleet.runtime.gate import Gate
from agentfleet.runtime.history import History
from agentfleet.runtime.metrics import Metrics
from agentfleet.runtime.strain import Strain
from agentfleet.runtime.window import Window

log = logging.getLogger(__name__)

_EVERY = 1.0
_HISTORY_EVERY = 30
"""Looks between two lines of history."""
_OVER = 60.0
"""Seconds of runs that response time and error rate are of."""


@dataclass
class _Cpu:
    """Cores in use between two looks."""

    cgroup: Cgroup
    last: tuple[float, float] | None = None

    def percent(self, now: float) -> float | None:
        used, limit = self.cgroup.cpu_seconds(), self.cgroup.cpu_limit()
        if used is None or limit is None:
            return None
        before, self.last = self.last, (now, used)
        if before is None or now <= before[0]:
            return None
        return 100 * (used - before[1]) / (now - before[0]) / limit


class Monitor:
    """One loop for the life of the process."""

    def __init__(
        self,
        settings: Monitoring,
        strain: Strain,
        gate: Gate,
        window: Window,
        metrics: Metrics,
        history: History,
        clock: Callable[[], float],
        cgroup: Cgroup,
    ) -> None:
        self._settings = settings
        self._strain = strain
        self._gate = gate
        self._window = window
        self._metrics = metrics
        self._history = history
        self._clock = clock
        self._cgroup = cgroup
        self._cpu = _Cpu(self._cgroup)
        self._alarms = Alarms(settings.alerts)
        for alert in settings.alerts:
            metrics.alert(alert.metric, alert.action or "", lasts=False)

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """Those that last."""
        return self._alarms.lasting()

    async def run(self) -> None:
        """Until cancelled."""
        looks = 0
        while True:
            values = self.look()
            if looks % _HISTORY_EVERY == 0:
                await asyncio.to_thread(self._history.add, self._line(values))
            looks += 1
            await asyncio.sleep(_EVERY)

    def look(self) -> dict[str, float | None]:
        """Read everything once, and act on it."""
        now = self._clock()
        values: dict[str, float | None] = {
            "ResponseTime": self._window.p95(_OVER),
            "ErrorRate": self._window.error_percent(_OVER),
            "Memory": self._cgroup.memory_percent(),
            "CPU": self._cpu.percent(now),
            "QueueDepth": self._gate.waiting,
        }
        self._look_at_memory(values["Memory"])
        for alert, begins in self._alarms.update(values, now):
            said = "an alert begins" if begins else "an alert ends"
            log.warning("%s: %s against %g", said, alert.metric, alert.threshold, extra={"reason": alert.action})
            self._metrics.alert(alert.metric, alert.action or "", lasts=begins)
        self._strain.shed = self._alarms.lasts("Shed")
        self._strain.smaller_tier = self._alarms.lasts("SmallerTier")
        return values

    def _look_at_memory(self, percent: float | None) -> None:
        full = percent is not None and percent >= self._settings.memory_soft_limit_percent
        if full != self._strain.memory:
            log.warning("memory is %s its soft limit: new runs are %s", *_SAID[full], extra={"reason": "memory"})
        self._strain.memory = full

    def _line(self, values: dict[str, float | None]) -> dict[str, float | int | str | None]:
        return {
            "ts": datetime.now(UTC).isoformat(timespec="seconds"),
            "runs": self._window.count(_OVER),
            "in_flight": self._gate.running,
            **{name: round(value, 3) if value is not None else None for name, value in values.items()},
        }


_SAID = {True: ("above", "refused"), False: ("below", "taken again")}
