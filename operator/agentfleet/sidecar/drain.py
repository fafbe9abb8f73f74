"""Waits until an engine has answered everything: the whole of a pod's zero-loss stop.

kubelet calls GET /drain as the engine container's preStop hook and sends SIGTERM only after the answer. A pod outlives
its DNS entry: requests keep coming for as long as caches hold it. So: wait out the DNS delay, then wait for idle.

    told to go ─ DNS delay ─▶ no longer ready ─ until all know ─▶ idle ─▶ SIGTERM

Of a Service without other pods kube-proxy goes on sending new connections to the one that goes, for as long as that is
ready; and llama-server takes requests after SIGTERM that it never answers. Hence the second step.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agentfleet.sidecar.engines.base import Reading

SETTLE = 0.5
"""Seconds between two idle readings that count as idle: a request may sit between two counters for a moment."""

REFUSALS = 3
"""Refused readings in a row that count as an engine that is gone."""

Read = Callable[[], Awaitable[Reading]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DrainResult:
    """How a drain ended: `idle`, `timeout` or `engine-gone`."""

    result: str
    waited: float
    in_flight: int | None

    def as_json(self) -> dict[str, Any]:
        return {"result": self.result, "waited": round(self.waited, 3), "inFlight": self.in_flight}


class DrainWatch:
    """Judges the readings of one drain. Pure: the time of a reading is an argument."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._idle_since: float | None = None
        self._refusals = 0

    def observe(self, reading: Reading, now: float) -> str | None:
        """The result, once there is one. A reading without a number is neither idle nor busy: it proves nothing."""
        self._refusals = self._refusals + 1 if reading.refused else 0
        if self._refusals >= REFUSALS:
            return "engine-gone"
        if reading.in_flight != 0:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= SETTLE:
            return "idle"
        return "timeout" if now >= self._deadline else None


async def drain(
    read: Read,
    *,
    dns_delay: float,
    timeout: float,
    leave: Callable[[], None] | None = None,
    leave_delay: float = 0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> DrainResult:
    """Waits `dns_delay` seconds, then until idle, `timeout` seconds more at most.

    With `leave`, the pod is about to be stopped: it is called once caches have had their time, and everybody gets
    `leave_delay` seconds to learn of it, idle or not. Without, nothing changes anywhere: whoever reaches the port can
    ask, and must not be able to take the pod out of service.
    """
    started = clock()
    await sleep(dns_delay)
    if leave:
        leave()
        await sleep(leave_delay)
    watch = DrainWatch(deadline=clock() + timeout)
    while True:
        reading = await read()
        if result := watch.observe(reading, clock()):
            return DrainResult(result, clock() - started, reading.in_flight)
        await sleep(SETTLE)
