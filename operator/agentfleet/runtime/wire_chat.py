"""OpenAI's /v1/chat/completions, plain and streamed, as its clients read it; and /v1/models.

An approval that is wanted ends the answer with finish_reason `tool_calls`, the calls standing in the message. The
client sends the conversation again with one message of role `tool` for each, {"approved": true} or {"approved": false}:
with the same x-session-id, or without one, where the id of the call names the session in which the run rests.

Any model id is taken: behind a route the client's alias arrives here as it was sent. The answer names the agent.

The fallback reply is an answer with finish_reason `stop` (clients with strict types know no other word that fits), the
header x-agentfleet-finish: fallback, and {"agentfleet": {"finish": "fallback"}} in the body.
"""

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from agentfleet.runtime import chat_request
from agentfleet.runtime.chat_request import ChatRequest
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.disconnect import EventStream, unless_left
from agentfleet.runtime.types import Caller, Delta, Done, Event, RunError, Task, Wanted
from agentfleet.runtime.wire_errors import error_body
from agentfleet.runtime.wire_headers import request_id, session_id, task_headers

Run = Callable[[Task], AsyncGenerator[Event, None]]
FINISH = "x-agentfleet-finish"
_FINISHES = {"approval": "tool_calls", "fallback": "stop"}


def routes(config: AgentConfig, run: Run, caller: Callable[[Request], Awaitable[Caller]]) -> list[BaseRoute]:
    """The routes of OpenAI's API."""

    async def chat(request: Request) -> Response:
        who = await caller(request)
        asked = chat_request.read(
            await request.body(), who, task_headers(request), request_id(request), session_id(request)
        )
        writer = _Writer(config.name, asked)
        events = run(asked.task)
        if asked.task.stream:
            return await _stream(request, writer, events)
        return await unless_left(request, _whole(writer, events))

    async def models(request: Request) -> Response:
        await caller(request)
        entry = {"id": config.name, "object": "model", "created": 0, "owned_by": config.namespace}
        return JSONResponse({"object": "list", "data": [entry]})

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
    ]


@dataclass
class _Writer:
    """How one answer is told."""

    name: str
    asked: ChatRequest
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, wanted: Wanted | None, done: Done) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text if text or wanted is None else None}
        if wanted:
            message["tool_calls"] = _tool_calls(wanted)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(done)}
        return {**self._head("chat.completion"), "choices": [choice], "usage": _usage(done), **_more(done)}

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def last(self, done: Done) -> list[dict[str, Any]]:
        chunks = [{**self.chunk({}, _finish(done)), **_more(done)}]
        if self.asked.include_usage:
            chunks.append({**self._head("chat.completion.chunk"), "choices": [], "usage": _usage(done)})
        return chunks

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self.asked.task.id}", "object": kind, "created": self.created, "model": self.name}


async def _whole(writer: _Writer, events: AsyncGenerator[Event, None]) -> Response:
    texts: list[str] = []
    wanted: Wanted | None = None
    done = Done()
    async with aclosing(events):
        async for event in events:
            match event:
                case Delta(text):
                    texts.append(text)
                case Wanted():
                    wanted = event
                case Done():
                    done = event
    headers = {FINISH: done.finish} if done.finish == "fallback" else {}
    return JSONResponse(writer.whole("".join(texts), wanted, done), headers=headers)


async def _stream(request: Request, writer: _Writer, events: AsyncGenerator[Event, None]) -> Response:
    """The first event is awaited before the status goes out, so that what is refused has a status of its own."""
    try:
        first = await unless_left(request, anext(events))
    except BaseException:
        await events.aclose()
        raise
    return EventStream(_lines(writer, first, events), events)


async def _lines(writer: _Writer, first: Event, events: AsyncGenerator[Event, None]) -> AsyncGenerator[str, None]:
    yield _line(writer.chunk({"role": "assistant", "content": ""}))
    try:
        for line in _told(writer, first):
            yield line
        async for event in events:
            for line in _told(writer, event):
                yield line
    except RunError as error:
        yield _line(error_body(error))
        return
    yield "data: [DONE]\n\n"


def _told(writer: _Writer, event: Event) -> list[str]:
    match event:
        case Delta(text):
            return [_line(writer.chunk({"content": text}))]
        case Wanted():
            calls = [{"index": index, **call} for index, call in enumerate(_tool_calls(event))]
            return [_line(writer.chunk({"tool_calls": calls}))]
        case Done():
            return [_line(chunk) for chunk in writer.last(event)]


def _tool_calls(wanted: Wanted) -> list[dict[str, Any]]:
    prefix = f"{wanted.session}:" if wanted.session else ""
    return [
        {
            "id": f"{prefix}{approval.id}",
            "type": "function",
            "function": {"name": approval.tool, "arguments": approval.arguments},
        }
        for approval in wanted.approvals
    ]


def _finish(done: Done) -> str:
    return _FINISHES.get(done.finish, done.finish)


def _more(done: Done) -> dict[str, Any]:
    return {"agentfleet": {"finish": done.finish}} if done.finish == "fallback" else {}


def _usage(done: Done) -> dict[str, int]:
    usage = done.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }


def _line(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"
