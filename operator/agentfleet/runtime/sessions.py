"""Sessions: where conversations last, and that two turns of one never run at once.

runs.py opens a session for a turn; `open` waits until no other turn has it, in this replica or another, and nothing is
kept unless `save` is called. A session belongs to the caller: its key is a hash of subject and id, so another who
guesses the id gets another session. Stores: memory (here), files (session_files.py), Redis (session_redis.py).

State is kept as JSON, approvals that wait included, so another replica can go on with it. It is not encrypted: whoever
reads the volume or the Redis reads the conversations.
"""

import asyncio
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from agentfleet.runtime.compaction import Compact, fitted
from agentfleet.runtime.config import SessionStore
from agentfleet.runtime.hooks import Session
from agentfleet.runtime.types import Caller, RunError

log = logging.getLogger(__name__)

MAX_SESSION = 1_000_000
"""Bytes of one session."""
_MAX_MEMORY = 128_000_000
"""Bytes of all sessions in memory."""
_VERSION = 1
WAIT = 30.0
"""Seconds that a turn waits for the one before it."""

Clock = Callable[[], float]


class Held(Protocol):
    """One session of a store, locked."""

    async def load(self) -> bytes | None:
        """What was saved last; None where there is nothing, or where it has run out."""
        ...

    async def save(self, data: bytes) -> None:
        """RunError where the lock has been lost, or the store is away."""
        ...

    async def set_aside(self) -> None:
        """What cannot be read is kept for a person to look at."""
        ...


class Store(Protocol):
    """Keeps bytes by key."""

    def hold(self, key: str) -> AbstractAsyncContextManager[Held]:
        """Waits for the lock; RunError 409 after WAIT seconds, 503 where the store is away."""
        ...

    async def ready(self) -> None:
        """RunError says what is wrong."""

    async def close(self) -> None:
        """Give connections back."""


def key_of(caller: Caller, session: str) -> str:
    """Without ambiguity between the two parts, and without either of them."""
    return hashlib.sha256(json.dumps([caller.subject, session]).encode()).hexdigest()[:40]


def busy() -> RunError:
    """A turn of the session takes too long for another to wait."""
    return RunError(409, "session_busy", "Another turn of this session is still running.", retry_after=1)


def away() -> RunError:
    """The store does not answer; the cause is chained."""
    return RunError(503, "sessions_unavailable", "The agent's sessions are not available now.", retry_after=5)


class Conversation:
    """hooks.Session over a Held."""

    def __init__(self, key: str, held: Held, state: dict[str, Any], compact: Compact, clock: Clock) -> None:
        self.id = key
        self.state = state
        self._held = held
        self._compact = compact
        self._clock = clock

    async def save(self) -> None:
        """RunError 413 where not even the last turn fits: what was saved before stays."""
        self.state = await self._compact(self.state)
        data = self._written()
        while len(data) > MAX_SESSION:
            smaller = fitted(self.state)
            if smaller is None:
                raise RunError(
                    413, "session_too_large", f"The session is larger than {MAX_SESSION} bytes: begin a new one."
                )
            self.state = smaller
            data = self._written()
        await self._held.save(data)

    def _written(self) -> bytes:
        document = {"v": _VERSION, "saved": self._clock(), "state": self.state}
        return json.dumps(document, separators=(",", ":")).encode()


class KeptSessions:
    """hooks.Sessions over a store."""

    def __init__(self, store: Store, compact: Compact, clock: Clock) -> None:
        self._store = store
        self._compact = compact
        self._clock = clock

    @asynccontextmanager
    async def open(self, caller: Caller, session: str) -> AsyncIterator[Session]:
        """The session of this caller, with the lock on it."""
        key = key_of(caller, session)
        async with self._store.hold(key) as held:
            yield Conversation(key, held, await _state(key, held), self._compact, self._clock)

    async def ready(self) -> None:
        """RunError says what is wrong with the store."""
        await self._store.ready()

    async def close(self) -> None:
        """Give connections back."""
        await self._store.close()


def open_store(settings: SessionStore, *, owner: str, compact: Compact, clock: Clock) -> KeptSessions:
    """`owner`, as NAMESPACE/NAME, keeps agents apart that share a Redis."""
    return KeptSessions(_store(settings, owner, clock), compact, clock)


def _store(settings: SessionStore, owner: str, clock: Clock) -> Store:
    # the two others are imported where they are used: redis costs 7 MB of memory and 0.3 s
    if settings.store == "PersistentVolume":
        from agentfleet.runtime.session_files import FileStore  # noqa: PLC0415

        return FileStore(settings, clock)
    if settings.store == "Redis":
        from agentfleet.runtime.session_redis import RedisStore  # noqa: PLC0415

        return RedisStore(settings, owner, clock)
    return MemoryStore(settings, clock)


async def _state(key: str, held: Held) -> dict[str, Any]:
    data = await held.load()
    if data is None:
        return {}
    try:
        document = json.loads(data)
        if document["v"] != _VERSION or not isinstance(document["state"], dict):
            raise ValueError(f"it is of version {document['v']!r}, this is {_VERSION}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        log.error("session %s cannot be read, so it begins anew; what there is is set aside: %s", key, error)
        await held.set_aside()
        return {}
    state: dict[str, Any] = document["state"]
    return state


class Locks:
    """One lock for each key, first come first served, within this process."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def held(self, key: str) -> AsyncIterator[None]:
        """RunError 409 where it takes too long."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            try:
                async with asyncio.timeout(WAIT):
                    await lock.acquire()
            except TimeoutError:
                raise busy() from None
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)


class MemoryStore:
    """In this process alone. The session used longest ago goes first where there are too many, or too much."""

    def __init__(self, settings: SessionStore, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._locks = Locks()
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[Held]:
        async with self._locks.held(key):
            yield _InMemory(self, key)

    async def ready(self) -> None:
        """There is nothing that could be away."""

    async def close(self) -> None:
        """There is nothing to give back."""

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> bytes | None:
        """Being read is being used."""
        self._expire()
        if key not in self._kept:
            return None
        data = self._kept[key][1]
        self._kept[key] = (self._clock(), data)
        self._kept.move_to_end(key)
        return data

    def put(self, key: str, data: bytes) -> None:
        """As the one used last."""
        if key in self._kept:
            self._drop(key)
        self._kept[key] = (self._clock(), data)
        self._bytes += len(data)
        while len(self._kept) > self._settings.max or self._bytes > _MAX_MEMORY:
            self._drop(next(iter(self._kept)))
        self._expire()

    def _expire(self) -> None:
        last = self._clock() - self._settings.ttl
        while self._kept and (oldest := next(iter(self._kept.items())))[1][0] <= last:
            self._drop(oldest[0])

    def _drop(self, key: str) -> None:
        self._bytes -= len(self._kept.pop(key)[1])


class _InMemory:
    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key

    async def load(self) -> bytes | None:
        return self._store.get(self._key)

    async def save(self, data: bytes) -> None:
        self._store.put(self._key, data)

    async def set_aside(self) -> None:
        """Memory keeps what was put there."""


async def completed(work: Awaitable[None]) -> None:
    """Waits for `work` to its end, also when cancelled: a lock must not be given back while a thread still writes."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
