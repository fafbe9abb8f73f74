"""The HTTP under the MCP client: bounds that the client itself does not have.

The client's transport (mcp 2.3) lets an exception of one POST end the whole connection, with every other call on it;
reads a JSON answer of any size; cannot tell "no connection" from "answered with an error"; and, on protocols before
2026-07-28, leaves the POST of a cancelled call open until the server ends it. So this wrapper never raises: a failure
becomes a 502, or the early end of a body, for that one request, and the Attempt of the call tells what it was.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import httpx2

from agentfleet.runtime.tools.outbound import CONNECT_TIMEOUT, MountedHeaders, tls
from agentfleet.runtime.tools.records import MAX_BODY
from agentfleet.runtime.types import ToolError

_LAST_WORDS = 2.0
"""Seconds for what is sent after a call is over: that it is cancelled, that the session ends."""


@dataclass(eq=False)
class Attempt:
    """One call on the wire. The client sends it from another task, in a copy of the caller's context: it finds it."""

    headers: Mapping[str, str] = field(default_factory=dict)
    sent: bool = False
    """Something may have left this process."""
    unreached: bool = False
    """No connection could be made."""
    failure: str = ""
    """What else went wrong below HTTP."""
    status: int = 0
    """Of the last answer."""
    ended: bool = False
    _waits: set[asyncio.Timeout] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def bounded(self, last_words: bool = False) -> AsyncIterator[None]:
        """A wait for the network that `end` cuts short, by a TimeoutError; last words have a moment of their own."""
        if last_words:
            async with asyncio.timeout(_LAST_WORDS):
                yield
            return
        async with asyncio.timeout(None) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def end(self) -> None:
        """The call is over, whatever is still open is closed."""
        self.ended = True
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0)


_ATTEMPT: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


@contextlib.contextmanager
def attempt(headers: Mapping[str, str] | None = None) -> Iterator[Attempt]:
    """An Attempt for what is sent within; it ends with the block."""
    this = Attempt(headers or {})
    token = _ATTEMPT.set(this)
    try:
        yield this
    finally:
        _ATTEMPT.reset(token)
        this.end()


class BoundedTransport(httpx2.AsyncBaseTransport):
    """HTTP/1.1 without proxies, with the headers of this server and of the call."""

    def __init__(self, headers: MountedHeaders) -> None:
        self._headers = headers
        self._inner = httpx2.AsyncHTTPTransport(verify=tls(), trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, or 502 where there is none."""
        # the stream of a server's own messages (GET) is begun by a call, and outlives it
        this = _ATTEMPT.get() if request.method != "GET" else None
        this = this or Attempt()
        try:
            request.headers.update({**this.headers, **self._headers.read(), "accept-encoding": "identity"})
            this.sent = True
            async with this.bounded(this.ended or _is_notification(request)):
                response = await self._inner.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, ToolError) as error:
            this.unreached = True
            this.failure = str(error) if isinstance(error, ToolError) else "no connection"
        except (httpx2.HTTPError, TimeoutError):
            this.failure = "the connection broke"
        else:
            return await self._answer(request, response, this)
        return httpx2.Response(502, request=request)

    @staticmethod
    async def _answer(request: httpx2.Request, response: httpx2.Response, this: Attempt) -> httpx2.Response:
        this.status = response.status_code
        if request.method == "GET":
            return response
        if response.headers.get("content-encoding", "identity") != "identity":
            this.failure = "the answer is compressed, which was not asked for"  # a bomb has this form
        elif not this.ended:
            body = _Bounded(response, this)
            return httpx2.Response(response.status_code, headers=response.headers, stream=body, request=request)
        await response.aclose()
        return httpx2.Response(502 if this.failure else response.status_code, request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _is_notification(request: httpx2.Request) -> bool:
    """Such as: the call is cancelled. Begun just before its call ends, it must go out nevertheless."""
    return request.method == "POST" and str(json.loads(request.content).get("method")).startswith("notifications/")


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends early where it is too large, breaks off, or its call is over."""

    def __init__(self, response: httpx2.Response, this: Attempt) -> None:
        self._response = response
        self._attempt = this

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        chunks = aiter(self._response.stream)  # type: ignore[arg-type]
        while not self._attempt.ended:
            try:
                async with self._attempt.bounded():
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except (httpx2.HTTPError, TimeoutError):
                self._attempt.failure = "the connection broke"
                return
            size += len(chunk)
            if size > MAX_BODY:
                self._attempt.failure = f"the answer has more than {MAX_BODY // 1024 // 1024} MiB"
                return
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


def client(headers: MountedHeaders) -> httpx2.AsyncClient:
    """A client for one MCP server. Waits for answers are bounded by the calls, not here: a tool may take long."""
    return httpx2.AsyncClient(
        transport=BoundedTransport(headers),
        trust_env=False,
        timeout=httpx2.Timeout(CONNECT_TIMEOUT, read=None),
    )
