"""Keeps a conversation short enough for the model. Pure, but for the model's own summary, which is a parameter.

sessions.py asks it before a state is kept. The state is framework.py's: {"session": AgentSession.to_dict()}, with the
history under state.in_memory.messages. Whole turns are dropped, oldest first: a call of a tool is never parted from its
result, nor a pending approval from what it is about; and the turn in progress stays.
"""

import copy
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agentfleet.runtime.config import SessionStore

log = logging.getLogger(__name__)

Compact = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""From a state to the one that is kept."""
Summarize = Callable[[str], Awaitable[str]]
"""A text in, a shorter one out: a call of the model."""
Message = dict[str, Any]

_PER_MESSAGE = 4
"""Tokens of role and delimiters."""
_SAYS = ("text", "data", "uri", "image")
"""Contents by which a message of the user begins a turn; answers to approvals do not."""
RECALL = "What have we talked about so far?"
"""A summary stands as the answer to this: some models' templates want user and assistant to take turns."""
_MAX_SUMMARIZED = 60_000
"""Characters that are given to be summarized; the newest."""


def compactor(settings: SessionStore, summarize: Summarize | None = None) -> Compact:
    """What the settings ask for. Where a summary fails, the turns are dropped without one."""

    async def compact(state: dict[str, Any]) -> dict[str, Any]:
        messages = _messages(state)
        if settings.compaction == "None" or not messages or tokens(messages) <= settings.compaction_tokens:
            return state
        if settings.compaction == "Summarize" and summarize:
            return await _summarized(state, messages, settings.compaction_tokens, summarize)
        return _with(state, messages[cut(messages, settings.compaction_tokens) :])

    return compact


def fitted(state: dict[str, Any]) -> dict[str, Any] | None:
    """About half of it; None where there is no turn that could go."""
    messages = _messages(state)
    place = cut(messages, tokens(messages) // 2)
    return _with(state, messages[place:]) if place else None


def tokens(messages: Sequence[Message]) -> int:
    """An estimate: four bytes are a token, so is a letter of most scripts beyond Latin, nearly."""
    return sum(len(json.dumps(each.get("contents", ""), ensure_ascii=False).encode()) // 4 + _PER_MESSAGE
               for each in messages)  # fmt: skip


def cut(messages: Sequence[Message], most: int) -> int:
    """Where the messages begin that stay: at a turn, with at most `most` tokens if the last turn alone has not more."""
    begins = [index for index, message in enumerate(messages) if _begins_turn(message)]
    open_from = _unanswered(messages)
    allowed = [place for place in begins if place <= open_from and not _parted(messages, place)]
    if not allowed:
        return 0
    return next((place for place in allowed if tokens(messages[place:]) <= most), allowed[-1])


async def _summarized(
    state: dict[str, Any], messages: Sequence[Message], most: int, summarize: Summarize
) -> dict[str, Any]:
    place = cut(messages, most // 2)
    if not place:
        return state
    try:
        summary = await summarize(transcript(messages[:place])[-_MAX_SUMMARIZED:])
    except Exception as error:
        # a conversation that goes on with less beats one that ends
        log.warning("a session could not be summarized: its oldest turns are dropped (%s)", type(error).__name__)
        return _with(state, messages[place:])
    pair = [_text("user", RECALL), _text("assistant", summary[: most * 2])]
    return _with(state, [*pair, *messages[place:]])


def transcript(messages: Sequence[Message]) -> str:
    """What was said, and which tools were called, a line each."""
    lines = []
    for message in messages:
        for content in message.get("contents", ()):
            if content.get("type") == "text":
                lines.append(f"{message.get('role')}: {content.get('text', '')}")
            elif content.get("type") == "function_call":
                lines.append(f"{message.get('role')} called {content.get('name')}({content.get('arguments')})")
            elif content.get("type") == "function_result":
                lines.append(f"it gave: {str(content.get('result'))[:500]}")
    return "\n".join(lines)


def _unanswered(messages: Sequence[Message]) -> int:
    """The first message with an approval that waits, or a call without result; behind the last one if there is none."""
    done = {
        content.get("call_id") or content.get("id")
        for message in messages
        for content in message.get("contents", ())
        if content.get("type") in ("function_result", "function_approval_response")
    }
    for index, message in enumerate(messages):
        for content in message.get("contents", ()):
            waits = content.get("type") in ("function_call", "function_approval_request")
            if waits and not {content.get("call_id"), content.get("id")} & done:
                return index
    return len(messages)


def _parted(messages: Sequence[Message], place: int) -> bool:
    """A result from `place` on belongs to a call before it."""
    return bool(_ids(messages[:place], "function_call") & _ids(messages[place:], "function_result"))


def _ids(messages: Sequence[Message], kind: str) -> set[str]:
    return {
        content["call_id"]
        for message in messages
        for content in message.get("contents", ())
        if content.get("type") == kind and content.get("call_id")
    }


def _begins_turn(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "user" and any(
        content.get("type") in _SAYS for content in message.get("contents", ())
    )


def _messages(state: Mapping[str, Any]) -> list[Message]:
    """None where the state has another shape, such as that of an orchestration."""
    found: Any = state
    for name in ("session", "state", "in_memory", "messages"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, list) else []


def _with(state: dict[str, Any], messages: Sequence[Message]) -> dict[str, Any]:
    """A copy, so that a state whose save fails is as it was."""
    changed = copy.copy(state)
    inner = changed
    for name in ("session", "state", "in_memory"):
        inner[name] = copy.copy(inner[name])
        inner = inner[name]
    inner["messages"] = list(messages)
    return changed


def _text(role: str, text: str) -> Message:
    """As the framework writes its messages; without the type it would not read this one back."""
    return {"type": "message", "role": role, "contents": [{"type": "text", "text": text}]}
