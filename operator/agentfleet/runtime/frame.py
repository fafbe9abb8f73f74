"""What surrounds every request of every protocol: its id, the bound of its body, and an answer where one is missing.

Plain ASGI, outside of Starlette's own layers, so that it holds for the handlers of the A2A and MCP packages as well.
"""

import asyncio
import contextlib
import logging
from typing import Final, NoReturn

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentfleet.runtime.types import RunError
from agentfleet.runtime.wire_errors import error_response
from agentfleet.runtime.wire_headers import REQUEST_ID, id_of

log = logging.getLogger(__name__)

MAX_BODY: Final = 10 * 1024 * 1024
_DRAIN_BYTES: Final = 8 * MAX_BODY
_DRAIN_SECONDS: Final = 5.0
BUG = RunError(500, "internal_error", "The agent failed. The log has the cause under this x-request-id.")


class Frame:
    """The outermost layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, receive, send).through(self._app)


class _Exchange:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._request_id = id_of(scope)
        self._received = 0
        self._begun = False

    async def through(self, app: ASGIApp) -> None:
        try:
            announced = Headers(scope=self._scope).get("content-length", "0")
            if announced.isdigit() and int(announced) > MAX_BODY:
                await self._refuse()
            await app(self._scope, self._bounded, self._named)
        except RunError as error:
            await self._answer(error)
        except Exception:
            log.exception("a request failed by a bug", extra={"key": self._request_id})
            await self._answer(BUG)

    async def _refuse(self) -> NoReturn:
        """Read on for a while: a connection that is closed with data unread is reset, and the answer lost with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._received < _DRAIN_BYTES and not self._begun:
                    message = await self._receive()
                    self._received += len(message.get("body", b""))
                    if not message.get("more_body"):
                        break
        raise RunError(413, "request_too_large", f"The body is larger than {MAX_BODY // 2**20} MiB.")

    async def _answer(self, error: RunError) -> None:
        if self._begun:
            return  # uvicorn closes the connection: the client sees that the answer is not whole
        response = error_response(error)
        response.headers["connection"] = "close"  # what is left of the body is not read
        await response(self._scope, self._receive, self._named)

    async def _bounded(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > MAX_BODY:
            await self._refuse()
        return message

    async def _named(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            MutableHeaders(scope=message)[REQUEST_ID] = self._request_id
        await self._send(message)
