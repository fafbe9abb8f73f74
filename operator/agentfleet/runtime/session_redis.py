"""Sessions in a Redis, which replicas share. sessions.py says what a session is.

A lock is a key with a token of its own that runs out: a replica that dies gives it back after LOCK seconds, one that
lives renews it. A save checks the token in the same step, so a replica that had lost its lock cannot overwrite the turn
of another. Keys of an agent share a hash tag, so a cluster of Redis keeps them on one node, as the scripts need it.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError

from agentfleet.runtime.config import SessionStore
from agentfleet.runtime.sessions import WAIT, Clock, Held, Locks, away, busy
from agentfleet.runtime.types import RunError

log = logging.getLogger(__name__)

LOCK = 15.0
_RENEW = 5.0
_POLL = (0.02, 0.25)
_TIMEOUT = 5.0
_ASIDE = 86_400
"""Seconds that something unreadable is kept for a person to look at."""

_SAVE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[4] - ARGV[3])
local over = redis.call('ZCARD', KEYS[3]) - ARGV[6]
if over > 0 then
  for _, name in ipairs(redis.call('ZRANGE', KEYS[3], 0, over - 1)) do
    redis.call('DEL', ARGV[7] .. name)
    redis.call('ZREM', KEYS[3], name)
  end
end
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return 1
"""
_RENEWED = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class _Files(CredentialProvider):
    """Name and password as they are mounted now; asked at each new connection."""

    def __init__(self, password: Path) -> None:
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._password.read_text(encoding="utf-8").strip()
        username = self._password.with_name("username")
        return (username.read_text(encoding="utf-8").strip(), password) if username.is_file() else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()  # two small files


class RedisStore:
    """The sessions of one agent."""

    def __init__(self, settings: SessionStore, owner: str, clock: Clock) -> None:
        if settings.redis_url is None:
            raise ValueError("session: store Redis needs a redis_url")
        password = settings.redis_password_file
        self._redis: Redis = Redis.from_url(
            settings.redis_url,
            credential_provider=_Files(Path(password)) if password else None,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            health_check_interval=30,
        )
        self._prefix = f"agentfleet:{{{owner}}}:"
        self._settings = settings
        self._clock = clock
        self._locks = Locks()
        self._save = self._redis.register_script(_SAVE)
        self._renewed = self._redis.register_script(_RENEWED)
        self._release = self._redis.register_script(_RELEASE)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[Held]:
        token = secrets.token_hex(16)
        # turns of this replica come one after the other without asking Redis
        async with self._locks.held(key):
            lock = self.lock_key(key)
            try:
                await self._acquire(lock, token)
            except asyncio.CancelledError:
                await self._given_back(lock, token)  # Redis may have given it meanwhile
                raise
            renewing = asyncio.ensure_future(self._renew(lock, token))
            try:
                yield _Entry(self, key, token)
            finally:
                renewing.cancel()
                await asyncio.wait([renewing])
                await self._given_back(lock, token)

    def data_key(self, key: str) -> str:
        return f"{self._prefix}session:{key}"

    def lock_key(self, key: str) -> str:
        return f"{self._prefix}lock:{key}"

    async def _acquire(self, lock: str, token: str) -> None:
        deadline = asyncio.get_running_loop().time() + WAIT
        pause = _POLL[0]
        while True:
            with _translated():
                if await self._redis.set(lock, token, nx=True, px=int(LOCK * 1000)):
                    return
            if asyncio.get_running_loop().time() > deadline:
                raise busy()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _POLL[1])

    async def _renew(self, lock: str, token: str) -> None:
        while True:
            await asyncio.sleep(_RENEW)
            try:
                if not await self._renewed(keys=[lock], args=[token, int(LOCK * 1000)]):
                    log.warning("lock %s of a session was lost: its turn will not be kept", lock)
                    return
            except (RedisError, OSError) as error:
                log.warning("lock %s of a session could not be renewed: %s", lock, error)

    async def _given_back(self, lock: str, token: str) -> None:
        try:
            await asyncio.shield(self._release(keys=[lock], args=[token]))
        except (RedisError, OSError) as error:
            log.warning("lock %s of a session runs out by itself: %s", lock, error)

    async def ready(self) -> None:
        """Whether Redis answers."""
        with _translated():
            await self._redis.ping()

    async def close(self) -> None:
        """Give connections back."""
        await self._redis.aclose()

    async def load(self, key: str) -> bytes | None:
        with _translated():
            found = await self._redis.get(self.data_key(key))
        return found.encode() if isinstance(found, str) else found

    async def save(self, key: str, token: str, data: bytes) -> None:
        """RunError 409 where the lock is another's by now."""
        keys = [self.data_key(key), self.lock_key(key), f"{self._prefix}used"]
        ttl, now = int(self._settings.ttl * 1000), int(self._clock() * 1000)
        with _translated():
            args: list[str | int | bytes] = [token, data, ttl, now, key, self._settings.max, self.data_key("")]
            saved = await self._save(keys=keys, args=args)
        if not saved:
            raise RunError(409, "session_lost", "Another turn of this session has taken over; this one is not kept.")

    async def set_aside(self, key: str) -> None:
        with _translated():
            aside = f"{self._prefix}corrupt:{key}"
            await self._redis.rename(self.data_key(key), aside)
            await self._redis.expire(aside, _ASIDE)


class _Entry:
    def __init__(self, store: RedisStore, key: str, token: str) -> None:
        self._store = store
        self._key = key
        self._token = token

    async def load(self) -> bytes | None:
        return await self._store.load(self._key)

    async def save(self, data: bytes) -> None:
        await self._store.save(self._key, self._token, data)

    async def set_aside(self) -> None:
        await self._store.set_aside(self._key)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        log.error("the Redis of sessions does not serve: %s", error)
        raise away() from error
