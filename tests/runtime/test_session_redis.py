"""Sessions in a real Redis: how long they stay, who has the lock, and what happens without a Redis."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from redis.asyncio import Redis

from agentfleet.runtime import session_redis
from agentfleet.runtime.compaction import compactor
from agentfleet.runtime.config import SessionStore
from agentfleet.runtime.sessions import KeptSessions, key_of, open_store
from agentfleet.runtime.types import RunError
from tests.runtime.keeping import ANN, PASSWORD, Clock, said, settled


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, password=PASSWORD) as opened:
        yield opened


@pytest.fixture
async def in_redis(redis_url: str, tmp_path: Path, clock: Clock, client: Redis) -> AsyncIterator[KeptSessions]:
    (tmp_path / "password").write_text(PASSWORD)
    settings = SessionStore(
        "Redis", redis_url=redis_url, redis_password_file=str(tmp_path / "password"), ttl=600, max=3
    )
    opened = open_store(settings, owner="shop/redis", compact=compactor(settings), clock=clock)
    await settled(opened)
    await client.flushdb()
    yield opened
    await opened.close()


async def test_redis_forgets_by_itself(in_redis: KeptSessions, client: Redis) -> None:
    await said(in_redis, ANN, "s", count=1)
    names = sorted(name.decode() for name in await client.keys("*"))
    assert names == [f"agentfleet:{{shop/redis}}:session:{key_of(ANN, 's')}", "agentfleet:{shop/redis}:used"]
    for name in names:
        assert 590_000 < await client.pttl(name) <= 600_000


async def test_a_turn_whose_lock_was_lost_overwrites_nothing(in_redis: KeptSessions, client: Redis) -> None:
    async with in_redis.open(ANN, "s") as turn:
        await client.set(f"agentfleet:{{shop/redis}}:lock:{key_of(ANN, 's')}", "of another replica", px=100)
        turn.state["count"] = 1
        with pytest.raises(RunError, match="taken over") as raised:
            await turn.save()
    assert raised.value.status == 409
    assert await said(in_redis, ANN, "s") == {}


async def test_a_long_turn_keeps_its_lock(
    in_redis: KeptSessions, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_redis, "LOCK", 0.3)
    monkeypatch.setattr(session_redis, "_RENEW", 0.05)
    name = f"agentfleet:{{shop/redis}}:lock:{key_of(ANN, 's')}"
    async with in_redis.open(ANN, "s") as turn:
        begun = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begun + 0.6:
            assert await client.exists(name)
            await asyncio.sleep(0.02)
        turn.state["count"] = 1
        await turn.save()
    assert not await client.exists(name)


async def test_what_redis_holds_that_is_no_session_is_set_aside(in_redis: KeptSessions, client: Redis) -> None:
    await client.set(f"agentfleet:{{shop/redis}}:session:{key_of(ANN, 's')}", json.dumps({"v": 7}))
    assert await said(in_redis, ANN, "s", count=1) == {}
    assert await client.get(f"agentfleet:{{shop/redis}}:corrupt:{key_of(ANN, 's')}") == b'{"v": 7}'


async def test_no_redis_or_a_wrong_password_is_503(redis_url: str, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "password").write_text("wrong")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        for url in (redis_url, f"redis://127.0.0.1:{free.getsockname()[1]}"):
            settings = SessionStore("Redis", redis_url=url, redis_password_file=str(tmp_path / "password"))
            kept = open_store(settings, owner="shop/agent", compact=compactor(settings), clock=clock)
            with pytest.raises(RunError) as raised:
                await said(kept, ANN, "s")
            assert (raised.value.status, raised.value.code) == (503, "sessions_unavailable")
            await kept.close()


async def test_a_turn_that_is_cancelled_while_it_waits_leaves_no_lock(in_redis: KeptSessions, client: Redis) -> None:
    name = f"agentfleet:{{shop/redis}}:lock:{key_of(ANN, 's')}"
    await client.set(name, "of another replica", px=5000)
    waiting = asyncio.ensure_future(said(in_redis, ANN, "s", count=1))
    await asyncio.wait([waiting], timeout=0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await client.get(name) == b"of another replica"
    await client.delete(name)
    assert await said(in_redis, ANN, "s") == {}
    assert not await client.exists(name)
