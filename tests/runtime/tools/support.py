"""What the tests of tools share: servers on the loopback, a recording audit, short ways to write entries and calls."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool

from agentfleet.runtime.config import AgentConfig, Limits
from agentfleet.runtime.config_tools import HttpTool, McpTool, ToolEntry
from agentfleet.runtime.tools.records import ToolRecord
from agentfleet.runtime.tools.toolbox import Toolbox
from agentfleet.runtime.types import Caller, RunError, Task, ToolCall

ANY = {"type": "object", "properties": {}}
CALLER = Caller("key-1", frozenset({"support"}))


class Records:
    """A ToolAudit that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[ToolRecord] = []

    def tool(self, record: ToolRecord) -> None:
        self.all.append(record)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(record.outcome, record.reason) for record in self.all]


def task(run: str = "run-1", caller: Caller = CALLER, **headers: str) -> Task:
    return Task(id=run, caller=caller, turns=(), headers={"x-request-id": run, **headers})


def call(tool: str, run: str = "run-1", caller: Caller = CALLER, **arguments: Any) -> ToolCall:
    return ToolCall(task(run, caller), tool, arguments)


def config(tmp_path: Path, *tools: ToolEntry, **limits: Any) -> AgentConfig:
    return AgentConfig(
        name="desk",
        namespace="shop",
        url="http://desk",
        revision="1",
        tools=tools,
        limits=Limits(**{"tool_timeout": 5.0, **limits}),
        data_folder=str(tmp_path / "data"),
    )


@contextlib.asynccontextmanager
async def toolbox(config: AgentConfig, records: Records | None = None, **more: Any) -> AsyncIterator[Toolbox]:
    box = Toolbox(config, records or Records(), **more)
    await box.start()
    try:
        yield box
    finally:
        await box.close()


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 30.0) -> None:
    """Wait until `condition` holds; AssertionError after `seconds`."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        held = condition()
        if held if isinstance(held, bool) else await held:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"did not come true in {seconds} s")


async def has_tools(box: Toolbox, *names: str) -> None:
    await until(lambda: {tool.name for tool in box.tools} == set(names))


async def is_ready(box: Toolbox) -> bool:
    with contextlib.suppress(RunError):
        await box.ready()
        return True
    return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.asynccontextmanager
async def serve(app: Any, port: int | None = None) -> AsyncIterator[str]:
    """`app` on the loopback: its address."""
    port = port or free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=0)
    )
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or serving.done())
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


class McpServer:
    """A real MCP server whose tools are functions of a test: name to (schema, function of the arguments)."""

    def __init__(self) -> None:
        self.tools: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], Awaitable[Any]]]] = {}
        self.bus = InMemorySubscriptionBus()
        self.headers: list[dict[str, str]] = []
        self.metas: list[Any] = []
        self.cancelled = 0
        self.descriptions: dict[str, str] = {}

    def add(self, name: str, function: Callable[[dict[str, Any]], Awaitable[Any]], schema: Any = None) -> None:
        self.tools[name] = (schema or ANY, function)

    def app(self, **options: Any) -> Any:
        server: Server[Any] = Server(
            "test",
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_subscriptions_listen=ListenHandler(self.bus),
        )
        return server.streamable_http_app(**options)

    async def _list(self, _: Any, __: Any) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                Tool(name=name, description=self.descriptions.get(name, f"Does {name}."), input_schema=schema)
                for name, (schema, _) in self.tools.items()
            ]
        )

    async def _call(self, context: Any, params: Any) -> CallToolResult:
        self.headers.append(dict(context.request.headers) if context.request is not None else {})
        self.metas.append(context.meta)
        if params.name not in self.tools:
            return CallToolResult(content=[TextContent(text=f"Unknown tool: {params.name}")], is_error=True)
        try:
            result = await self.tools[params.name][1](params.arguments or {})
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return result if isinstance(result, CallToolResult) else CallToolResult(content=[TextContent(text=str(result))])


def mcp_entry(url: str, name: str = "crm", **more: Any) -> ToolEntry:
    of_entry = {key: more.pop(key) for key in ("approval", "allowed_groups", "when_offline") if key in more}
    return ToolEntry(name, McpTool(f"{url}/mcp", **more), **of_entry)


def http_entry(url: str, name: str = "orders", **more: Any) -> ToolEntry:
    of_entry = {key: more.pop(key) for key in ("approval", "allowed_groups", "when_offline") if key in more}
    return ToolEntry(name, HttpTool(url, **more), **of_entry)
