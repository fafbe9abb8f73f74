"""An ASGI application on the loopback for the time of a block, in the loop of the test."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from agentfleet.runtime.disconnect import ClientLeft
from agentfleet.runtime.types import RunError
from agentfleet.runtime.wire_errors import error_response


@asynccontextmanager
async def served(routes: Iterable[BaseRoute]) -> AsyncIterator[str]:
    """Its address, http://127.0.0.1:PORT."""
    with free_socket() as bound:
        async with serving(routes, bound) as url:
            yield url


def free_socket() -> socket.socket:
    """Bound, so that an address is known before what is served there is made."""
    bound = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY where the protocol is told
    bound.bind(("127.0.0.1", 0))
    return bound


def address(bound: socket.socket) -> str:
    """Of what is served at it."""
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@asynccontextmanager
async def serving(routes: Iterable[BaseRoute], bound: socket.socket) -> AsyncIterator[str]:
    """Serve at a socket that is bound already."""
    app = Starlette(routes=list(routes), exception_handlers={RunError: _refusal, ClientLeft: _left})
    async with serving_app(app, bound) as url:
        yield url


@asynccontextmanager
async def serving_app(app: ASGIApp, bound: socket.socket) -> AsyncIterator[str]:
    """The same for a whole application."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning", timeout_graceful_shutdown=1))
    running = asyncio.create_task(server.serve(sockets=[bound]))
    async with asyncio.timeout(30):
        while not server.started:
            if running.done():
                running.result()
            await asyncio.sleep(0.01)
    try:
        yield address(bound)
    finally:
        server.should_exit = True
        await running


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, RunError)
    return error_response(error)


async def _left(_: Request, __: Exception) -> Response:
    return Response(status_code=499)
