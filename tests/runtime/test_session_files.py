"""Sessions in files: what is left on the volume, by whom it is locked, and what becomes of a file that is broken."""

import asyncio
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from agentfleet.runtime.compaction import compactor
from agentfleet.runtime.config import SessionStore
from agentfleet.runtime.sessions import KeptSessions, key_of, open_store
from agentfleet.runtime.types import RunError
from tests.runtime.keeping import ANN, BOB, Clock, said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
async def files(folder: Path, clock: Clock) -> KeptSessions:
    settings = SessionStore("PersistentVolume", folder=str(folder), ttl=600, max=3)
    opened = open_store(settings, owner="shop/agent", compact=compactor(settings), clock=clock)
    await opened.ready()
    return opened


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b'{"v":1,"state":', b'{"v":9,"state":{}}', b"\xff" * 10, b"[" * 100_000]
)
async def test_a_broken_file_is_set_aside_and_the_session_begins_anew(
    files: KeptSessions, folder: Path, broken: bytes, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / f"{key_of(ANN, 's')}.json"
    path.write_bytes(broken)
    os.utime(path, (clock.now, clock.now))
    assert await said(files, ANN, "s", count=1) == {}
    assert "begins anew" in caplog.text
    assert path.with_suffix(".corrupt").read_bytes() == broken
    assert await said(files, ANN, "s") == {"count": 1}


async def test_what_has_run_out_goes_though_nobody_asks(files: KeptSessions, folder: Path, clock: Clock) -> None:
    """The kubelet asks for readiness, and nobody else need ask for anything."""
    await said(files, ANN, "s", count=1)
    broken = folder / "x.corrupt"
    broken.write_bytes(b"what ann said")
    os.utime(broken, (clock.now, clock.now))
    clock.now += 599
    await files.ready()
    assert (folder / f"{key_of(ANN, 's')}.json").exists()
    clock.now += 61
    await files.ready()
    assert [each.name for each in await asyncio.to_thread(lambda: list(folder.iterdir()))] == ["x.corrupt"]
    clock.now += 86_400
    await files.ready()
    assert not broken.exists()


async def test_files_are_the_owners_alone_and_leave_nothing_behind(
    files: KeptSessions, folder: Path, clock: Clock
) -> None:
    await said(files, ANN, "s", count=1)
    path = folder / f"{key_of(ANN, 's')}.json"
    assert path.stat().st_mode & 0o077 == 0
    left = folder / ".abc.tmp"
    left.write_bytes(b"half a session")
    os.utime(left, (clock.now, clock.now))
    clock.now += 4000
    await said(files, BOB, "t", count=1)
    names = {each.name for each in await asyncio.to_thread(lambda: list(folder.iterdir()))}
    assert names == {f"{key_of(BOB, 't')}.json", f"{key_of(BOB, 't')}.lock"}


async def test_a_session_in_use_is_never_swept(files: KeptSessions, clock: Clock) -> None:
    await said(files, ANN, "s", count=1)
    async with files.open(ANN, "s") as turn:
        clock.now += 4000
        await said(files, BOB, "t", count=1)
        await turn.save()
    assert await said(files, ANN, "s") == {"count": 1}


def _die_in_a_turn(folder: str, ready: Any) -> None:
    async def hold() -> None:
        settings = SessionStore("PersistentVolume", folder=folder)
        kept = open_store(settings, owner="shop/agent", compact=compactor(settings), clock=lambda: 1_800_000_000.0)
        async with kept.open(ANN, "s") as turn:
            turn.state["count"] = 1
            await turn.save()
            ready.set()
            await asyncio.Event().wait()

    asyncio.run(hold())


async def test_a_killed_replica_gives_its_sessions_back(files: KeptSessions, folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_die_in_a_turn, args=(str(folder), ready))
    process.start()
    assert await asyncio.to_thread(ready.wait, 30)
    waiting = asyncio.ensure_future(said(files, ANN, "s"))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        assert await waiting == {"count": 1}
    process.join()


async def test_a_folder_that_cannot_be_used_is_503(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("no folder")
    settings = SessionStore("PersistentVolume", folder=str(tmp_path / "file" / "sessions"))
    kept = open_store(settings, owner="shop/agent", compact=compactor(settings), clock=clock)
    for attempt in (kept.ready(), said(kept, ANN, "s")):
        with pytest.raises(RunError) as raised:
            await attempt
        assert (raised.value.status, raised.value.code) == (503, "sessions_unavailable")
        assert str(tmp_path) not in raised.value.message
