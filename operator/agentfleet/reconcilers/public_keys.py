"""Sees what only gateways can see of Secrets, for the operator reads none.

Public keys of tokens are read as gateways start, so these have to be replaced when keys have changed. Gateways tell, by
digests, which they have read and which lie there now; when all of a route agree on other ones, its workloads get that
digest (planning/route_plan.py), which is a rollout like others.

Secrets that are not there, or have no usable key, become a condition (planning/route_secrets.py).
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from agentfleet.cache import Cache
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.monitor.demand import sources_of
from agentfleet.objects import Key
from agentfleet.planning.route_secrets import JWT
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
        self._lacking: dict[Key, dict[str, frozenset[str]]] = {}

    def wanted(self, route: Key) -> str | None:
        """Digest of the keys that the route's gateways shall have; None where this process has seen no change."""
        return self._wanted.get(route)

    def lacking(self, route: Key, revision: str | None) -> frozenset[str] | None:
        """Secrets without a usable key, as gateways of a revision name them (planning/route_secrets.py); None where
        none of these has told it yet."""
        return self._lacking.get(route, {}).get(revision or "")

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_INTERVAL)

    async def look(self) -> None:
        """Look once at every route."""
        gateways = {key: self._gateways_of(key) for key in self._cache.keys("AgentRoute")}
        self._wanted = {key: digest for key, digest in self._wanted.items() if self._has_tokens(key)}
        self._lacking = {key: told for key, told in self._lacking.items() if key in gateways}
        pages = await self._gateways.pages(list(chain.from_iterable(gateways.values())), _PATH)
        for key, revisions in gateways.items():
            told = {address: _parsed(pages.get(address, "")) for address in revisions}
            self._keep_lacking(key, [(revisions[address], said) for address, said in told.items()])
            if self._has_tokens(key):
                self._keep_changed(key, list(told.values()))

    def _gateways_of(self, route: Key) -> dict[str, str]:
        """host:port → revision."""
        pods = self._cache.children(route, "Pod")
        found = {
            address: pod["metadata"].get("labels", {}).get(REVISION_LABEL, "")
            for pod in pods
            for address in sources_of([pod])
        }
        return dict(sorted(found.items()))

    def _has_tokens(self, key: Key) -> bool:
        route = self._cache.get(key)
        return route is not None and bool((route["spec"].get("auth") or {}).get("jwt"))

    def _keep_changed(self, key: Key, answers: Sequence[Mapping[str, Any]]) -> None:
        changed = _changed(answers)
        if changed and changed != self._wanted.get(key):
            logger.info("public keys of tokens have changed: gateways are replaced", extra={"key": str(key)})
            self._wanted[key] = changed
            self._enqueue(key, 0.0)

    def _keep_lacking(self, key: Key, answers: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """What one gateway of a revision lacks counts: its callers feel it. Where none answers, the last word holds."""
        found: dict[str, frozenset[str]] = {}
        for revision, told in answers:
            lacking = _lacking(told)
            if lacking is not None:
                found[revision] = found.get(revision, frozenset()) | lacking
        before = self._lacking.get(key, {})
        kept = {revision: before[revision] for revision, _ in answers if revision in before} | found
        if kept != before:
            self._lacking[key] = kept
            self._enqueue(key, 0.0)


def _parsed(answer: str) -> Mapping[str, Any]:
    """What a gateway tells; nothing where it does not answer."""
    try:
        told = json.loads(answer)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _changed(answers: Sequence[Mapping[str, Any]]) -> str | None:
    """The digest that all gateways would begin with, where one of them has begun with another.

    Until all nodes have renewed the mounted Secret they say different things, and nothing is done.
    """
    if not all("mounted" in told and "loaded" in told for told in answers):
        return None  # one does not answer, is of an older version, or has no key that it could begin with
    mounted = {str(told["mounted"]) for told in answers}
    loaded = {str(told["loaded"]) for told in answers}
    return mounted.pop() if len(mounted) == 1 and loaded != mounted else None


def _lacking(told: Mapping[str, Any]) -> frozenset[str] | None:
    """None where one does not answer, or is of an older version."""
    folders = told.get("lacking")
    if not isinstance(folders, list):
        return None
    no_key = {JWT} if "loaded" in told and "mounted" not in told else set()
    return frozenset(map(str, folders)) | no_key
