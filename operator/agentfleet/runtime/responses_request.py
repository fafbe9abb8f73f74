"""A request to /v1/responses → a Task. Pure.

The conversation is a session: the one that previous_response_id, `conversation` or x-session-id names, else a new one,
whose id is in the id of the response, so that any replica knows it; with `store: false` there is none. A chain of
previous_response_id is one conversation that goes on at its end; it does not branch.
"""

import base64
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import Field

from agentfleet.runtime import images
from agentfleet.runtime.types import Caller, Priority, RunError, Sampling, Task, Turn, Verdict
from agentfleet.runtime.wire_errors import BadRequest
from agentfleet.runtime.wire_headers import SESSION_ID, checked_session
from agentfleet.runtime.wire_json import Strict, parse

_ID = re.compile(r"resp_[0-9a-f]{16}(?:_([\w-]+))?", re.ASCII)
_KEPT_RUN = re.compile(r"(run-[0-9a-f]{32}):(.+)", re.ASCII)
"""Id of an approval of a run without a session: the session it rests in, and its own id."""
_ECHOES = frozenset({"mcp_approval_request", "mcp_call", "mcp_list_tools", "reasoning"})
"""What clients send back of former answers; the session has it."""
_TEXTS = frozenset({"input_text", "output_text", "text"})
_REFUSED: Final[dict[str, str]] = {
    "tools": "an agent has tools of its own; leave it out. tool_choice may name one of them",
    "background": "an answer is waited for; for runs in the background ask over A2A",
    "prompt": "an agent has instructions of its own; leave it out",
}
_PRIORITIES: Final[dict[str, Priority]] = {"priority": "high", "flex": "low"}
_ROLES: Final[dict[str, Literal["system", "user", "assistant"]]] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}


class _Part(Strict):
    type: str
    text: str | None = None
    image_url: str | None = Field(None, pattern=images.ADDRESS)


class _Item(Strict):
    type: str = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[_Part] | None = None
    approval_request_id: str | None = None
    approve: bool | None = None
    reason: str | None = None


class _Conversation(Strict):
    id: str


class _Format(Strict):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = "answer"
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class _Text(Strict):
    format: _Format | None = None


class _NamedTool(Strict):
    type: Literal["function"]
    name: str


class _Request(Strict):
    input: str | list[_Item]
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: str | _Conversation | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_output_tokens: int | None = Field(None, ge=1)
    text: _Text | None = None
    tool_choice: Literal["auto", "none", "required"] | _NamedTool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=512)
    service_tier: str | None = None
    tools: list[Any] | None = None
    background: bool | None = None
    prompt: Any = None


@dataclass(frozen=True)
class ResponsesRequest:
    """What was asked, and what of it the answer repeats."""

    task: Task
    stream: bool
    id: str
    """Of the response."""
    echo: Mapping[str, Any]


def read(
    body: bytes, caller: Caller, headers: Mapping[str, str], request_id: str, session: str | None
) -> ResponsesRequest:
    """BadRequest names the field that is wrong; RunError(404) where previous_response_id names no conversation."""
    asked = parse(_Request, body)
    for name, why in _REFUSED.items():
        if getattr(asked, name):
            raise BadRequest(f"{name}: {why}.", name, "unsupported_parameter")
    items = [_Item(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    kept, verdicts = _verdicts(items)
    named = _named_session(asked, session) or kept
    turns = _turns(asked.instructions, items, _last_answer(items) if named else -1)
    if not verdicts and not any(turn.role == "user" for turn in turns):
        raise BadRequest("input: nothing to answer: a message with role user is wanted at the end.", "input")
    stored = asked.store is not False
    used = named or (uuid.uuid4().hex if stored else None)
    task = Task(
        id=request_id,
        caller=caller,
        turns=turns,
        session=used,
        sampling=_sampling(asked),
        verdicts=verdicts,
        priority=_PRIORITIES.get(asked.service_tier or "", "normal"),
        user=asked.user or asked.safety_identifier,
        stream=bool(asked.stream),
        headers=headers,
    )
    return ResponsesRequest(task, bool(asked.stream), new_id(used if stored else None), _echo(asked))


def new_id(session: str | None) -> str:
    """Of a response; it tells the session, which belongs to its caller, so there is nothing to guess or to forge."""
    told = f"_{base64.urlsafe_b64encode(session.encode()).decode().rstrip('=')}" if session else ""
    return f"resp_{uuid.uuid4().hex[:16]}{told}"


def session_of(response_id: str) -> str | None:
    """The session that `new_id` was given; None where it is not such an id."""
    found = _ID.fullmatch(response_id)
    if not found or not found[1]:
        return None
    try:
        return base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4)).decode()
    except ValueError:
        return None


