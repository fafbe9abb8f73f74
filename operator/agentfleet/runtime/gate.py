"""How many runs are under way at once in this process, and who waits for a place.

Counts are exact also when waiting ones are cancelled in the moment in which they get a place: a place belongs to the
block of `enter`, and whoever leaves gives it on before anything else can run. High priority goes before normal, normal
before low, first come first served inside. Spilling to other replicas is the route's, which takes a 429 for "full".
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from agentfleet.runtime.config import Concurrency
from agentfleet.runtime.strain import Strain
from agentfleet.runtime.types import Priority, RunError

_ORDER: Final[tuple[Priority, ...]] = ("high", "normal", "low")
_LONGEST_RETRY = 60
_WEIGHT = 0.2
"""Of the last run in the mean duration."""

Waiting = asyncio.Future[None]


class Gate:
    """Places of one process. Belongs to one event loop."""

    def __init__(self, limits: Concurrency, strain: Strain, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._strain = strain
        self._clock = clock
        self._queues: dict[Priority, deque[Waiting]] = {priority: deque() for priority in _ORDER}
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._mean = 1.0
        self.running = 0
        """Runs under way."""

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def enter(self, priority: Priority = "normal") -> AsyncIterator[float]:
        """A place for the time of the block; gives the seconds that were waited.

        RunError 429 where there is no room to wait or load is shed, 503 after waiting too long and while draining.
        """
        asked = self._clock()
        await self._take(priority)
        begun = self._clock()
        try:
            yield begun - asked
        finally:
            self._mean += _WEIGHT * (self._clock() - begun - self._mean)
            self._leave()

    def drain(self) -> None:
        """From now on nobody gets a place; those who wait are told at once."""
        self._draining = True
        for queue in self._queues.values():
            while queue:
                waiting = queue.popleft()
                if not waiting.done():
                    waiting.set_exception(_draining())

    async def emptied(self) -> None:
        """Return once nothing runs."""
        await self._empty.wait()

    async def _take(self, priority: Priority) -> None:
        self._refuse(priority)
        if self.running < self._limits.max:
            self._count(1)  # nobody waits: whoever leaves gives the place on
            return
        if self.waiting >= self._limits.queue:
            raise self._full("All places are taken and the queue is full.")
        waiting: Waiting = asyncio.get_running_loop().create_future()
        self._queues[priority].append(waiting)
        try:
            async with asyncio.timeout(self._limits.queue_timeout):
                await waiting
        except BaseException as error:
            self._withdraw(priority, waiting)
            if isinstance(error, TimeoutError):
                message = f"No place came free within {self._limits.queue_timeout:g} s."
                raise RunError(503, "queue_timeout", message, retry_after=self._retry_after()) from None
            raise

    def _refuse(self, priority: Priority) -> None:
        if self._draining:
            raise _draining()
        if self._strain.memory:
            raise self._full("The agent has no memory for another run.", status=503, code="out_of_memory")
        full = self.running >= self._limits.max
        if self._strain.shed and (priority == "low" or (priority == "normal" and full)):
            raise self._full("The agent is under load and takes more urgent requests only.", code="shed")

    def _withdraw(self, priority: Priority, waiting: Waiting) -> None:
        with contextlib.suppress(ValueError):
            self._queues[priority].remove(waiting)
        if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
            self._leave()  # it got a place in the moment in which it gave up

    def _leave(self) -> None:
        """Give the place to the next who waits, or back."""
        for priority in _ORDER:
            while self._queues[priority]:
                waiting = self._queues[priority].popleft()
                if not waiting.done():
                    waiting.set_result(None)  # the place is handed on: `running` stays
                    return
        self._count(-1)

    def _count(self, change: int) -> None:
        self.running += change
        if self.running:
            self._empty.clear()
        else:
            self._empty.set()

    def _full(self, message: str, *, status: int = 429, code: str = "queue_full") -> RunError:
        return RunError(status, code, message, retry_after=self._retry_after())

    def _retry_after(self) -> int:
        """Seconds in which about as many places come free as there are ones that wait, and one more."""
        seconds = self._mean * (self.waiting + 1) / self._limits.max
        return min(_LONGEST_RETRY, max(1, math.ceil(seconds)))


def _draining() -> RunError:
    return RunError(
        503, "shutting_down", "The agent is being stopped. Try again: another replica takes it.", retry_after=1
    )
