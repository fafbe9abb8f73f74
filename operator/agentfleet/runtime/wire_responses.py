"""OpenAI's /v1/responses, plain and streamed, as its clients read it. One message of text is the answer.

Approvals are the API's own: items of type mcp_approval_request in the answer, mcp_approval_response in the input of a
request that goes on from it. The fallback reply is an answer as any, with agentfleet_finish: fallback in its metadata.
"""

import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from agentfleet.runtime import responses_request
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.disconnect import EventStream, unless_left
from agentfleet.runtime.responses_request import ResponsesRequest
from agentfleet.runtime.types import Caller, Delta, Done, Event, RunError, Task, Wanted
from agentfleet.runtime.wire_errors import error_body
from agentfleet.runtime.wire_headers import request_id, session_id, task_headers

Run = Callable[[Task], AsyncGenerator[Event, None]]
Json = dict[str, Any]
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def routes(config: AgentConfig, run: Run, caller: Callable[[Request], Awaitable[Caller]]) -> list[BaseRoute]:
    """The route. RunError goes to the application's handler."""

    async def create(request: Request) -> Response:
        who = await caller(request)
        asked = responses_request.read(
            await request.body(), who, task_headers(request), request_id(request), session_id(request)
        )
        writer = Writer(config.name, asked)
        events = run(asked.task)
        if not asked.stream:
            return await unless_left(request, _whole(writer, events))
        try:  # the first event comes before the status, so that what is refused has a status of its own
            first = await unless_left(request, anext(events))
        except BaseException:
            await events.aclose()
            raise
        return EventStream(_lines(writer, first, events), events)

    return [Route("/v1/responses", create, methods=["POST"])]


class Writer:
    """One response: what it holds so far, and the events that tell it."""

    def __init__(self, model: str, asked: ResponsesRequest) -> None:
        self._head: Json = {
            "id": asked.id,
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "parallel_tool_calls": True,
            "tools": [],
            **asked.echo,
        }
        self._model = model
        self._number = 0
        self._message_id = f"msg_{uuid.uuid4().hex}"
        self._texts: list[str] = []
        self._wanted: list[Json] = []

    def read(self, event: Event) -> Iterator[Json]:
        """The events that tell `event`."""
        match event:
            case Delta(text):
                if not self._texts:
                    yield from self._message_begins()
                self._texts.append(text)
                yield self._event("response.output_text.delta", **self._place(), delta=text, logprobs=[])
            case Wanted():
                self._wanted += self._requests(event)
            case Done():
                yield from self._ends(event)

    def begins(self) -> Iterator[Json]:
        """The first events."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self.response("in_progress"))

    def fails(self, error: RunError) -> Iterator[Json]:
        """The last events of a run that failed: the second is the one that OpenAI's clients raise."""
        told = error_body(error)["error"]
        failure = {"code": "server_error", "message": error.message}
        yield self._event("response.failed", response=self.response("failed") | {"error": failure})
        yield self._event("error", code=error.code, message=error.message, param=None, error=told)

    def response(self, status: str, done: Done | None = None) -> Json:
        """The whole, as it stands."""
        reason = _INCOMPLETE.get(done.finish) if done else None
        metadata = dict(self._head["metadata"])
        if done and done.finish == "fallback":
            metadata["agentfleet_finish"] = "fallback"
        return {
            **self._head,
            "status": "incomplete" if reason else status,
            "output": self._output("incomplete" if reason else "completed") if done else [],
            "incomplete_details": {"reason": reason} if reason else None,
            "error": None,
            "metadata": metadata,
            "usage": _usage(done) if done else None,
        }

    def _ends(self, done: Done) -> Iterator[Json]:
        if not self._texts and not self._wanted:
            yield from self._message_begins()  # an empty answer is one still
            self._texts.append("")
        for index, item in enumerate(self._output("completed")):
            if item["type"] == "message":
                yield self._event("response.output_text.done", **self._place(), text=self._text, logprobs=[])
                yield self._event("response.content_part.done", **self._place(), part=_part(self._text))
            else:
                yield self._event("response.output_item.added", output_index=index, item=item)
            yield self._event("response.output_item.done", output_index=index, item=item)
        response = self.response("completed", done)
        yield self._event(f"response.{response['status']}", response=response)

    def _message_begins(self) -> Iterator[Json]:
        item = {**self._message("in_progress"), "content": []}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **self._place(), part=_part(""))

    def _output(self, status: str) -> list[Json]:
        message = [self._message(status)] if self._texts or not self._wanted else []
        return [*message, *self._wanted]

    def _message(self, status: str) -> Json:
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [_part(self._text)],
        }

    def _requests(self, wanted: Wanted) -> list[Json]:
        prefix = f"{wanted.session}:" if wanted.session else ""
        return [
            {
                "id": f"{prefix}{approval.id}",
                "type": "mcp_approval_request",
                "name": approval.tool,
                "arguments": approval.arguments,
                "server_label": self._model,
            }
            for approval in wanted.approvals
        ]

    @property
    def _text(self) -> str:
        return "".join(self._texts)

    def _place(self) -> Json:
        return {"item_id": self._message_id, "output_index": 0, "content_index": 0}

    def _event(self, kind: str, **more: Any) -> Json:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **more}


async def _whole(writer: Writer, events: AsyncGenerator[Event, None]) -> Response:
    done = Done()
    async with aclosing(events):
        async for event in events:
            for _ in writer.read(event):
                pass
            done = event if isinstance(event, Done) else done
    return JSONResponse(writer.response("completed", done))


async def _lines(writer: Writer, first: Event, events: AsyncGenerator[Event, None]) -> AsyncGenerator[str, None]:
    for told in (*writer.begins(), *writer.read(first)):
        yield _line(told)
    try:
        async for event in events:
            for told in writer.read(event):
                yield _line(told)
    except RunError as error:
        for told in writer.fails(error):
            yield _line(told)


def _line(event: Json) -> str:
    content = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {content}\n\n"


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(done: Done) -> Json:
    usage = done.usage
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input + usage.output,
    }
