"""A request to /v1/chat/completions → a Task. Pure.

What a client may ask of an agent is less than of a model: the tools are the agent's own, so `tools` of the client is
refused, while `tool_choice` may name one of them. With a session (x-session-id) the conversation is here: of `messages`
only what comes after the last answer is new. Without one `messages` is the whole conversation.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentfleet.runtime import images
from agentfleet.runtime.types import Caller, Priority, Sampling, Task, Turn, Verdict
from agentfleet.runtime.wire_errors import BadRequest
from agentfleet.runtime.wire_json import Strict, parse

_KEPT_RUN = re.compile(r"(run-[0-9a-f]{32}):(.+)", re.ASCII)
"""Id of a tool call that waits for approval of a client without a session: the session it rests in, and its id."""
_PRIORITIES: Final[dict[str, Priority]] = {"priority": "high", "flex": "low"}


class _Url(Strict):
    url: str = Field(pattern=images.ADDRESS)


class _Part(Strict):
    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: _Url | None = None


class _Message(Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if part.text)

    @property
    def images(self) -> tuple[str, ...]:
        parts = self.content if isinstance(self.content, list) else []
        return tuple(part.image_url.url for part in parts if part.image_url)


class _StreamOptions(Strict):
    include_usage: bool = False


class _Function(Strict):
    name: str = Field(max_length=64)


class _NamedTool(Strict):
    type: Literal["function"]
    function: _Function


class _ResponseFormat(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["text", "json_object", "json_schema"]


class _Request(Strict):
    messages: list[_Message] = Field(min_length=1, max_length=4096)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    response_format: _ResponseFormat | None = None
    tool_choice: Literal["auto", "none", "required"] | _NamedTool | None = None
    n: int | None = None
    user: str | None = Field(None, max_length=512)
    service_tier: str | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    logprobs: bool | None = None


@dataclass(frozen=True)
class ChatRequest:
    """What was asked, and how the answer is to be written."""

    task: Task
    include_usage: bool


def read(body: bytes, caller: Caller, headers: Mapping[str, str], request_id: str, session: str | None) -> ChatRequest:
    """BadRequest names the field that is wrong."""
    asked = parse(_Request, body)
    _refuse(asked)
    last = max((index for index, message in enumerate(asked.messages) if message.role == "assistant"), default=-1)
    resumed, verdicts = _verdicts(asked.messages, last)
    session = session or resumed
    turns = _turns(asked.messages, last if session else -1)
    if not verdicts and not any(turn.role == "user" for turn in turns):
        raise BadRequest("messages: nothing to answer: a message with role user is wanted at the end.", "messages")
    task = Task(
        id=request_id,
        caller=caller,
        turns=turns,
        session=session,
        sampling=_sampling(asked),
        verdicts=verdicts,
        priority=_PRIORITIES.get(asked.service_tier or "", "normal"),
        stream=bool(asked.stream),
        user=asked.user,
        headers=headers,
    )
    return ChatRequest(task, bool(asked.stream_options and asked.stream_options.include_usage))


def _refuse(asked: _Request) -> None:
    for name in ("tools", "functions"):
        if getattr(asked, name):
            message = f"{name}: an agent has tools of its own; leave it out. tool_choice may name one of them."
            raise BadRequest(message, name, "unsupported_parameter")
    if asked.n not in (None, 1):
        raise BadRequest("n: an agent gives one answer; leave it out or send 1.", "n", "unsupported_parameter")
    if asked.logprobs:
        raise BadRequest("logprobs: an agent's answer has none; leave it out.", "logprobs", "unsupported_parameter")


def _turns(messages: Sequence[_Message], after: int) -> tuple[Turn, ...]:
    """Instructions of the client are no part of the conversation, and hold wherever they stand."""
    turns = []
    for index, message in enumerate(messages):
        if message.role in ("system", "developer"):
            turns.append(Turn("system", message.text))
        elif message.role == "user" and index > after:
            turns.append(Turn("user", message.text, message.images))
        elif message.role == "assistant" and index > after and message.text:
            turns.append(Turn("assistant", message.text))
    return tuple(turns)


def _verdicts(messages: Sequence[_Message], last: int) -> tuple[str | None, tuple[Verdict, ...]]:
    """What tool messages after the last answer say: approvals are asked for as tool calls, told as their results."""
    session: str | None = None
    verdicts = []
    for index, message in enumerate(messages):
        if message.role != "tool" or index < last:
            continue
        where = f"messages[{index}]"
        if not message.tool_call_id:
            raise BadRequest(f"{where}.tool_call_id: is missing.", f"{where}.tool_call_id")
        kept = _KEPT_RUN.fullmatch(message.tool_call_id)
        if kept:
            session = kept[1]
        said = _said(message.text, f"{where}.content")
        verdicts.append(Verdict(kept[2] if kept else message.tool_call_id, said["approved"], said.get("reason", "")))
    return session, tuple(verdicts)


def _said(text: str, where: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    reason = said.get("reason", "") if isinstance(said, dict) else ""
    if not isinstance(said, dict) or not isinstance(said.get("approved"), bool) or not isinstance(reason, str):
        message = f'{where}: an approval is {{"approved": true}} or {{"approved": false, "reason": "..."}}.'
        raise BadRequest(message, where)
    return said


def _sampling(asked: _Request) -> Sampling:
    most = [number for number in (asked.max_tokens, asked.max_completion_tokens) if number is not None]
    choice = asked.tool_choice
    return Sampling(
        temperature=asked.temperature,
        max_tokens=min(most, default=None),
        top_p=asked.top_p,
        seed=asked.seed,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        response_format=_format(asked.response_format),
        tool_choice=choice.function.name if isinstance(choice, _NamedTool) else choice,
    )


def _format(asked: _ResponseFormat | None) -> dict[str, Any] | None:
    if asked is None or asked.type == "text":
        return None
    form = asked.model_dump()
    if asked.type == "json_schema":
        schema = form.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
            where = "response_format.json_schema"
            raise BadRequest(f"{where}: an object with name and schema is wanted.", where)
    return form
