"""Turns of one session in this process, one after the other: who waits for a turn takes no place that others need.

runs.py asks it before the gate. Over replicas the session's own lock (sessions.py) does the same, inside a place.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agentfleet.runtime.types import RunError, Task

_MOST = 2
"""One runs, and one waits for it."""


class Turns:
    """Who is at it, by caller and session."""

    def __init__(self, wait: float) -> None:
        """`wait` is how long a turn waits for the one before it, in seconds."""
        self._wait = wait
        self._under_way: dict[tuple[str, str], list[asyncio.Event]] = {}

    @asynccontextmanager
    async def one(self, task: Task) -> AsyncIterator[None]:
        """For the time of a turn; RunError 409 where enough wait, or where it takes too long."""
        if task.session is None:
            yield
            return
        key = (task.caller.subject, task.session)
        turns = self._under_way.setdefault(key, [])
        if len(turns) >= _MOST:
            raise _busy()
        before, ended = [*turns], asyncio.Event()
        turns.append(ended)
        try:
            await self._after(before)
            yield
        finally:
            ended.set()
            turns.remove(ended)
            if not turns:
                del self._under_way[key]

    async def _after(self, turns: list[asyncio.Event]) -> None:
        try:
            async with asyncio.timeout(self._wait):
                for turn in turns:
                    await turn.wait()
        except TimeoutError:
            raise _busy() from None


def _busy() -> RunError:
    return RunError(409, "session_busy", "Another turn of this session is still running.", retry_after=1)
