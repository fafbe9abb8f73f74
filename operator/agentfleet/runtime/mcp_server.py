"""The agent as a server of the Model Context Protocol: one tool, `ask`, by streamable HTTP at /mcp.

Each request stands alone (no session of the transport), so any replica answers it; a conversation is the agent's own
session, which `ask` names. Who calls is checked for each request, as for every protocol. A run that pauses for an
approval is told as an error of the tool: MCP has no way for the answer, OpenAI's API and A2A have.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, cast

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.disconnect import ClientLeft, unless_left
from agentfleet.runtime.types import Caller, Delta, Event, RunError, Task, Turn, Wanted
from agentfleet.runtime.wire_errors import error_response
from agentfleet.runtime.wire_headers import checked_session, request_id, task_headers

Run = Callable[[Task], AsyncGenerator[Event, None]]
PATH = "/mcp"
_TOOL = "ask"
_SCHEMA = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "minLength": 1, "description": "What the agent is asked."},
        "session": {
            "type": "string",
            "description": "Id of the conversation to go on with; without one the agent knows of this message alone.",
        },
    },
    "required": ["message"],
    "additionalProperties": False,
}


class Mcp:
    """What is served over MCP; requests are answered while `running`."""

    def __init__(self, config: AgentConfig, run: Run, caller: Callable[[Request], Awaitable[Caller]]) -> None:
        self._config = config
        self._run = run
        self._caller = caller
        server = Server(
            config.name,
            version=config.revision,
            description=config.description or None,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )
        # Hosts are not compared: callers prove who they are, so that there is nothing to win by rebinding names.
        self._sessions = StreamableHTTPSessionManager(server, json_response=True, stateless=True)

    def routes(self) -> list[BaseRoute]:
        """The endpoint."""
        return [Route(PATH, _Endpoint(self._sessions, self._caller))]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Once, around all requests."""
        async with self._sessions.run():
            yield

    async def _list(self, _: ServerRequestContext[Any, Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        described = self._config.description or f"Asks the agent {self._config.name}."
        return ListToolsResult(tools=[Tool(name=_TOOL, description=described, input_schema=_SCHEMA)])

    async def _call(self, context: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> CallToolResult:
        try:
            if params.name != _TOOL:
                raise RunError(404, "unknown_tool", f"There is one tool, {_TOOL}.")
            request: Request = cast("Request", context.request)  # by HTTP there always is one
            return _result(await self._answer(_task(request, params.arguments or {})))
        except RunError as error:
            return _result(error.message, is_error=True)

    async def _answer(self, task: Task) -> str:
        texts: list[str] = []
        async with aclosing(self._run(task)) as events:
            async for event in events:
                match event:
                    case Delta(text):
                        texts.append(text)
                    case Wanted(approvals):
                        tools = ", ".join(each.tool for each in approvals)
                        raise RunError(409, "approval_wanted", f"The agent waits for a person to approve: {tools}.")
        return "".join(texts)


class _Endpoint:
    """A class, so that Starlette takes it for an application of ASGI and for any method."""

    def __init__(self, sessions: StreamableHTTPSessionManager, caller: Callable[[Request], Awaitable[Caller]]) -> None:
        self._sessions = sessions
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            request.state.caller = await self._caller(request)
        except RunError as error:
            await error_response(error)(scope, receive, send)
            return
        replayed = _Replayed(await request.body())
        with suppress(ClientLeft):
            await unless_left(request, self._sessions.handle_request(scope, replayed, send))


class _Replayed:
    """The body that was read, for who reads it next; the connection itself is watched for clients that leave."""

    def __init__(self, body: bytes) -> None:
        self._messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def __call__(self) -> Message:
        if self._messages:
            return self._messages.pop()
        await asyncio.Event().wait()
        raise AssertionError("never set")


def _task(request: Request, arguments: dict[str, Any]) -> Task:
    message, session = arguments.get("message"), arguments.get("session")
    if not isinstance(message, str) or not message:
        raise RunError(400, "invalid_request", "message: a text that is not empty is wanted.")
    if session is not None and not isinstance(session, str):
        raise RunError(400, "invalid_request", "session: a text is wanted.")
    return Task(
        id=request_id(request),
        caller=request.state.caller,
        turns=(Turn("user", message),),
        session=checked_session(session, "session") if session else None,
        stream=False,
        headers=task_headers(request),
    )


def _result(text: str, *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=is_error)
