"""Keeps the model of this pod from being evicted out of a cache that other pods share (usage.py says how)."""

import asyncio
import logging

from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.usage import Lease

log = logging.getLogger(__name__)

UNTIL_HELD = 2.0
REFRESH = 60.0
"""Seconds between two marks of use: the order of eviction needs no more."""


class Holding(Companion):
    """Holds a lease on one folder for as long as the process lives; the kernel ends it with the process."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def run(self) -> None:
        """Tries until it is held, then marks the use now and then."""
        while True:
            held = await self._hold()
            await asyncio.sleep(REFRESH if held else UNTIL_HELD)

    async def _hold(self) -> bool:
        try:
            return await asyncio.to_thread(self._lease.hold)
        except OSError as error:
            log.warning("the model may be evicted while it is in use: %s", error)
            return False
