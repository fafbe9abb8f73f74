"""Compares the cache with consistent listings: before the first reconcile, after outages, and now and then.

A watch that was away misses deletions, and nothing tells when its first listing is complete. Listings of metadata
answer both: the workers start once the cache holds what a listing holds, and what a listing lacks is dropped from the
cache. It also finds a watch that has silently stopped, and ends the process for it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection

from agentfleet.cache import Cache
from agentfleet.cluster import Cluster, Listing
from agentfleet.errors import AgentfleetError, InvalidSpec, Transient
from agentfleet.metrics import Metrics
from agentfleet.objects import Key

logger = logging.getLogger(__name__)

_RETRY = 5.0
_SETTLE = 2.0
"""Objects of one listing arrive in a burst; the comparison waits until none came for this long."""

_PATIENCE = 3.0
"""The warm-up lists again when nothing came for this long: what it waits for may have been deleted meanwhile."""

_STALLED_AFTER = 180.0
"""kopf opens a silent watch anew after 70 s; one that is behind for longer than this is dead."""


class WatchStalled(AgentfleetError):
    """A watch does not deliver what a listing shows; only a new process helps."""


class HistoryRewound(AgentfleetError):
    """The API server's versions went back, as after a restored backup: nothing in the cache can be trusted."""


class Resync:
    """`expect` before the watches start, `warm_up` before the workers do; `run` repairs for the rest of the process."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: Cache,
        kinds: Collection[str],
        gone: Callable[[Key], None],
        interval: float,
        metrics: Metrics,
    ) -> None:
        """`gone` drops a key from the cache and wakes its parents."""
        self._cluster = cluster
        self._cache = cache
        self._kinds = tuple(kinds)
        self._gone = gone
        self._interval = interval
        self._metrics = metrics
        self._awaited: set[Key] = set()
        self._progress = asyncio.Event()
        self._listed = asyncio.Event()
        self._behind: dict[tuple[Key, int], float] = {}
        self._expected = asyncio.Event()
        self._warmed = asyncio.Event()
        self.problem: str | None = None
        """Why the last listing failed; None where it did not."""

    def seen(self, key: Key, initial: bool) -> None:
        """Told of every event, other kinds' too; `initial` where it came by a listing."""
        if key.kind not in self._kinds:
            return
        self._awaited.discard(key)
        if not self._awaited:
            self._progress.set()
        if initial and self.warm:
            self._listed.set()

    @property
    def warm(self) -> bool:
        """True once the cache holds everything that existed at the start."""
        return self._warmed.is_set()

    @property
    def awaited(self) -> int:
        """How many objects the warm-up still waits for."""
        return len(self._awaited)

    async def expect(self) -> None:
        """Note what exists. Waits for the API server and for the CRDs: a kind that is absent now is never watched."""
        for kind in self._kinds:
            listing = await self._listing(kind)
            self._awaited.update(item.key for item in listing.items if self._cache.version(item.key) is None)
        self._expected.set()

    async def warm_up(self) -> None:
        """Wait until each object of `expect` has been seen, or is gone."""
        await self._expected.wait()
        while self._awaited:
            self._progress.clear()
            before = len(self._awaited)
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._progress.wait()
            except TimeoutError:
                if len(self._awaited) == before:
                    logger.info("waiting for %d objects, such as %s", before, min(self._awaited))
                    await self._forget_deleted()
        self._warmed.set()
        logger.info("the cache is warm: %d objects", sum(self._cache.count(kind) for kind in self._kinds))

    async def _listing(self, kind: str) -> Listing:
        """A listing, asked for until the API server grants it."""
        while True:
            try:
                listing = await self._cluster.list_metadata(kind)
            except (Transient, InvalidSpec) as error:
                self.problem = f"cannot list {kind}s: {error}"
                logger.warning("%s; trying again in %.0f s", self.problem, _RETRY)
                await asyncio.sleep(_RETRY)
            else:
                self.problem = None
                return listing

    async def _forget_deleted(self) -> None:
        for kind in sorted({key.kind for key in self._awaited}):
            listing = await self._listing(kind)
            listed = {item.key for item in listing.items}
            self._awaited = {key for key in self._awaited if key.kind != kind or key in listed}

    async def run(self) -> None:
        """Repair for ever, once the cache is warm."""
        await self._warmed.wait()
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._listed.wait()
            except TimeoutError:
                pass
            else:
                await self._settled()
            for kind in self._kinds:
                await self.repair(kind)

    async def _settled(self) -> None:
        while self._listed.is_set():
            self._listed.clear()
            await asyncio.sleep(_SETTLE)

    async def repair(self, kind: str) -> None:
        """Drop what is cached but gone; raise where the watch of this kind has stopped."""
        newest = self._cache.newest(kind)
        listing = await self._listing(kind)
        if listing.resource_version < newest:
            raise HistoryRewound(
                f"{kind}s are listed at version {listing.resource_version}, but {newest} was seen before"
            )
        self._drop_ghosts(kind, listing)
        self._check_watch(kind, listing)

    def _drop_ghosts(self, kind: str, listing: Listing) -> None:
        listed = {item.key for item in listing.items}
        for key in self._cache.keys(kind):
            version = self._cache.version(key)
            # newer than the listing: created while it was on its way
            if key in listed or version is None or version > listing.resource_version:
                continue
            logger.info("dropped: it was deleted while the watch was away", extra={"key": str(key)})
            self._metrics.ghosts_dropped.labels(kind).inc()
            self._gone(key)

    def _check_watch(self, kind: str, listing: Listing) -> None:
        now = asyncio.get_running_loop().time()
        behind = {
            (item.key, item.resource_version): self._behind.get((item.key, item.resource_version), now)
            for item in listing.items
            if (self._cache.version(item.key) or 0) < item.resource_version
        }
        for (key, version), since in behind.items():
            if now - since > _STALLED_AFTER:
                raise WatchStalled(f"the watch of {kind}s is dead: {key} is at {version} since {now - since:.0f} s")
        others = {item: since for item, since in self._behind.items() if item[0].kind != kind}
        self._behind = others | behind
