"""The Runner of one agent: the Microsoft Agent Framework between a Task and its Events.

With orchestration.py the only place that imports the framework, whose minor versions change weekly. It is given one
Task at a time by runs.py, in a task of its own, with gate, guardrails and time limit around it; it knows none of them.

The model is asked for a stream only where somebody reads one: SDK and framework take a third of a millisecond of CPU
for each chunk. Either way the same events come out, and leaving ends the call of the model. The framework has limits
for tool calls and checks of their arguments, too coarse to rely on: both are the tools' (tools/pipeline.py). A call of
a tool that there is not never gets there: the framework answers it, and whoever keeps records is told from here.
"""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, cast

from agent_framework import (
    Agent,
    AgentResponse,
    AgentResponseUpdate,
    AgentSession,
    ChatContext,
    ChatMiddleware,
    ChatOptions,
    ChatResponse,
    Content,
    FunctionTool,
    Message,
    ResponseStream,
)
from agent_framework.exceptions import AgentFrameworkException
from agent_framework.observability import enable_sensitive_telemetry
from agent_framework.openai import OpenAIChatCompletionClient
from opentelemetry import context as otel

from agentfleet.runtime import approvals, model_errors, model_options, telemetry
from agentfleet.runtime.access import effective_mode
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.model import Model
from agentfleet.runtime.reading import Reading
from agentfleet.runtime.types import (
    Decided,
    Delta,
    Done,
    Step,
    Task,
    Tool,
    ToolCall,
    ToolError,
    Turn,
    Wanted,
)

_SESSION = "session"

_task: ContextVar[Task] = ContextVar("agentfleet_task")
"""The run that is under way in this context; tools are called in tasks that inherit it."""
_reasons: ContextVar[Mapping[str, str]] = ContextVar("agentfleet_reasons")
"""Why calls of its session were rejected (approvals.reasons)."""


def capture_content() -> None:
    """Texts in spans from now on, for the whole process."""
    enable_sensitive_telemetry()


class FrameworkRunner:
    """One agent. `tools` and `instructions` are asked at each run: servers of tools change theirs, and files theirs."""

    def __init__(
        self,
        config: AgentConfig,
        model: Model,
        instructions: Callable[[], str],
        tools: Callable[[], Sequence[Tool]],
        tools_ready: Callable[[], Any],
        headers: Callable[[Task], Mapping[str, str]] = lambda task: task.headers,
        unknown: Callable[[ToolCall], None] = lambda call: None,
    ) -> None:
        """`headers` go with the calls of the model; `unknown` is told of calls of tools that there are not."""
        self._config = config
        self._model = model
        self._instructions = instructions
        self._tools = tools
        self._tools_ready = tools_ready
        self._headers = headers
        self._built: tuple[tuple[Tool, ...], list[FunctionTool]] = ((), [])
        client = OpenAIChatCompletionClient(
            model.id,
            async_client=model.client,
            middleware=[_Unknown(unknown)],
            message_preparer=_prepared,
            function_invocation_configuration={
                # The framework asks once more, without tools, when these are used up: N answers in all.
                "max_iterations": max(1, config.limits.max_iterations - 1),
                "max_consecutive_errors_per_request": config.limits.max_iterations,
            },
        )
        self._agent = Agent(client, name=config.name)

    async def ready(self) -> None:
        """Model and tools answer; RunError(503) names what does not."""
        await self._model.ready()
        await self._tools_ready()

    async def close(self) -> None:
        """Give the model's connections back."""
        await self._model.close()

    async def run(self, task: Task, state: dict[str, Any]) -> AsyncIterator[Step]:
        """As types.Runner has it."""
        tools = self._function_tools()
        session = AgentSession.from_dict(state[_SESSION]) if _SESSION in state else AgentSession(session_id=task.id)
        # Before approvals are settled: what is refused here leaves them open.
        options = model_options.options(self._config, task, self._instructions(), {tool.name for tool in tools})
        messages = [_message(turn) for turn in task.turns if turn.role != "system"]
        if task.verdicts or not messages:
            waited = approvals.waiting(state)
            open_ones = approvals.settle(state, task.verdicts)
            yield Decided.of(waited, task.verdicts)
            if open_ones:
                yield Wanted(open_ones)
                yield Done("approval")
                return
            messages.insert(0, _verdict_message(state))
        approvals.clear(state)
        mode = effective_mode(self._config.privacy.mode, task.caller)
        recorded = mode == "Standard" or not self._config.monitoring.capture_content
        otel.attach(telemetry.parent(task.headers, recorded=recorded))
        _reasons.set(approvals.reasons(state))
        _task.set(task)  # runs.py gives each run a task, and so a context, of its own
        reading = Reading(bool(tools) and model_options.final_alone(self._config, task))
        try:
            ask: dict[str, Any] = {
                "session": session,
                "tools": tools or None,
                "options": cast("ChatOptions[Any]", options),
                "client_kwargs": {"extra_headers": dict(self._headers(task))},
            }
            made = (
                _streamed(self._agent.run(messages, stream=True, **ask), reading)
                if task.stream
                else _whole(self._agent.run(messages, stream=False, **ask), reading)
            )
            async with aclosing(made) as texts:
                async for text in texts:
                    yield Delta(text)
        except AgentFrameworkException as error:
            raise model_errors.told(error, task) from error
        state[_SESSION] = session.to_dict()
        if reading.wanted:
            yield Wanted(approvals.keep(state, [content.to_dict() for content in reading.wanted]))
        yield Done(reading.how_it_ended(), reading.usage)

    async def summarize(self, text: str) -> str:
        """What a conversation was about, for the session of the run that is under way."""
        return await self._model.summarize(text, self._headers(_task.get()))

    def _function_tools(self) -> list[FunctionTool]:
        tools = tuple(self._tools())
        if tools != self._built[0]:
            self._built = (tools, [_function_tool(tool) for tool in tools])
        return self._built[1]


