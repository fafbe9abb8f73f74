"""Sees that public keys of tokens have changed: gateways read them as they start, so they have to be replaced.

The operator reads no Secret. Gateways tell, by digests, which keys they have read and which lie there now; when all of
a route agree on other ones, its workloads get that digest (planning/route_plan.py), which is a rollout like others.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from agentfleet.cache import Cache
from agentfleet.monitor.demand import sources_of
from agentfleet.objects import Key
from agentfleet.reconcilers.spending import Pages

logger = logging.getLogger(__name__)

_INTERVAL = 30.0
_PATH = "/public-keys"


class PublicKeys:
    """`run` for as long as the process leads."""

    def __init__(self, cache: Cache, gateways: Pages, enqueue: Callable[[Key, float], None]) -> None:
        self._cache = cache
        self._gateways = gateways
        self._enqueue = enqueue
        self._wanted: dict[Key, str] = {}

    def wanted(self, route: Key) -> str | None:
        """Digest of the keys that the route's gateways shall have; None where this process has seen no change."""
        return self._wanted.get(route)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_INTERVAL)

    async def look(self) -> None:
        """Look once at every route that checks tokens."""
        gateways = {key: sorted(sources_of(self._cache.children(key, "Pod"))) for key in self._with_tokens()}
        self._wanted = {key: digest for key, digest in self._wanted.items() if key in gateways}
        pages = await self._gateways.pages(list(chain.from_iterable(gateways.values())), _PATH)
        for key, addresses in gateways.items():
            changed = _changed([pages.get(address, "") for address in addresses])
            if changed and changed != self._wanted.get(key):
                logger.info("public keys of tokens have changed: gateways are replaced", extra={"key": str(key)})
                self._wanted[key] = changed
                self._enqueue(key, 0.0)

    def _with_tokens(self) -> Iterator[Key]:
        for key in self._cache.keys("AgentRoute"):
            route = self._cache.get(key)
            if route is not None and (route["spec"].get("auth") or {}).get("jwt"):
                yield key


def _changed(answers: Sequence[str]) -> str | None:
    """The digest that all gateways would begin with, where one of them has begun with another.

    Until all nodes have renewed the mounted Secret they say different things, and nothing is done.
    """
    try:
        told = [json.loads(answer) for answer in answers]
        mounted = {str(each["mounted"]) for each in told}
        loaded = {str(each["loaded"]) for each in told}
    except (ValueError, KeyError, TypeError):
        return None  # one does not answer, is of an older version, or has no key that it could begin with
    return mounted.pop() if len(mounted) == 1 and loaded != mounted else None
