"""Keeps what budgets have been used up: every minute it asks the gateways of routes that have budgets, and writes what
is new into the route's ConfigMap, which gateways begin with after a restart.

Beside reconcile, not in it: numbers change every minute, and an AgentRoute whose spec has become invalid is still
served by its former gateway, which goes on counting. What the numbers mean is said in planning/spent.py.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol

from agentfleet.errors import AgentfleetError
from agentfleet.monitor.demand import sources_of
from agentfleet.objects import Key
from agentfleet.planning import spent
from agentfleet.reconcilers.base import Children, Surroundings

logger = logging.getLogger(__name__)

_INTERVAL = 60.0
"""Seconds between looks: what a gateway has counted since is lost with its pod."""


class Pages(Protocol):
    """What is asked of the Scraper."""

    async def pages(self, addresses: Sequence[str], path: str) -> Mapping[str, str]:
        """host:port → its page, of those that answer."""


class Spending:
    """`run` for as long as the process leads."""

    def __init__(self, around: Surroundings, gateways: Pages) -> None:
        self._around = around
        self._gateways = gateways
        self._children = Children(around)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_INTERVAL)

    async def look(self) -> None:
        """Look once at every route with budgets."""
        gateways = {key: sorted(sources_of(self._around.cache.children(key, "Pod"))) for key in self._with_budgets()}
        pages = await self._gateways.pages(list(chain.from_iterable(gateways.values())), "/budgets")
        for key, addresses in gateways.items():
            await self._keep(key, [pages[address] for address in addresses if address in pages])

    def _with_budgets(self) -> Iterator[Key]:
        for key in self._around.cache.keys("AgentRoute"):
            route = self._around.cache.get(key)
            if route is not None and route["spec"].get("budgets"):
                yield key

    async def _keep(self, key: Key, answers: Sequence[str]) -> None:
        route = self._around.cache.get(key)
        if route is None or not answers:
            return
        kept = self._around.cache.get(Key("ConfigMap", key.namespace, spent.name_of(key.name)))
        before = kept.get("data", {}).get(spent.USED_FILE) if kept else None
        counts = spent.merged(map(spent.read, (before, *answers)), self._around.now())
        if kept is None and not counts:
            return
        kept_counts = spent.fitting(counts)
        if lost := sum(map(len, counts.values())) - sum(map(len, kept_counts.values())):
            message = "%d counters of budgets, the least used, are more than a ConfigMap holds: a restart forgets them"
            logger.warning(message, lost, extra={"key": str(key)})
        try:
            await self._children.applier.apply(spent.config_map(route, spent.write(kept_counts)))
        except AgentfleetError as error:
            logger.warning("what was used of budgets is not kept: %s", error, extra={"key": str(key)})