async def _streamed(stream: ResponseStream[AgentResponseUpdate, Any], reading: Reading) -> AsyncGenerator[str, None]:
    """The answer's text as it comes; all else goes into `reading`."""
    async with stream:  # closes the call of the model, which leaving the loop alone does not
        async for update in stream:
            for content in update.contents:
                if text := reading.read(content):
                    yield text
            if update.role == "assistant" and update.response_id not in (None, reading.last):
                reading.answers, reading.last = reading.answers + 1, update.response_id
            reading.finish = update.finish_reason or reading.finish
        final = await stream.get_final_response()
        if final.usage_details:
            reading.spent(final.usage_details)
    if reading.held:
        yield "".join(reading.held)


async def _whole(answer: Awaitable[AgentResponse[Any]], reading: Reading) -> AsyncGenerator[str, None]:
    """The same of an answer that comes at once."""
    response = await answer
    for message in response.messages:
        reading.answers += message.role == "assistant"
        for content in message.contents:
            if text := reading.read(content):
                yield text
    reading.finish = response.finish_reason
    reading.spent(response.usage_details)
    if reading.held:
        yield "".join(reading.held)


def _message(turn: Turn) -> Message:
    contents: list[Any] = [turn.text] if turn.text or not turn.images else []
    contents += [Content.from_uri(url, media_type=_media_type(url)) for url in turn.images]
    # Without an id the framework takes a question and an answer that come twice for a replay, and forgets one of them.
    return Message(turn.role, contents, message_id=uuid.uuid4().hex)


def _media_type(url: str) -> str:
    """The framework sends as image_url what says that it is an image."""
    return url[5:].split(";", 1)[0].split(",", 1)[0] if url.startswith("data:image/") else "image/*"


def _verdict_message(state: dict[str, Any]) -> Message:
    decided = approvals.decided(state)
    return Message(
        "user",
        [Content.from_dict(dict(request)).to_function_approval_response(approved) for request, approved in decided],
    )


def _prepared(message: Message, made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = _reasons.get()
    results = (content for content in message.contents if content.type == "function_result")
    rejected = {content.call_id: known[content.id] for content in results if content.id and content.id in known}
    return model_options.prepared(message.role, made, rejected)


def _function_tool(tool: Tool) -> FunctionTool:
    async def call(**arguments: Any) -> str:
        try:
            return await tool.call(ToolCall(_task.get(), tool.name, arguments))
        except ToolError as error:
            return f"Error: {error}"

    return _Declared(tool, call)


class _Declared(FunctionTool):
    """Shows the tool's schema to the model and checks nothing itself.

    The tool does, against the whole schema, tells the model what is wrong, and writes it down; the framework's check
    covers a part of JSON Schema and says no more than that it failed.
    """

    def __init__(self, tool: Tool, call: Callable[..., Awaitable[str]]) -> None:
        super().__init__(
            name=tool.name,
            description=tool.description,
            func=call,
            input_model={"type": "object"},
            approval_mode="always_require" if tool.approval else "never_require",
        )
        self._declared = dict(tool.parameters)

    def to_json_schema_spec(self) -> dict[str, Any]:
        """What the model is sent."""
        about = {"name": self.name, "description": self.description, "parameters": self._declared}
        return {"type": "function", "function": about}


class _Unknown(ChatMiddleware):
    """Tells of calls of tools that the model was not offered: the framework answers these, and asks no tool."""

    def __init__(self, tell: Callable[[ToolCall], None]) -> None:
        self._tell = tell

    async def process(self, context: ChatContext, call_next: Callable[[], Awaitable[None]]) -> None:
        """Around one call of the model."""
        offered = {tool.name for tool in (context.options or {}).get("tools") or ()}

        def look(answer: ChatResponse[Any]) -> ChatResponse[Any]:
            for content in (content for message in answer.messages for content in message.contents):
                if content.type == "function_call" and content.name not in offered:
                    self._tell(ToolCall(_task.get(), content.name or "", content.parse_arguments() or {}))
            return answer

        if context.stream:
            context.stream_result_hooks.append(look)
        await call_next()
        if isinstance(context.result, ChatResponse):
            look(context.result)
