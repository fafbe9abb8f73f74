"""The newest numbers of an engine, for an asker that cannot wait for it.

llama-server answers between two steps, and a step over long prompts takes seconds on a CPU: the busier it is, the later
it answers. The operator, which asks thousands, waits one second; it must not be blind to just those engines that need
help. So an answer that comes too late is kept for the next question, and told with its age. None is told twice: between
two looks at the same numbers an engine would seem to stand still.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from agentfleet.sidecar.engines.base import Reading, Sampler

PATIENCE = 0.7
"""Seconds that an asker waits at most."""

OLDEST = 15.0
"""Seconds after which an answer says nothing about now."""


@dataclass(frozen=True, slots=True)
class Aged:
    """A reading, and the seconds since it was made."""

    reading: Reading
    age: float


class Latest:
    """Asks through the Sampler, one question at a time."""

    def __init__(
        self, sampler: Sampler, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sampler = sampler
        self._patience = patience
        self._clock = clock
        self._asking: asyncio.Task[Reading] | None = None
        self._late: tuple[float, Reading] | None = None
        """When it came, and an answer that nobody has heard."""

    async def read(self) -> Aged:
        """What the engine says within the time, else what it said since the last question."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait({self._asking}, timeout=self._patience)
        late, self._late = self._late, None
        if done:
            return Aged(self._asking.result(), 0.0)
        if late is not None and (age := self._clock() - late[0]) <= OLDEST:
            return Aged(late[1], age)
        return Aged(Reading(None, f"no answer within {self._patience:g} s, and no new one before"), 0.0)

    async def _ask(self) -> Reading:
        reading = await self._sampler.read()
        if reading.in_flight is not None or reading.page is not None:
            self._late = (self._clock(), reading)
        return reading
