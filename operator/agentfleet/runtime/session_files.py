"""Sessions as files on a volume, which replicas may share. sessions.py says what a session is.

KEY.json is replaced as a whole, and on the disk before the turn ends. KEY.lock is locked with flock for the time of a
turn: the kernel gives it back when the process dies, and network file systems pass it on (NFS 4 does).
What cannot be read becomes KEY.corrupt, and goes after a day. Files of sessions that have run out are removed once a
minute, whether or not anybody asks: readiness is asked for all the time, and looks.
"""

import asyncio
import fcntl
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from agentfleet.runtime.config import SessionStore
from agentfleet.runtime.sessions import WAIT, Clock, Held, Locks, away, busy, completed

log = logging.getLogger(__name__)

_POLL = (0.01, 0.2)
"""Seconds between tries for a lock that another replica has: the first, and the longest."""
_SWEEP = 60.0
_LEFT_OVER = 3600.0
"""Seconds after which the file of a write that was broken off goes."""
_CORRUPT_KEPT = 20
_CORRUPT_AGE = 86_400.0
"""Seconds for a person to look at it: there are conversations in it, too."""


class FileStore:
    """One folder."""

    def __init__(self, settings: SessionStore, clock: Clock) -> None:
        if settings.folder is None:
            raise ValueError("session: store PersistentVolume needs a folder")
        self._folder = Path(settings.folder)
        self._settings = settings
        self._clock = clock
        self._locks = Locks()
        self._swept = float("-inf")

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[Held]:
        async with self._locks.held(key):
            descriptor = await self._locked(self._folder / f"{key}.lock")
            try:
                yield _File(self, self._folder / f"{key}.json")
            finally:
                os.close(descriptor)

    async def _locked(self, path: Path) -> int:
        deadline = asyncio.get_running_loop().time() + WAIT
        pause = _POLL[0]
        while True:
            with _translated():
                descriptor = _try_lock(path)
            if descriptor is not None:
                return descriptor
            if asyncio.get_running_loop().time() > deadline:
                raise busy()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _POLL[1])

    async def ready(self) -> None:
        """Whether the folder can be written. Once a minute it is gone through, too."""

        def try_it() -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe = self._folder / f".{secrets.token_hex(8)}.tmp"
            probe.write_bytes(b"")
            probe.unlink()

        with _translated():
            await asyncio.to_thread(try_it)
            if (now := self._due()) is not None:
                await asyncio.to_thread(self._sweep, now, None)

    async def close(self) -> None:
        """Nothing is open between turns."""

    async def load(self, path: Path) -> bytes | None:
        """None where it has run out."""

        def read() -> bytes | None:
            try:
                if path.stat().st_mtime <= self._clock() - self._settings.ttl:
                    return None
                return path.read_bytes()
            except FileNotFoundError:
                return None

        with _translated():
            return await asyncio.to_thread(read)

    async def save(self, path: Path, data: bytes) -> None:
        """On the disk when it returns."""
        now = self._clock()
        with _translated():
            await completed(asyncio.to_thread(_replace, path, data, now))
            if self._due() is not None:
                await completed(asyncio.to_thread(self._sweep, now, path))

    def _due(self) -> float | None:
        """Now, where the last look is long ago; it counts as looked at then."""
        now = self._clock()
        if now - self._swept < _SWEEP:
            return None
        self._swept = now
        return now

    def _sweep(self, now: float, keep: Path | None) -> None:
        """Remove what has run out, what is too many, and what was left over; `keep` is locked by the caller."""
        kept = sorted(_ages(self._folder, "*.json"))
        old = now - self._settings.ttl
        too_many = max(0, len(kept) - self._settings.max)
        for index, (changed, path) in enumerate(kept):
            if path != keep and (changed <= old or index < too_many):
                _remove(path)
        for changed, path in _ages(self._folder, ".*.tmp"):
            if changed <= now - _LEFT_OVER:
                path.unlink(missing_ok=True)
        corrupt = sorted(_ages(self._folder, "*.corrupt"))
        for index, (changed, path) in enumerate(corrupt):
            if index < len(corrupt) - _CORRUPT_KEPT or changed <= now - _CORRUPT_AGE:
                path.unlink(missing_ok=True)
        for _, lock in _ages(self._folder, "*.lock"):
            if lock.with_suffix(".json") != keep and not lock.with_suffix(".json").exists():
                _remove(lock.with_suffix(".json"))


class _File:
    def __init__(self, store: FileStore, path: Path) -> None:
        self._store = store
        self._path = path

    async def load(self) -> bytes | None:
        return await self._store.load(self._path)

    async def save(self, data: bytes) -> None:
        await self._store.save(self._path, data)

    async def set_aside(self) -> None:
        with _translated():
            self._path.replace(self._path.with_suffix(".corrupt"))


def _try_lock(path: Path) -> int | None:
    """None where another has it. A file that was removed meanwhile is no lock: then the new one is tried."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass  # removed by a sweep between open and flock
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _replace(path: Path, data: bytes, now: float) -> None:
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.utime(temporary, (now, now))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the new name may be lost with the power
    finally:
        os.close(folder)


def _remove(path: Path) -> None:
    """The session, unless a turn of it runs, and its lock with it."""
    lock = path.with_suffix(".lock")
    descriptor = _try_lock(lock)
    if descriptor is None:
        return
    try:
        path.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _ages(folder: Path, pattern: str) -> Iterator[tuple[float, Path]]:
    for path in folder.glob(pattern):
        try:
            yield path.stat().st_mtime, path
        except FileNotFoundError:
            continue  # another replica sweeps, too


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("the folder of sessions cannot be used: %s", error)
        raise away() from error
