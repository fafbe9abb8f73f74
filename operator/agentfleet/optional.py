"""Watches a kind whose CRD may be absent: begins when it is installed, and stops when it goes.

Asks the API server's discovery now and then, which every service account may read: no permission on CRDs is needed, so
it works in namespaced mode too. While the kind is served it has a kopf and a Resync of its own, and the cache says that
it is served only once it holds what exists: reconcile must not take children for absent that have not been seen yet.
Neither the start of the operator nor its readiness waits for a kind that is not there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agentfleet.cache import Cache
from agentfleet.cluster import Cluster
from agentfleet.errors import InvalidSpec, Transient
from agentfleet.metrics import Metrics
from agentfleet.objects import Key, Kind
from agentfleet.resync import Resync

logger = logging.getLogger(__name__)

LOOK_EVERY = 15.0
"""Seconds between looks at what the API server serves: one small request each."""

_NOT_FOUND = 404
_SETTLED_AFTER = 30.0
"""The workers start after this long though the kind is not in the cache: a missing permission on it holds up nobody."""


class _NoLongerServed(Exception):
    """The CRD is gone."""


class OptionalWatch:
    """`run` for as long as the process works; `settle` before the workers start."""

    def __init__(
        self,
        kind: Kind,
        *,
        cluster: Cluster,
        cache: Cache,
        gone: Callable[[Key], None],
        changed: Callable[[str], None],
        watch: Callable[[Kind], Awaitable[None]],
        interval: float,
        metrics: Metrics,
    ) -> None:
        """`watch` passes events of the kind on for ever; `changed` is told when the kind comes and when it goes; `gone`
        and `interval` are those of Resync."""
        self.kind = kind
        self._cluster = cluster
        self._cache = cache
        self._gone = gone
        self._changed = changed
        self._watch = watch
        self._interval = interval
        self._metrics = metrics
        self._resync: Resync | None = None
        self._settled = asyncio.Event()

    def seen(self, key: Key, initial: bool) -> None:
        """Told of every event, of all kinds."""
        if self._resync is not None:
            self._resync.seen(key, initial)

    async def settle(self) -> None:
        """Wait until it is known whether the kind is served, and the cache holds what there is of it."""
        try:
            async with asyncio.timeout(_SETTLED_AFTER):
                await self._settled.wait()
        except TimeoutError:
            logger.warning("working without %s, which cannot be listed", self.kind.plural)

    async def run(self) -> None:
        """Watch whenever the kind is served."""
        while True:
            if await self._is_served():
                await self._while_served()
            else:
                self._settled.set()
            await asyncio.sleep(LOOK_EVERY)

    async def _is_served(self) -> bool | None:
        """None where the API server does not say."""
        try:
            return await self._cluster.serves(self.kind.name)
        except (Transient, InvalidSpec) as error:
            logger.warning("cannot tell whether %s are served: %s", self.kind.plural, error)
            return None

    async def _while_served(self) -> None:
        resync = self._resync = Resync(
            cluster=self._cluster,
            cache=self._cache,
            kinds=(self.kind.name,),
            gone=self._gone,
            interval=self._interval,
            metrics=self._metrics,
        )
        try:
            async with asyncio.TaskGroup() as group:
                for part in (self._follow(resync), self._warm_up(resync), resync.run(), self._until_gone()):
                    group.create_task(part)
        except* Exception as errors:
            if not all(_is_gone(error) for error in errors.exceptions):
                raise
            logger.info("%s are no longer served: their CRD is gone", self.kind.plural)
        self._resync = None
        self._cache.withdraw(self.kind.name)
        for key in self._cache.keys(self.kind.name):
            self._gone(key)
        self._changed(self.kind.name)

    async def _follow(self, resync: Resync) -> None:
        await resync.expect()
        await self._watch(self.kind)

    async def _warm_up(self, resync: Resync) -> None:
        await resync.warm_up()
        self._cache.serve(self.kind.name)
        self._changed(self.kind.name)
        self._settled.set()

    async def _until_gone(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if await self._is_served() is False:
                raise _NoLongerServed(self.kind.plural)


def _is_gone(error: BaseException) -> bool:
    """True for kopf's error of a stream whose kind is not there any more, which may come before discovery tells."""
    return isinstance(error, _NoLongerServed) or getattr(error, "status", None) == _NOT_FOUND
