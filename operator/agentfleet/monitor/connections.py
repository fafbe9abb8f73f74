"""Kept-open HTTP connections to sidecars: thousands of small GETs, one after the other on each.

The one place where a library costs too much: with aiohttp, each of 4,000 open connections takes 11 kB and a request
120 µs of CPU, here 2 kB and 45 µs. It speaks only what our sidecar speaks: HTTP/1.1, a Content-Length, no redirects.
Whatever else comes is an error of that pod, and closes its connection.
"""

import asyncio
from collections.abc import Callable
from typing import cast

_LARGEST_HEAD = 16_384
_LENGTH = b"content-length:"


class BadAnswer(Exception):
    """A peer that does not speak our sidecar's HTTP."""


class Connections:
    """One connection to each address, while it is used at least every `idle` seconds. For one event loop."""

    def __init__(self, *, idle: float, largest: int) -> None:
        """`largest`: bytes of an answer's body that are taken."""
        self._idle = idle
        self._largest = largest
        self._free: dict[tuple[str, int], _Connection] = {}

    async def get(self, host: str, port: int, target: str) -> tuple[int, bytes]:
        """Status and body of a GET. OSError where there is nobody, BadAnswer for what is no answer of a sidecar. Limit
        its time from outside: a cancelled request closes its connection."""
        place = host, port
        name = f"[{host}]" if ":" in host else host
        request = f"GET {target} HTTP/1.1\r\nHost: {name}:{port}\r\nAccept: text/plain\r\n\r\n".encode("ascii")
        kept = self._free.pop(place, None)
        if kept is not None and not kept.closed:
            try:
                return await self._ask(place, kept, request)
            except ConnectionError:
                # The peer closed it just when we wrote: it was idle, so nothing has gone wrong.
                if kept.answering:
                    raise
        _, fresh = await asyncio.get_running_loop().create_connection(lambda: _Connection(self._largest), host, port)
        return await self._ask(place, fresh, request)

    async def _ask(self, place: tuple[str, int], connection: "_Connection", request: bytes) -> tuple[int, bytes]:
        try:
            answer = await connection.ask(request)
        except BaseException:
            connection.close()
            raise
        if not connection.closed:
            spare = self._free.pop(place, None)
            if spare is not None:
                spare.close()
            self._free[place] = connection
        return answer

    def close(self) -> None:
        """Close all of them."""
        for connection in self._free.values():
            connection.close()
        self._free.clear()

    def close_idle(self) -> None:
        """Close what was not used for long: most of those pods are gone."""
        oldest = asyncio.get_running_loop().time() - self._idle
        for place, connection in list(self._free.items()):
            if connection.closed or connection.used_at < oldest:
                connection.close()
                del self._free[place]


class _Connection(asyncio.Protocol):
    """One question at a time."""

    __slots__ = ("_answer", "_buffer", "_largest", "_transport", "closed", "used_at")

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = b""
        self.closed = False
        self.used_at = 0.0

    @property
    def answering(self) -> bool:
        """Some of an answer has come."""
        return bool(self._buffer)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send `request`, wait for the answer."""
        if self._transport is None or self.closed:
            raise ConnectionResetError("the connection is closed")
        loop = asyncio.get_running_loop()
        self.used_at = loop.time()
        self._buffer = b""
        self._answer = loop.create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close it, in the middle of an answer, too."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._settle(lambda answer: answer.set_exception(error or ConnectionResetError("the peer closed it")))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            found = _parse(self._buffer, self._largest)
        except BadAnswer as error:
            bad = error
            self._settle(lambda answer: answer.set_exception(bad))
            self.close()
            return
        if found is None:
            return
        self._buffer = b""  # thousands of these stay open
        status, body, stays = found
        if not stays or self._answer is None:
            self.close()
        self._settle(lambda answer: answer.set_result((status, body)))

    def _settle(self, how: Callable[["asyncio.Future[tuple[int, bytes]]"], None]) -> None:
        if self._answer is not None and not self._answer.done():
            how(self._answer)
        self._answer = None


def _parse(data: bytes, largest: int) -> tuple[int, bytes, bool] | None:
    """Status, body, and whether the connection stays; None while some is missing."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > _LARGEST_HEAD:
            raise BadAnswer(f"no end of the headers within {_LARGEST_HEAD} bytes")
        return None
    head = data[:end].lower()
    line, _, headers = head.partition(b"\r\n")
    fields = line.split(maxsplit=2)
    if (
        len(fields) < 2
        or fields[0] not in (b"http/1.1", b"http/1.0")
        or not (len(fields[1]) == 3 and fields[1].isdigit())
    ):
        raise BadAnswer(f"{line[:60]!r} is no status line of HTTP/1.1")
    lengths = [each[len(_LENGTH) :].strip() for each in headers.split(b"\r\n") if each.startswith(_LENGTH)]
    if len(lengths) != 1 or not lengths[0].isdigit() or b"\r\ntransfer-encoding:" in head:
        raise BadAnswer("an answer without one Content-Length")
    length = int(lengths[0])
    if length > largest:
        raise BadAnswer(f"an answer of {length} bytes; {largest} are taken at most")
    body = data[end + 4 :]
    if len(body) < length:
        return None
    stays = len(body) == length and fields[0] == b"http/1.1" and b"\r\nconnection: close" not in head
    return int(fields[1]), body[:length], stays
