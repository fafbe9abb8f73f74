"""What an answer of the API server means for the operator: pure tables, no I/O.

Most statuses speak for themselves. Some do not: the server answers 500 to a patch that its schema cannot hold, and 403
to much that passes by itself.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from agentfleet.errors import Conflict, InvalidSpec, Transient

_REJECTED = (400, 403, 413, 422)
_REJECTED_RETRY = 30.0
"""Seconds until a refused request is tried again: what refused it, such as a quota or a policy, may be gone by then."""

_PASSING = (401, 403, 408, 425, 429)  # 401: the token is being rotated
_UNTYPED = "failed to create typed patch object"
"""What the server says, with status 500, to a patch that its schema cannot hold: trying again cannot help."""

_DENIED = re.compile(r'User "[^"]*" cannot \w+ resource')
"""How the server words a missing permission. Granting it needs no change of the object, and no watch tells of it; and a
server that has just started denies for a moment what it will grant."""

_TERMINATING = "NamespaceTerminating"
"""Cause of a 403 that passes: the namespace goes, and our objects with it."""


class NotFound(Transient):
    """HTTP 404: the object, its namespace or its kind is not there (yet)."""


class Expired(Transient):
    """HTTP 410: the listing that a page belongs to is too old."""


_SPECIFIC: dict[int, type[Transient]] = {404: NotFound, 409: Conflict, 410: Expired}


def content_of(what: str, status: int, data: bytes) -> dict[str, Any]:
    """An answer's content; raises its error where it is one."""
    if status >= 400:
        raise error_of(what, status, data)
    content: dict[str, Any] = json.loads(data)
    return content


def error_of(what: str, status: int, data: bytes) -> Exception:
    """The error that stands for an answer of the API server; RuntimeError for what only a bug of ours can cause."""
    answer = _status(data)
    message = f"{what}: HTTP {status}: {answer.get('message') or data[:500].decode(errors='replace')}"
    causes = [cause.get("reason") for cause in (answer.get("details") or {}).get("causes") or ()]
    if status in _SPECIFIC:
        return _SPECIFIC[status](message)
    passing = _TERMINATING in causes or _DENIED.search(message)
    if (status in _REJECTED and not passing) or (status == 500 and _UNTYPED in message):
        return InvalidSpec("Rejected", message, after=_REJECTED_RETRY)
    if status >= 500 or status in _PASSING:
        return Transient(message)
    return RuntimeError(message)


def _status(data: bytes) -> Mapping[str, Any]:
    """The API server's Status object; proxies before it answer with anything."""
    try:
        answer = json.loads(data)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
