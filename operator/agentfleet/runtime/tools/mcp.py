"""A server of the Model Context Protocol as a source of tools: Python functions of the pod, too.

One task per server keeps the connection and the list of its tools; calls use it from wherever they are made. A lost
session is made anew with growing waits; a server that hangs, answers junk or dies costs its own calls and no others.
Nothing of a server is trusted: mcp_transport.py bounds what it sends, naming.py and schema.py what it offers.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    METHOD_NOT_FOUND,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Tool,
    ToolListChangedNotification,
)
from pydantic import ValidationError

from agentfleet.runtime.config_tools import Header, ToolEntry
from agentfleet.runtime.tools import kept_list, mcp_results, mcp_transport, naming
from agentfleet.runtime.tools.mcp_transport import Attempt
from agentfleet.runtime.tools.outbound import MountedHeaders
from agentfleet.runtime.tools.records import MAX_BODY, Busy, Invocation, Offer, Unreached, passed_on
from agentfleet.runtime.types import ToolError

_LOG = logging.getLogger(__name__)
_HANDSHAKE = 10.0
"""Seconds for each request of the handshake and of the list of tools."""
_RELIST = 30.0
"""Seconds between looks at the list: finds a dead server, and changes that it does not tell."""
_LEAST_BETWEEN = 0.5
"""Seconds: a server that tells changes without end is not asked without end."""
_BOUNDED_ABOVE = 24 * 3600.0
"""The pipeline bounds a call; without a value here, the handshake's would."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_PATIENCE = 2.0
"""Seconds that a call waits for a connection that is being made."""
_MOST_LISTED = 2000
KEY_META = "agentfleet.dev/idempotency-key"
"""In a call's _meta: the same for a repetition."""


