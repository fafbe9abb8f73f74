"""Bodies of /chat and /v1/batch-chat: what callers send, checked. Pure."""

import json
import math
from dataclasses import dataclass
from typing import Any

DEFAULT_TIMEOUT = 30.0
LONGEST_TIMEOUT = 600.0
MOST_AT_ONCE = 1000
"""Requests of one batch."""
PRIORITIES = ("high", "normal", "low")
COMPLEXITIES = ("simple", "moderate", "complex")


class BadQuestion(ValueError):
    """The body is not what it should be; the message names the field and what is legal."""


@dataclass(frozen=True)
class Question:
    """One message to an agent."""

    message: str
    agent_type: str = "general"
    priority: str = "normal"
    timeout: float = DEFAULT_TIMEOUT
    complexity: str | None = None
    """None: the route judges it."""


def parse_chat(body: bytes) -> Question:
    """The body of /chat."""
    return question(_object(body))


def parse_batch(body: bytes) -> list[Any]:
    """The requests of a batch, each still to be checked: a bad one does not stop the others."""
    requests = _object(body).get("requests")
    if not isinstance(requests, list) or not 1 <= len(requests) <= MOST_AT_ONCE:
        raise BadQuestion(f"requests must be a list of 1 to {MOST_AT_ONCE} requests")
    return requests


def identifier(item: Any, index: int) -> str | int:
    """The id of a request of a batch, or its place from 0 on."""
    given = item.get("id") if isinstance(item, dict) else None
    return given if isinstance(given, (str, int)) and not isinstance(given, bool) else index


def batch_question(item: Any) -> Question:
    """One request of a batch; its complexity is moderate where it says none, as in the document."""
    return question(item, complexity="moderate")


def question(item: Any, complexity: str | None = None) -> Question:
    """A message with what else was said about it."""
    if not isinstance(item, dict):
        raise BadQuestion('a request must be a JSON object such as {"message": "…"}')
    message = item.get("message")
    if not isinstance(message, str) or not message.strip():
        raise BadQuestion("message must be a text that is not empty")
    return Question(
        message=message,
        agent_type=_text(item, "agent_type", "general"),
        priority=_one_of(item, "priority", "normal", PRIORITIES) or "normal",
        timeout=_timeout(item.get("timeout", DEFAULT_TIMEOUT)),
        complexity=_one_of(item, "complexity", complexity, COMPLEXITIES),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadQuestion("the body must be JSON in UTF-8") from error
    if not isinstance(found, dict):
        raise BadQuestion("the body must be a JSON object")
    return found


def _text(item: dict[str, Any], name: str, default: str) -> str:
    value = item.get(name, default)
    if not isinstance(value, str) or len(value) > 100:
        raise BadQuestion(f"{name} must be a text of at most 100 characters")
    return value


def _one_of(item: dict[str, Any], name: str, default: str | None, legal: tuple[str, ...]) -> str | None:
    value = item.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or value.lower() not in legal:
        raise BadQuestion(f"{name} must be one of {', '.join(legal)}")
    return value.lower()


def _timeout(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < value <= LONGEST_TIMEOUT:
        raise BadQuestion(f"timeout must be a number of seconds, above 0 and at most {LONGEST_TIMEOUT:g}")
    return float(value)
