"""Sessions in memory, in files and in a real Redis: the same promises, whichever store keeps them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentfleet.runtime import sessions
from agentfleet.runtime.compaction import compactor
from agentfleet.runtime.config import SessionStore
from agentfleet.runtime.sessions import KeptSessions, MemoryStore, key_of, open_store
from agentfleet.runtime.types import Caller, RunError
from tests.runtime.keeping import ANN, BOB, PASSWORD, Clock, said, settled


@pytest.fixture(params=["Memory", "PersistentVolume", "Redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    if request.param == "Redis":
        password = tmp_path / "password"
        password.write_text(f"{PASSWORD}\n")
        url = request.getfixturevalue("redis_url")
        return SessionStore("Redis", redis_url=url, redis_password_file=str(password), ttl=600, max=3)
    return SessionStore(request.param, folder=str(tmp_path / "sessions"), ttl=600, max=3)


@pytest.fixture
async def kept(store: SessionStore, clock: Clock, request: pytest.FixtureRequest) -> AsyncIterator[KeptSessions]:
    # an owner of its own for each test: they share one Redis
    opened = open_store(store, owner=f"shop/{request.node.name}", compact=compactor(store), clock=clock)
    await settled(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def replica(
    kept: KeptSessions, store: SessionStore, clock: Clock, request: pytest.FixtureRequest
) -> AsyncIterator[KeptSessions]:
    """A second one that shares the store; memory is not shared."""
    if store.store == "Memory":
        yield kept
        return
    opened = open_store(store, owner=f"shop/{request.node.name}", compact=compactor(store), clock=clock)
    yield opened
    await opened.close()


async def test_a_session_goes_on_on_another_replica(kept: KeptSessions, replica: KeptSessions) -> None:
    assert await said(kept, ANN, "s", count=1, waiting=[{"approval": "é"}]) == {}
    assert await said(replica, ANN, "s") == {"count": 1, "waiting": [{"approval": "é"}]}


async def test_the_same_id_of_another_caller_is_another_session(kept: KeptSessions) -> None:
    await said(kept, ANN, "s", secret=1)
    assert await said(kept, BOB, "s") == {}
    assert len({key_of(ANN, "s"), key_of(BOB, "s"), key_of(Caller('ann", "s'), "")}) == 3


async def test_nothing_is_kept_without_save(kept: KeptSessions) -> None:
    async with kept.open(ANN, "s") as turn:
        turn.state["lost"] = True
    with pytest.raises(ZeroDivisionError):
        async with kept.open(ANN, "s") as turn:
            turn.state["lost"] = 1 // 0
    assert await said(kept, ANN, "s") == {}


async def test_turns_of_one_session_come_one_after_the_other(kept: KeptSessions, replica: KeptSessions) -> None:
    inside = 0

    async def turn(through: KeptSessions) -> None:
        nonlocal inside
        async with through.open(ANN, "s") as held:
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            held.state["count"] = held.state.get("count", 0) + 1
            await held.save()
            inside -= 1

    await asyncio.gather(*(turn(kept if number % 2 else replica) for number in range(20)))
    assert await said(kept, ANN, "s") == {"count": 20}


async def test_two_sessions_do_not_wait_for_each_other(kept: KeptSessions) -> None:
    async with kept.open(ANN, "a"), asyncio.timeout(30), kept.open(ANN, "b"), kept.open(BOB, "a"):
        pass


async def test_a_turn_that_is_cancelled_gives_the_session_back(kept: KeptSessions, replica: KeptSessions) -> None:
    entered = asyncio.Event()

    async def rest() -> None:
        async with kept.open(ANN, "s"):
            entered.set()
            await asyncio.Event().wait()

    first = asyncio.ensure_future(rest())
    await entered.wait()
    second = asyncio.ensure_future(said(replica, ANN, "s", count=1))
    waits = asyncio.ensure_future(said(kept, ANN, "s", count=1))
    await asyncio.sleep(0)
    waits.cancel()
    first.cancel()
    await asyncio.wait([first, waits])
    async with asyncio.timeout(30):
        assert await second == {}


async def test_who_waits_too_long_is_told(kept: KeptSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "WAIT", 0.05)
    async with kept.open(ANN, "s"):
        with pytest.raises(RunError, match="still running") as raised:
            await said(kept, ANN, "s")
    assert (raised.value.status, raised.value.retry_after) == (409, 1)


@pytest.mark.parametrize("store", ["Memory", "PersistentVolume"], indirect=True)  # Redis has its own clock
async def test_a_session_ends_after_its_time(kept: KeptSessions, clock: Clock) -> None:
    await said(kept, ANN, "s", count=1)
    clock.now += 599
    assert await said(kept, ANN, "s", count=2) == {"count": 1}
    clock.now += 599
    assert await said(kept, ANN, "s") == {"count": 2}
    clock.now += 601
    assert await said(kept, ANN, "s") == {}


async def test_the_session_used_longest_ago_goes_first(kept: KeptSessions, clock: Clock) -> None:
    for name in ("a", "b", "c", "a", "d"):
        clock.now += 61  # files are looked through once a minute
        await said(kept, ANN, name, name=name)
    assert await said(kept, ANN, "b") == {}
    assert [await said(kept, ANN, name) for name in "acd"] == [{"name": name} for name in "acd"]


async def test_a_session_that_grows_too_large_loses_its_oldest_turns(kept: KeptSessions) -> None:
    def turn(number: int) -> dict[str, Any]:
        return {"role": "user", "contents": [{"type": "data", "uri": str(number) * 300_000}]}

    state = {"session": {"state": {"in_memory": {"messages": [turn(number) for number in range(5)]}}}}
    await said(kept, ANN, "s", **state)
    left = (await said(kept, ANN, "s"))["session"]["state"]["in_memory"]["messages"]
    assert left == [turn(number) for number in range(5)][-len(left) :]
    assert 1 <= len(left) <= 3
    with pytest.raises(RunError) as raised:
        await said(kept, ANN, "s", huge="x" * 1_000_001)
    assert (raised.value.status, raised.value.code) == (413, "session_too_large")
    assert "huge" not in await said(kept, ANN, "s")


async def test_memory_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(sessions, "_MAX_MEMORY", 1000)
    memory = MemoryStore(SessionStore(), clock)
    for number in range(10):
        memory.put(str(number), b"x" * 300)
    assert len(memory) == 3
    assert memory.get("9")
