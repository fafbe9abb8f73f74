"""Pieces of HAProxy's language that more than one section is made of: answers in OpenAI's form, conditions. Pure.

What users write freely must not pass through here: haproxy.cfg holds only names whose patterns admit nothing that
HAProxy could read as its own syntax. Where such a text has to be compared, its hexadecimal form stands here.
"""

import hashlib
import json
from collections.abc import Iterable

from agentfleet.gateway.layout import Layout
from agentfleet.gateway.types import Policy

JSON = "content-type application/json"
TRY_LATER = "Try again later."
TICKET = "x-af-pass"
"""The header by which a gateway shows another that it has the same key."""
TOO_LATE = "The target did not answer in time."
OVER = "{ date(0,ms),sub(txn.deadline) -m int gt 0 }"
"""The deadline of all attempts has passed."""


def problem(message: str, code: str, kind: str) -> str:
    """The body of an error, as OpenAI's clients expect it."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def answer(
    status: int, message: str, code: str, condition: str, *, after: int | None = None, on: str = "request"
) -> str:
    """A rule that answers with an error. `after` is Retry-After, in seconds; `message` holds no quote and no `%`."""
    body = problem(message, code, kind_of(status))
    headers = f" hdr retry-after {after}" if after is not None else ""
    headers += " hdr www-authenticate Bearer" if status == 401 else ""
    shown = f" hdr x-agentroute-decision reason={code}" if on == "request" else ""
    return f"http-{on} return status {status} {JSON} string '{body}'{headers}{shown} if {condition}"


def kind_of(status: int) -> str:
    """OpenAI's word for errors of a status."""
    if status == 429:
        return "rate_limit_error"
    if status == 403:
        return "permission_error"
    return "invalid_request_error" if status < 500 else "server_error"


def one_of(variable: str, words: Iterable[str]) -> str:
    """A condition: the variable is one of these words."""
    return f"{{ var({variable}) -m str {' '.join(words)} }}"


def comma_field(expression: str, number: int) -> str:
    """The n-th of values with commas between. A comma is HAProxy's own sign but in quotes, and these in others."""
    return f"\"{expression},field({number},',')\""


def short_hash(*values: object) -> str:
    """Tells one meaning from another, in the names of what gateways share."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:10]


def revision(policy: Policy, layout: Layout) -> str:
    """Gateways with the same one mean the same by t0, t1 …; the others' targets are none of theirs."""
    return short_hash(policy.to_json(), layout)


def hexadecimal(text: str) -> str:
    """A text of users in a form that may stand in the configuration."""
    return text.encode().hex()


def section(title: str, lines: Iterable[str]) -> list[str]:
    """A section; conditions of the parser (.if) begin in the first column."""
    return [title, *(line if line.startswith(".") else f"  {line}" for line in lines), ""]


def when(condition: str, lines: Iterable[str]) -> list[str]:
    """Lines that HAProxy reads only where `condition` holds as it starts."""
    return [f".if {condition}", *lines, ".endif"]
