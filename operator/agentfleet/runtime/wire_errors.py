"""Errors in the form of OpenAI's API. They name neither secrets nor addresses: causes are in the log, by request id."""

from typing import Any

from starlette.responses import JSONResponse

from agentfleet.runtime.types import RunError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class BadRequest(RunError):
    """A request that is not well formed; `param` names the field."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_request") -> None:
        super().__init__(400, code, message)
        self.param = param


def error_body(error: RunError) -> dict[str, Any]:
    """The JSON of an error."""
    return {
        "error": {
            "message": error.message,
            "type": _TYPES.get(error.status, "server_error"),
            "param": error.param if isinstance(error, BadRequest) else None,
            "code": error.code,
        }
    }


def error_response(error: RunError) -> JSONResponse:
    """The HTTP answer of an error."""
    headers = {"retry-after": str(error.retry_after)} if error.retry_after is not None else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_body(error), error.status, headers)
