"""The agent over A2A: its card, and JSON-RPC at /a2a (messages plain and streaming, tasks, cancellation).

The framework's own executor ends a run that waits for an approval as if it were complete, without output; ours makes it
`input-required` and resumes it on the same context. The context is the session: the same one that chat completions
know by x-session-id. Errors before a task exists are JSON-RPC errors; a run that fails is a task that failed.
"""

import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from a2a.helpers import new_task
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import DefaultServerCallContextBuilder, create_agent_card_routes
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.server.tasks import TaskUpdater
from a2a.types import AgentCard, Message, Part, TaskState
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from agentfleet.runtime import hitl
from agentfleet.runtime.a2a_answers import FINISH, USAGE
from agentfleet.runtime.a2a_requests import Asked, NotDecided, is_streaming, task_of, verdicts_of, waiting_of
from agentfleet.runtime.a2a_tasks import BoundedTasks, Named
from agentfleet.runtime.card import PATH, card
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.types import Approval, Caller, Delta, Done, Event, RunError, Task, Tool, Wanted
from agentfleet.runtime.wire_errors import error_response
from agentfleet.runtime.wire_headers import task_headers

Run = Callable[[Task], AsyncGenerator[Event, None]]
Identify = Callable[[Request], Awaitable[Caller]]

_MOST_TASKS = 1000
_PAUSED_IN_MEMORY = 300.0
"""Seconds after which a paused task costs no more than its entry in the store."""
_OVERLOAD = (429, 503)
"""Nothing was done: a task may be sent again, and approvals are still open."""
_REFUSAL_HEADERS = ("www-authenticate", "retry-after")
_SDK_HEADERS = ("a2a-version", "a2a-extensions", "x-a2a-extensions")

log = logging.getLogger(__name__)


class A2A:
    """What is served over A2A."""

    def __init__(
        self, config: AgentConfig, run: Run, caller: Identify, tools: Callable[[], Sequence[Tool]] = tuple
    ) -> None:
        """`tools` are asked at each request for the card, since servers of tools change theirs."""
        self._config = config
        self._caller = caller
        self._tools = tools
        self._handler = DefaultRequestHandler(
            agent_executor=Executor(run),
            task_store=BoundedTasks(_MOST_TASKS, config.session.ttl),
            agent_card=card(config),
            interrupted_task_timeout=_PAUSED_IN_MEMORY,
        )
        self._dispatcher = JsonRpcDispatcher(self._handler, context_builder=_Builder(), enable_v0_3_compat=True)

    def routes(self) -> list[BaseRoute]:
        """The card is for everybody, the endpoint for who may ask the agent."""
        cards = create_agent_card_routes(card(self._config), card_modifier=self._card)
        return [*cards, Route(PATH, self._serve, methods=["POST"])]

    async def close(self) -> None:
        """Cancel what is left."""
        await self._handler.aclose()

    async def _card(self, _: AgentCard) -> AgentCard:
        return card(self._config, self._tools())

    async def _serve(self, request: Request) -> Response:
        try:
            request.state.asked = Asked(await self._caller(request), task_headers(request))
        except RunError as error:
            return await _refusal(request, error)
        return await self._dispatcher.handle_requests(request)


class _Builder(DefaultServerCallContextBuilder):
    """Brings the caller, who is known by then, to where the SDK keeps tasks apart and to the executor."""

    def build(self, request: Request) -> ServerCallContext:
        context = super().build(request)
        # Of the headers, which hold credentials, only those that the SDK reads.
        headers = {name: value for name in _SDK_HEADERS if (value := request.headers.get(name)) is not None}
        context.state = {"asked": request.state.asked, "headers": headers}
        context.user = Named(request.state.asked.caller.subject)
        return context


