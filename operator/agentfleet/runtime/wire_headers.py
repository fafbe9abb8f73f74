"""Headers that all protocols read alike: request id, session, and what is passed on to model, tools and agents."""

import re
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import Request

from agentfleet.runtime.wire_errors import BadRequest

REQUEST_ID = "x-request-id"
SESSION_ID = "x-session-id"
_PASSED_ON = ("traceparent", "tracestate", "x-agentfleet-hops")
_LONGEST = 1024
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_SESSION = re.compile(r"[\x21-\x7e]{1,256}")


def request_id(request: Request) -> str:
    """The client's where it is well formed, else a new one; the same for the whole request."""
    return id_of(request.scope)


def id_of(scope: MutableMapping[str, Any]) -> str:
    """`request_id`, from the ASGI scope, which remembers it."""
    state = scope.setdefault("state", {})
    if REQUEST_ID not in state:
        given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
        state[REQUEST_ID] = given if _ID.fullmatch(given) else uuid.uuid4().hex
    known: str = state[REQUEST_ID]
    return known


def task_headers(request: Request) -> dict[str, str]:
    """What goes into Task.headers; the request id is always there."""
    passed = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    return {REQUEST_ID: request_id(request)} | {name: value for name, value in passed.items() if len(value) <= _LONGEST}


def session_id(request: Request) -> str | None:
    """The client's session, where it names one."""
    given = request.headers.get(SESSION_ID)
    return None if given is None else checked_session(given, SESSION_ID)


def checked_session(given: str, where: str) -> str:
    """`given` where it can be a session's id; `where` is the header or field that it stood in."""
    if not _SESSION.fullmatch(given):
        raise BadRequest(f"{where} takes 1 to 256 printable characters without spaces.", where)
    return given
