"""`agentfleet toolhost`: serves the functions of a folder to the agent beside it, over MCP on the loopback.

Runs in a container of its own without secrets or token, with the users' code in its process. Beside /mcp: /problems
(what is broken, by file and line), /healthz and /readyz. Changed files are read anew; what is broken stays out alone.
"""

import argparse
import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server import Server, ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from agentfleet import logs
from agentfleet.runtime.tools import python_functions
from agentfleet.runtime.tools.python_functions import Function, Problem

_LOG = logging.getLogger(__name__)
_THREADS = 32
"""Calls of sync functions at once. One that hangs keeps its thread: Python cannot end threads."""
_LOAD_TIMEOUT = 30.0
_LOOK = 2.0
"""Seconds between looks at the files."""
_MAX_RESULT = 1024 * 1024
_LAST_CALLS = 5
"""Seconds for calls under way when it is to end; the agent beside it has ended before."""


class Host:
    """The functions of one folder, and their server."""

    def __init__(self, folder: Path, timeout: float, look: float = _LOOK) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self._timeout = timeout
        self._look = look
        self._functions: dict[str, Function] = {}
        self._threads = asyncio.Semaphore(_THREADS)
        self._bus = InMemorySubscriptionBus()

    def app(self) -> Starlette:
        """The ASGI application. Its lifespan reads the folder before anything is served."""
        server: Server[Any] = Server(
            "functions",
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_subscriptions_listen=ListenHandler(self._bus),
        )
        # without sessions: nothing is lost when this container restarts
        mcp = server.streamable_http_app(stateless_http=True)
        routes = [
            Route("/problems", self._problems, methods=["GET", "POST"]),
            Route("/healthz", self._ready),
            Route("/readyz", self._ready),
            *mcp.routes,
        ]

        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            seen = await self.read()
            watcher = asyncio.create_task(self._watch(seen), name="functions")
            async with mcp.router.lifespan_context(app):
                yield
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

        return Starlette(routes=routes, lifespan=lifespan)

    async def read(self) -> object:
        """Read the folder; its fingerprint before that."""
        seen = await asyncio.to_thread(python_functions.fingerprint, self.folder)
        try:
            self._functions, self.problems = await self._in_thread(
                lambda: python_functions.load(self.folder), _LOAD_TIMEOUT
            )
        except TimeoutError:
            # which file it is cannot be told from outside: the import still runs
            self.problems = [Problem("*", 1, f"importing the files did not end within {_LOAD_TIMEOUT:g} s")]
        for problem in self.problems:
            _LOG.warning("%s", problem)
        _LOG.info("%d functions are served", len(self._functions))
        return seen

    async def _watch(self, seen: object) -> None:
        while True:
            await asyncio.sleep(self._look)
            if await asyncio.to_thread(python_functions.fingerprint, self.folder) != seen:
                seen = await self.read()
                await self._bus.publish(ToolsListChanged())

    async def _list(self, _: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                Tool(name=function.name, description=function.description, input_schema=function.schema)
                for function in self._functions.values()
            ]
        )

    async def _call(self, _: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        function = self._functions.get(params.name)
        if function is None:
            return _failed(f"there is no function {params.name}")
        try:
            arguments = function.bind(params.arguments or {})
        except ValidationError as error:
            return _failed("; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()))
        try:
            result = await self._run(function, arguments)
        except TimeoutError:
            return _failed(f"it did not end within {self._timeout:g} s")
        except Exception as error:
            # the function's own: its message, which may quote arguments, is for the model, and for whoever debugs
            place = python_functions.place_of(error)
            _LOG.warning("function %s: %s at %s", function.name, type(error).__name__, place)
            _LOG.debug("function %s", function.name, exc_info=error)
            return _failed(f"{type(error).__name__}: {error}")
        return _result(result)

    async def _run(self, function: Function, arguments: dict[str, Any]) -> Any:
        if not function.is_async:
            return await self._in_thread(lambda: function.call(**arguments), self._timeout)
        async with asyncio.timeout(self._timeout):
            return await function.call(**arguments)

    async def _in_thread(self, work: Callable[[], Any], timeout: float) -> Any:
        """`work` in a daemon thread, which does not keep the process alive; TimeoutError leaves it running."""
        async with asyncio.timeout(timeout):
            await self._threads.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            self._threads.release()
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)
            else:
                # a StopIteration or SystemExit must not run through the loop
                done.set_exception(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))

        def run() -> None:
            try:
                result, error = work(), None
            except BaseException as caught:  # told to whoever waits
                result, error = None, caught
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=run, daemon=True).start()
        async with asyncio.timeout(timeout):
            return await done

    async def _problems(self, _: Request) -> JSONResponse:
        return JSONResponse(
            [{"file": each.file, "line": each.line, "error": each.error} for each in self.problems],
        )

    async def _ready(self, _: Request) -> JSONResponse:
        """Ready with what works: a broken file must not take the others away. It is named."""
        return JSONResponse({"functions": sorted(self._functions), "problems": [str(each) for each in self.problems]})


def _result(value: Any) -> CallToolResult:
    if isinstance(value, str):
        text = value
    else:
        try:
            text = to_json(value, inf_nan_mode="null").decode()
        except (PydanticSerializationError, ValueError, RecursionError):
            return _failed(f"it returns {type(value).__name__}, which has no JSON form")
    if len(text) > _MAX_RESULT:
        return _failed(f"it returns {len(text)} characters, at most {_MAX_RESULT} are allowed")
    return CallToolResult(content=[TextContent(text=text)])


def _failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="agentfleet toolhost", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the .py files are")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds of one call")
    parser.add_argument("--log-level", default="INFO")
    arguments = parser.parse_args(argv)
    logs.configure(arguments.log_level)
    app = Host(arguments.folder, arguments.timeout).app()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=arguments.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_LAST_CALLS,  # the agent's stream of changes never ends by itself
    )
    return 0