class Executor(AgentExecutor):
    """One message of a client, from Task to Events to the task's updates."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancelling this cancels the run, and with it the calls of model and tools."""
        task_id, context_id = context.task_id or "", context.context_id or ""
        paused = context.current_task is not None
        if not paused:
            history = [context.message] if context.message else []
            state = TaskState.TASK_STATE_SUBMITTED
            await event_queue.enqueue_event(new_task(task_id, context_id, state, history=history))
        waiting = waiting_of(context)
        publisher = _Publisher(TaskUpdater(event_queue, task_id, context_id), is_streaming(context))
        try:
            verdicts = verdicts_of(context, waiting)
            task = task_of(context, verdicts)
            await publisher.start()
            async with aclosing(self._run(task)) as events:
                async for event in events:
                    await publisher.publish(event)
        except RunError as error:
            await publisher.refuse(error, waiting)
        except Exception:
            log.exception("the run of a task of A2A failed")
            await publisher.refuse(RunError(500, "internal_error", "The agent failed."), ())

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """The SDK cancels `execute` right after this."""
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


class _Publisher:
    """Writes a run's events into a task."""

    def __init__(self, updater: TaskUpdater, streaming: bool) -> None:
        self._updater = updater
        self._streaming = streaming
        self._artifact = uuid.uuid4().hex  # of its own, since a task that was paused has one from before
        self._pieces: list[str] = []
        self._sent = False
        self._wanted: tuple[Approval, ...] = ()

    async def start(self) -> None:
        await self._updater.start_work()

    async def publish(self, event: Event) -> None:
        match event:
            case Delta(text):
                await self._text(text)
            case Wanted(approvals):
                self._wanted = approvals
            case Done():
                await self._end(event)

    async def refuse(self, error: RunError, waiting: Sequence[Approval]) -> None:
        """A task whose calls still wait for a decision stays paused; any other has ended."""
        if waiting and (isinstance(error, NotDecided) or error.status in _OVERLOAD):
            return await self._pause(tuple(waiting), error.message)
        state = TaskState.TASK_STATE_REJECTED if error.status in _OVERLOAD else TaskState.TASK_STATE_FAILED
        metadata: dict[str, Any] = {"agentfleet.dev/code": error.code, "agentfleet.dev/status": error.status}
        if error.retry_after is not None:
            metadata["agentfleet.dev/retryAfter"] = error.retry_after
        await self._flush()
        await self._updater.update_status(state, self._message(error.message), metadata=metadata)
        return None

    async def _text(self, text: str) -> None:
        """A client that does not stream gets one part in the end: many would be saved, and copied, one by one."""
        if self._streaming:
            await self._send(text)
        else:
            self._pieces.append(text)

    async def _flush(self) -> None:
        if self._pieces:
            await self._send("".join(self._pieces))
            self._pieces = []

    async def _send(self, text: str) -> None:
        await self._updater.add_artifact([Part(text=text)], artifact_id=self._artifact, append=self._sent)
        self._sent = True

    async def _end(self, done: Done) -> None:
        await self._flush()
        usage = {"input": done.usage.input, "output": done.usage.output, "calls": done.usage.calls}
        metadata = {USAGE: usage, FINISH: done.finish}
        if self._wanted:
            await self._pause(self._wanted, metadata=metadata)
        else:
            await self._updater.update_status(TaskState.TASK_STATE_COMPLETED, metadata=metadata)

    async def _pause(
        self, approvals: tuple[Approval, ...], problem: str = "", metadata: dict[str, Any] | None = None
    ) -> None:
        """The payload comes with or without the extension asked for: a pause without it could never be answered."""
        hint = f"{problem} {hitl.question(approvals)}".strip()
        message = self._message(hint)
        message.metadata.update(hitl.request(approvals, hint))
        message.extensions.append(hitl.URI)
        await self._updater.update_status(TaskState.TASK_STATE_INPUT_REQUIRED, message, metadata=metadata)

    def _message(self, text: str) -> Message:
        return self._updater.new_agent_message([Part(text=text)])


async def _refusal(request: Request, error: RunError) -> Response:
    """Who may not ask is told by HTTP too, as the protocol wants it."""
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        body = None
    request_id = body.get("id") if isinstance(body, dict) and isinstance(body.get("id"), str | int) else None
    response = error_response(error)
    told = {"code": -32000, "message": error.message, "data": {"code": error.code, "status": error.status}}
    headers = {name: value for name, value in response.headers.items() if name in _REFUSAL_HEADERS}
    return JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": told}, error.status, headers)
