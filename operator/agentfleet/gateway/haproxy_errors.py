"""haproxy.cfg, errors that HAProxy finds itself, in OpenAI's form. Pure.

As whole answers in files: what is no HTTP is answered before there is a request that rules could look at.
"""

from http import HTTPStatus

from agentfleet.gateway.haproxy_text import kind_of, problem
from agentfleet.gateway.layout import CONFIG_FOLDER

_ERRORS = {
    400: ("The request is not valid HTTP.", "bad_request"),
    408: ("The request did not arrive in time.", "request_timeout"),
    413: ("The request is too large.", "request_too_large"),
    414: ("The URL is too long.", "bad_request"),
    422: ("The gateway does not know this transfer coding.", "bad_request"),
    431: ("The headers are too large.", "bad_request"),
    500: ("The gateway failed.", "internal_error"),
    501: ("The gateway does not know how to do this.", "bad_request"),
    502: ("The target closed the connection or answered something that is not HTTP.", "bad_gateway"),
    503: ("No target could take the request in time. Try again later.", "service_unavailable"),
    504: ("The target did not answer in time.", "timeout"),
}
_CLOSED = (400, 408)


def error_lines() -> list[str]:
    """Lines of the section defaults."""
    return [f"errorfile {status} {CONFIG_FOLDER}/{_name(status)}" for status in _ERRORS]


def error_files() -> dict[str, str]:
    """File name → content."""
    return {_name(status): _answer(status, *_ERRORS[status]) for status in _ERRORS}


def _name(status: int) -> str:
    return f"{status}.http"


def _answer(status: int, message: str, code: str) -> str:
    body = problem(message, code, kind_of(status))
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(["connection: close"] if status in _CLOSED else []),
        "",
        body,
    ]
    return "\r\n".join(lines)
