"""What the tests of sessions share."""

import asyncio
from typing import Any

from agentfleet.runtime.sessions import KeptSessions
from agentfleet.runtime.types import Caller, RunError

ANN, BOB = Caller("ann"), Caller("bob")
PASSWORD = "correct horse"


class Clock:
    """Hours pass at a word."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def settled(opened: KeptSessions) -> None:
    """Wait until its store serves: Redis may still be starting."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await opened.ready()
            except RunError:
                await asyncio.sleep(0.05)


async def said(kept: KeptSessions, caller: Caller, name: str, /, **state: Any) -> dict[str, Any]:
    """A turn that sets `state`, if there is any; what was there before."""
    async with kept.open(caller, name) as turn:
        before = dict(turn.state)
        turn.state.update(state)
        if state:
            await turn.save()
    return before
