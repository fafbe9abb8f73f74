"""Calls that found no connection, kept on disk and sent when it is back.

A call comes here only if it surely did not happen (no connection was made), and leaves when it was sent once. What may
have happened is never sent again: a call that was under way when the process died, or whose connection broke, is set
aside and told to the audit. Besides, each call carries a key that is the same for ever, for servers that look at it.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentfleet.runtime.tools.records import Busy, Outcome, Unreached
from agentfleet.runtime.types import Caller, ToolError

_LOG = logging.getLogger(__name__)
MAX_CALLS = 1000
"""In one entry's queue. At most MAX_ARGUMENTS each: 256 MB in the worst case, far less in any real one."""
MAX_ASIDE = 100
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0


@dataclass(frozen=True)
class Kept:
    """A call in the queue."""

    key: str
    tool: str
    """As its source has it."""
    known_as: str
    """As the model knows it, for the audit."""
    arguments: dict[str, Any]
    request: str
    """Id of the run that made it."""
    caller: Caller
    headers: dict[str, str]


Send = Callable[[Kept], Awaitable[str]]
Told = Callable[[Kept, Outcome, str], None]
"""What became of a call: the call, outcome (sent, error), reason."""

_KEPT = TypeAdapter(Kept)


class Queue:
    """The queue of one entry: a folder with one file per call, whose names are their order."""

    def __init__(self, folder: Path, send: Send, told: Told, first_wait: float = _FIRST_WAIT) -> None:
        self._folder = folder
        self._send = send
        self._told = told
        self._first_wait = first_wait
        self._more = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._adding = asyncio.Lock()

    async def start(self) -> None:
        """Look at what a former process left, and begin to send."""
        for kept, reason in await asyncio.to_thread(self._recover):
            if kept is not None:
                self._told(kept, "error", reason)
        self._sender = asyncio.create_task(self._deliver(), name=f"queue {self._folder.name}")

    async def close(self) -> None:
        """Stop sending; what is under way is set aside at the next start."""
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender

    async def put(self, kept: Kept) -> None:
        """Keep `kept`: on disk when this returns. ToolError where there is no room."""
        async with self._adding:
            await asyncio.to_thread(self._write, kept)
        self._more.set()

    def __len__(self) -> int:
        return len(self._waiting())

    async def _deliver(self) -> None:
        wait = self._first_wait
        while True:
            self._more.clear()
            for path in await asyncio.to_thread(self._waiting):
                if not await self._one(path):
                    break
                wait = self._first_wait
            else:
                await self._more.wait()
                continue
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _one(self, path: Path) -> bool:
        """Send what is in `path`; False where the connection is still away."""
        kept = await asyncio.to_thread(_read, path)
        if kept is None:
            await asyncio.to_thread(self._aside, path, "unreadable")
            return True
        # the name says that it is under way, so that a process that dies now does not send it again
        sending = path.with_suffix(".sending")
        await asyncio.to_thread(_rename, path, sending)
        try:
            await self._send(kept)
        except (Unreached, Busy) as error:
            await asyncio.to_thread(_rename, sending, path)
            _LOG.info("queue %s: %s", self._folder.name, error)
            return False
        except ToolError as error:
            await asyncio.to_thread(self._aside, sending, "failed")
            self._told(kept, "error", str(error))
            return True
        await asyncio.to_thread(_remove, sending)
        self._told(kept, "sent", "")
        return True

    def _waiting(self) -> list[Path]:
        return sorted(self._folder.glob("*.json"))

    def _write(self, kept: Kept) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        waiting = self._waiting()
        if len(waiting) >= MAX_CALLS:
            raise ToolError(f"it is offline, and {MAX_CALLS} calls wait for it already: this one is not kept")
        number = 1 + max((int(path.name.partition("-")[0]) for path in self._all()), default=0)
        path = self._folder / f"{number:016d}-{secrets.token_hex(4)}.json"
        draft = path.with_suffix(".draft")
        try:
            with draft.open("w") as file:
                json.dump({**asdict(kept), "caller": _caller(kept.caller)}, file)
                file.flush()
                os.fsync(file.fileno())
            _rename(draft, path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ToolError("it is offline, and the call could not be kept") from error

    def _all(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if path.suffix in {".json", ".sending"}]

    def _recover(self) -> list[tuple[Kept | None, str]]:
        if not self._folder.is_dir():
            return []
        for draft in self._folder.glob("*.draft"):
            draft.unlink()
        cut_short = sorted(self._folder.glob("*.sending"))
        found = [(_read(path), "cut short: whether it was done is not known") for path in cut_short]
        for path in cut_short:
            self._aside(path, "unclear")
        return found

    def _aside(self, path: Path, why: str) -> None:
        _LOG.warning("queue %s: call %s is set aside (%s)", self._folder.name, path.stem, why)
        _rename(path, path.with_suffix(f".{why}"))
        aside = sorted(path for path in self._folder.iterdir() if path.suffix in {".unreadable", ".failed", ".unclear"})
        for old in aside[:-MAX_ASIDE]:
            old.unlink()


def _caller(caller: Caller) -> dict[str, Any]:
    return {"subject": caller.subject, "groups": sorted(caller.groups), "mode": caller.mode}


def _read(path: Path) -> Kept | None:
    try:
        return _KEPT.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _rename(path: Path, to: Path) -> None:
    path.rename(to)
    _sync(path.parent)


def _remove(path: Path) -> None:
    path.unlink()
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """A name lasts over a power cut only once its folder is written, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
