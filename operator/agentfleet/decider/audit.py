"""Receives HAProxy's audit lines: one for each request, when it has ended. Nothing of a request waits for it.

HAProxy sends them through a ring, a buffer that it empties over a connection to our Unix socket, each line as
`LENGTH LINE`; so lines outlive a restart of the decider.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_LONGEST = 2**17
_DIGITS = 8


@dataclass(frozen=True)
class Line:
    """What the decider reads of a line."""

    caller: str = ""
    groups: tuple[str, ...] = ()
    rule: str = ""
    target: str = ""
    """Name of the target that answered; empty where none did."""
    status: int = 0
    attempts: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    total_ms: int = 0


class Audit:
    """The Unix socket's server."""

    def __init__(self, take: Callable[[Line], None]) -> None:
        self._take = take
        self.lines = 0
        self.bad = 0
        """Lines that could not be read."""
        self.connections = 0
        """That HAProxy has made."""
        self.lines_before = 0
        """Lines that had come when it made the last one."""
        self._open: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator["Audit"]:
        """Takes lines for the time of the block; the socket is the owner's alone."""
        server = await asyncio.start_unix_server(self._connected, sock=_listener(path), limit=_LONGEST)
        try:
            yield self
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.lines_before = self.lines
        connection = asyncio.ensure_future(self._read(reader))
        self._open.add(connection)
        try:
            await connection
        except asyncio.CancelledError:
            log.debug("audit connection ends with the decider")
        finally:
            self._open.discard(connection)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                self._line(await _frame(reader))
        except asyncio.IncompleteReadError:
            pass  # HAProxy has closed; it connects again when there is something to say
        except (ValueError, OSError) as error:
            self.bad += 1
            log.warning("audit connection of HAProxy closed: %s", error)

    def _line(self, text: bytes) -> None:
        self.lines += 1
        try:
            line = parse(text)
        except ValueError as error:
            self.bad += 1
            log.warning("audit line of HAProxy not counted: %s", error)
            return
        self._take(line)


def parse(text: bytes) -> Line:
    """One line; what is absent or null is nothing. ValueError where it is no JSON object or has a bad number."""
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")

    def word(name: str) -> str:
        return str(data.get(name) or "")

    def number(name: str) -> int:
        return max(0, int(data.get(name) or 0))

    return Line(
        caller=word("caller"),
        groups=tuple(group for group in word("groups").split(",") if group),
        rule=word("rule"),
        target=word("target"),
        status=number("status"),
        attempts=number("attempts"),
        tokens_in=number("tokens_in"),
        tokens_out=number("tokens_out"),
        total_ms=number("total_ms"),
    )


def _listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of a decider before this one
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)  # before anybody can connect
    return listener


async def _frame(reader: asyncio.StreamReader) -> bytes:
    try:
        length = await reader.readuntil(b" ")
    except asyncio.LimitOverrunError as error:
        raise ValueError("what was sent has no length in front") from error
    digits = length[:-1]
    if not digits.isdigit() or len(digits) > _DIGITS or int(digits) > _LONGEST:
        raise ValueError(f"{digits[:20]!r} is no length of a line, at most {_LONGEST}")
    return await reader.readexactly(int(digits))