def _named_session(asked: _Request, header: str | None) -> str | None:
    named: dict[str, str] = {SESSION_ID: header} if header else {}
    if asked.previous_response_id:
        session = session_of(asked.previous_response_id)
        if session is None:
            raise RunError(404, "previous_response_not_found", "previous_response_id: there is no such conversation.")
        named["previous_response_id"] = checked_session(session, "previous_response_id")
    if asked.conversation:
        told = asked.conversation if isinstance(asked.conversation, str) else asked.conversation.id
        named["conversation"] = checked_session(told, "conversation")
    if len(set(named.values())) > 1:
        raise BadRequest(f"{' and '.join(named)} name different conversations.", "previous_response_id")
    return next(iter(named.values()), None)


def _last_answer(items: Sequence[_Item]) -> int:
    """A session has what was said up to there."""
    answers = (index for index, item in enumerate(items) if item.type == "message" and item.role == "assistant")
    return max(answers, default=-1)


def _turns(instructions: str | None, items: Sequence[_Item], after: int) -> tuple[Turn, ...]:
    turns = [Turn("system", instructions)] if instructions else []
    for index, item in enumerate(items):
        where = f"input[{index}]"
        if item.type == "message" and item.role is not None:
            turn = _turn(item, where)
            if turn.role == "system" or index > after:
                turns.append(turn)
        elif item.type == "message":
            raise BadRequest(f"{where}.role: is missing.", f"{where}.role")
        elif item.type not in _ECHOES and item.type != "mcp_approval_response":
            raise BadRequest(f"{where}.type: {item.type!r} is not taken.", f"{where}.type", "unsupported_parameter")
    return tuple(turns)


def _turn(item: _Item, where: str) -> Turn:
    parts = [_Part(type="input_text", text=item.content)] if isinstance(item.content, str) else item.content or []
    for index, part in enumerate(parts):
        if part.type not in _TEXTS and not (part.type == "input_image" and part.image_url):
            field = f"{where}.content[{index}]"
            raise BadRequest(f"{field}: text and images by image_url are taken, not {part.type!r}.", field)
    text = "\n".join(part.text for part in parts if part.text)
    pictures = tuple(part.image_url for part in parts if part.image_url)
    return Turn(_ROLES[item.role or "user"], text, pictures)


def _verdicts(items: Sequence[_Item]) -> tuple[str | None, tuple[Verdict, ...]]:
    session: str | None = None
    verdicts = []
    for index, item in enumerate(items):
        if item.type != "mcp_approval_response":
            continue
        where = f"input[{index}]"
        if not item.approval_request_id or item.approve is None:
            field = f"{where}.{'approve' if item.approval_request_id else 'approval_request_id'}"
            raise BadRequest(f"{field}: is missing.", field)
        kept = _KEPT_RUN.fullmatch(item.approval_request_id)
        session = kept[1] if kept else session
        verdicts.append(Verdict(kept[2] if kept else item.approval_request_id, item.approve, item.reason or ""))
    return session, tuple(verdicts)


def _sampling(asked: _Request) -> Sampling:
    choice = asked.tool_choice
    return Sampling(
        temperature=asked.temperature,
        max_tokens=asked.max_output_tokens,
        top_p=asked.top_p,
        response_format=_format(asked.text.format if asked.text else None),
        tool_choice=choice.name if isinstance(choice, _NamedTool) else choice,
    )


def _format(asked: _Format | None) -> dict[str, Any] | None:
    """In the form of chat completions, which is what models are asked in."""
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return {"type": "json_object"}
    if asked.json_schema is None:
        raise BadRequest("text.format.schema: is missing.", "text.format.schema")
    strict = {} if asked.strict is None else {"strict": asked.strict}
    return {"type": "json_schema", "json_schema": {"name": asked.name, "schema": asked.json_schema, **strict}}


def _echo(asked: _Request) -> dict[str, Any]:
    choice = asked.tool_choice
    return {
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": asked.metadata or {},
        "previous_response_id": asked.previous_response_id,
        "store": asked.store is not False,
        "temperature": asked.temperature,
        "text": asked.text.model_dump(by_alias=True, exclude_none=True) if asked.text else {"format": {"type": "text"}},
        "tool_choice": choice.model_dump() if isinstance(choice, _NamedTool) else choice or "auto",
        "top_p": asked.top_p,
        "user": asked.user,
    }
