"""Keeps budgets of the whole route up to date: asks the other gateways, tells HAProxy what is spent.

Other gateways are asked every ten seconds; HAProxy is told within a second of what this one counted itself.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import aiohttp

from agentfleet.decider.admin import AdminError, NotStarted
from agentfleet.decider.budgets import Budgets
from agentfleet.decider.ledger import Ledger
from agentfleet.decider.rotation import LoadedMap

log = logging.getLogger(__name__)

PEERS_EVERY = 10.0
SPENT_EVERY = 1.0
PEER_TIMEOUT = aiohttp.ClientTimeout(total=2)


class Spending:
    """The budgets' loop."""

    def __init__(
        self,
        ledger: Ledger,
        budgets: Budgets,
        loaded: LoadedMap,
        peers: Sequence[str],
        session: aiohttp.ClientSession,
        clock: Callable[[], datetime],
    ) -> None:
        """`peers` are addresses of the other gateways' pages, such as http://10.0.0.7:8091."""
        self._ledger = ledger
        self._budgets = budgets
        self._map = loaded
        self._peers = tuple(peers)
        self._session = session
        self._clock = clock
        self._failing: set[str] = set()
        self.unreachable = 0
        """Peers that did not answer when they were last asked."""

    def start_from(self, file: Path) -> None:
        """Takes over what the operator has kept, where it has kept something already."""
        read_kept(self._ledger, file, self._clock())

    async def ask_peers(self) -> None:
        """Takes over what the other gateways have counted; one that does not answer is left as it was last known."""
        failed = await asyncio.gather(*(self._ask(peer) for peer in self._peers))
        self.unreachable = sum(failed)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_for_ever())
            group.create_task(self._tell_for_ever())

    async def tell(self) -> None:
        """Hands HAProxy what is spent now."""
        self._ledger.forget(self._clock())
        try:
            await self._map.set(self._budgets.spent())
        except NotStarted:
            return
        except (OSError, AdminError) as error:
            self._said("HAProxy", f"spent budgets could not be handed to HAProxy: {error}")
        else:
            self._failing.discard("HAProxy")

    async def _ask_for_ever(self) -> None:
        while True:
            await asyncio.sleep(PEERS_EVERY)
            await self.ask_peers()

    async def _tell_for_ever(self) -> None:
        while True:
            await self.tell()
            await asyncio.sleep(SPENT_EVERY)

    async def _ask(self, peer: str) -> bool:
        """True where it failed."""
        try:
            async with self._session.get(f"{peer}/budgets", timeout=PEER_TIMEOUT) as answer:
                answer.raise_for_status()
                self._ledger.merge(await answer.text(), self._clock())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._said(peer, f"used budgets of the gateway at {peer} are not known: {error or type(error).__name__}")
            return True
        self._failing.discard(peer)
        return False

    def _said(self, who: str, message: str) -> None:
        """Says it once, until it has worked again."""
        if who not in self._failing:
            log.warning("%s", message)
        self._failing.add(who)


def read_kept(ledger: Ledger, file: Path, now: datetime) -> None:
    """What the operator has kept of used budgets; a file that cannot be read is said and left."""
    if not file.is_file():
        return
    try:
        ledger.merge(file.read_text(encoding="utf-8"), now)
    except (OSError, ValueError) as error:
        log.error("used budgets begin at zero: %s cannot be read: %s", file, error)