class McpSource:
    """One MCP server."""

    longest_wait = _LONGEST_WAIT
    """Seconds between two tries to connect."""

    def __init__(
        self,
        entry: ToolEntry,
        url: str,
        *,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        headers: tuple[Header, ...] = (),
        kept: Path | None = None,
    ) -> None:
        """`kept` is a file for the list of tools, so that calls can be queued by a process that began offline."""
        self.entry = entry
        self._url = url
        self._include = include
        self._exclude = exclude
        self._headers = MountedHeaders(headers)
        self._kept = kept
        self._offers: tuple[Offer, ...] = ()
        self._problems: tuple[str, ...] = ()
        self._missing: str | None = "not connected yet"
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._stale = asyncio.Event()
        """The list of tools, or the session, is to be looked at again."""
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin to connect."""
        if self._kept is not None:
            self._offers = await asyncio.to_thread(kept_list.read, self._kept)
        self._keeper = asyncio.create_task(self._keep(), name=f"mcp {self.entry.name}")

    async def close(self) -> None:
        """End the session."""
        self._closed = True
        # The client's task groups may turn a cancellation, come at the wrong moment, into an error of theirs.
        while self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=_PATIENCE)

    def missing(self) -> str | None:
        """What is wrong with the connection. Nothing, where calls can be queued meanwhile."""
        return None if self._kept is not None and self._offers else self._missing

    def problems(self) -> tuple[str, ...]:
        """What include names and the server does not have."""
        return self._problems

    def offers(self) -> tuple[Offer, ...]:
        """The tools of the last list."""
        return self._offers

    def secrets(self) -> tuple[str, ...]:
        """Headers' values."""
        return self._headers.values()

    def address(self) -> str:
        """Where its server is."""
        return self._url

    async def call(self, invocation: Invocation) -> str:
        """Call once; and once more on a new session where the server does not know the old one any more."""
        try:
            return await self._call(invocation, await self._connected())
        except _SessionLost:
            _LOG.info("tool %s: its server forgot the session, a new one is made", self.entry.name)
        try:
            return await self._call(invocation, await self._connected())
        except _SessionLost as error:
            raise ToolError("its server forgets each session at once") from error

    async def _call(self, invocation: Invocation, client: Client) -> str:
        request = CallToolRequest(
            params=CallToolRequestParams(
                name=invocation.tool, arguments=dict(invocation.arguments), _meta={KEY_META: invocation.key}
            )
        )
        with mcp_transport.attempt(passed_on(invocation.task.headers)) as attempt, self._failures(attempt, client):
            # not client.call_tool: that runs the server's own output schema over the result, its patterns included
            result = await client.session.send_request(request, CallToolResult, _BOUNDED_ABOVE)
        text = mcp_results.text_of(result)
        if result.is_error:
            raise ToolError(text or "it failed and does not say why")
        return text

    @contextlib.contextmanager
    def _failures(self, attempt: Attempt, client: Client) -> Iterator[None]:
        """Failures of one call in words for the model."""
        try:
            yield
        except (ValidationError, RuntimeError) as error:  # RuntimeError: a result that asks something back
            raise ToolError("its server answered with something that is no result") from error
        except MCPError as error:
            # The list is looked at again, which finds out whether the server is gone. The session is not given up for
            # one call: others may be under way on it.
            self._stale.set()
            if attempt.unreached or not attempt.sent:
                raise Unreached(f"its server cannot be reached: {attempt.failure or 'no connection'}") from error
            if attempt.failure or not attempt.status:
                why = attempt.failure or "the connection broke"
                raise ToolError(f"{why}; whether it was done is not known") from error
            if 300 <= attempt.status < 400:
                raise ToolError(f"its server redirects (status {attempt.status}), which is not followed") from error
            if attempt.status == 404 and error.code != METHOD_NOT_FOUND:
                self._give_up(client)
                raise _SessionLost from error
            if attempt.status in {429, 503}:
                raise Busy(f"its server takes no calls now (status {attempt.status})") from error
            said = f" (status {attempt.status})" if attempt.status >= 400 else ""
            raise ToolError(f"its server refuses the call{said}: {error.message}") from error

    def _give_up(self, client: Client) -> None:
        if self._client is client:
            self._down("its server forgot the session")

    async def _connected(self) -> Client:
        if self._client is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._up.wait()
        if self._client is None:
            raise Unreached("its server cannot be reached")
        return self._client

    async def _keep(self) -> None:
        wait = _FIRST_WAIT
        while not self._closed:
            began = asyncio.get_running_loop().time()
            try:
                await self._serve()
            except (
                Exception
            ) as error:  # whatever a server can bring about; the class says enough, texts may hold content
                self._down(f"it does not answer ({_root(error)})")
                _LOG.warning("tool %s: %s", self.entry.name, self._missing)
            if self._closed:
                return
            if asyncio.get_running_loop().time() - began > _LONGEST_WAIT:
                wait = _FIRST_WAIT
            await asyncio.sleep(wait)
            wait = min(2 * wait, self.longest_wait)

    async def _serve(self) -> None:
        """One session, from the handshake until it is lost."""
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(mcp_transport.client(self._headers))
            transport = streamable_http_client(self._url, http_client=http, max_sse_event_size=MAX_BODY)
            client = Client(
                transport,
                cache=None,
                read_timeout_seconds=_HANDSHAKE,
                message_handler=self._told,
            )
            with mcp_transport.attempt() as attempt, _answering(attempt):
                await stack.enter_async_context(client)
            await self._look(client, http)
            self._client, self._missing = client, None
            self._up.set()
            await self._listen(client, stack)
            while self._client is client:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RELIST):
                        await self._stale.wait()
                self._stale.clear()
                if self._client is client:
                    await self._look(client, http)
                    await asyncio.sleep(_LEAST_BETWEEN)

    async def _listen(self, client: Client, stack: contextlib.AsyncExitStack) -> None:
        """Ask to be told of changes, where the protocol wants that; older ones tell unasked."""
        if client.session.discover_result is None:
            return
        try:
            await stack.enter_async_context(client.listen(tools_list_changed=True))
            self._stale.set()  # it may have changed between the first list and now
        except (MCPError, TimeoutError, RuntimeError) as error:
            _LOG.info("tool %s: changes are looked for instead of told (%s)", self.entry.name, type(error).__name__)

    async def _told(self, message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._stale.set()

    async def _look(self, client: Client, _http: httpx2.AsyncClient) -> None:
        """What the server has now. PythonSource asks for more."""
        self._problems = await self._list(client)

    async def _list(self, client: Client) -> tuple[str, ...]:
        tools: list[Tool] = []
        cursor: str | None = None
        with mcp_transport.attempt() as attempt, _answering(attempt):
            while True:
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None or not page.tools or len(tools) >= _MOST_LISTED:
                    break
        names = naming.chosen([tool.name for tool in tools], self._include, self._exclude)
        offers = tuple(
            Offer(tool.name, tool.description or tool.title or tool.name, tool.input_schema)
            for tool in tools
            if tool.name in set(names)
        )
        if offers != self._offers:  # the toolbox looks whether it is the same object
            _LOG.info("tool %s: its server has %d tools", self.entry.name, len(offers))
            self._offers = offers
            if self._kept is not None:
                await asyncio.to_thread(kept_list.write, self._kept, offers)
        absent = [name for name in self._include if name not in names]
        return (f"it has no tool {', '.join(absent)}",) if absent else ()

    def _down(self, why: str) -> None:
        self._client, self._missing = None, why
        self._up.clear()


class _SessionLost(Exception):
    """404 to a session's request: the server has not looked at it."""


class _NoAnswer(Exception):
    """What is wrong with a server, for the readiness."""


@contextlib.contextmanager
def _answering(attempt: Attempt) -> Iterator[None]:
    """The library's error says what the protocol makes of a failure; the attempt knows what it was."""
    try:
        yield
    except MCPError as error:
        status = f"status {attempt.status}" if attempt.status >= 400 else ""
        raise _NoAnswer(attempt.failure or status or f"MCP error {error.code}") from error


def _root(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):  # task groups wrap what happened, one around the other
        error = error.exceptions[0]
    if isinstance(error, _NoAnswer):
        return str(error)
    if isinstance(error, ValidationError):
        return "one of its answers, perhaps a tool in its list, is not as the protocol has it"
    return type(error).__name__
