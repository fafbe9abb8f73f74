"""The web application of one agent: the routes of all protocols, probes and metrics. No logic of a run."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from agentfleet.runtime import wire_chat, wire_plain
from agentfleet.runtime.config import AgentConfig, Alert
from agentfleet.runtime.disconnect import ClientLeft
from agentfleet.runtime.frame import BUG, Frame
from agentfleet.runtime.health import Health
from agentfleet.runtime.hooks import Access
from agentfleet.runtime.metrics import Metrics
from agentfleet.runtime.types import Caller, RunError, Tool
from agentfleet.runtime.wire_chat import Run
from agentfleet.runtime.wire_errors import BadRequest, error_response
from agentfleet.runtime.wire_headers import request_id

log = logging.getLogger(__name__)

_LEFT = 499
"""What logs of proxies call an answer that nobody reads."""

CallerOf = Callable[[Request], Awaitable[Caller]]


@dataclass(frozen=True)
class Parts:
    """What the routes are made of."""

    config: AgentConfig
    run: Run
    access: Access
    health: Health
    metrics: Metrics
    notes: Callable[[], Sequence[str]] = tuple
    """What is wrong without being in the way: told on /readyz, where the operator reads it, with the next two."""
    alerts: Callable[[], Sequence[Alert]] = tuple
    """Those that last."""
    tools: Callable[[], Sequence[Tool]] = tuple
    changed: Callable[[], Sequence[str]] = tuple
    """Variables that have another value by now than this process."""


def caller_of(access: Access) -> CallerOf:
    """Who asks, for every protocol."""

    async def caller(request: Request) -> Caller:
        return await access.caller(request.headers, request_id(request))

    return caller


def application(parts: Parts, more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """Everything that is served; `more` are the routes of the other protocols."""
    routes: list[BaseRoute] = [*_probes(parts), *more]
    if parts.config.protocols.openai:
        caller = caller_of(parts.access)
        routes += wire_chat.routes(parts.config, parts.run, caller)
        routes += wire_plain.routes(parts.config, parts.run, caller)
    return Frame(
        Starlette(
            routes=routes,
            exception_handlers={
                RunError: _run_error,
                HTTPException: _http_error,
                ClientLeft: _client_left,
                Exception: _bug,
            },
        )
    )


def _probes(parts: Parts) -> list[BaseRoute]:
    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        state = await parts.health.state()
        body = {
            "ready": state.ready,
            "problems": dict(state.problems),
            "notes": list(parts.notes()),
            "alerts": [{"metric": a.metric, "threshold": a.threshold, "action": a.action} for a in parts.alerts()],
            "tools": [{"name": tool.name, "source": tool.source} for tool in parts.tools()],
            "changed": list(parts.changed()),
        }
        return JSONResponse(body, 200 if state.ready else 503)

    async def page(_: Request) -> Response:
        return Response(parts.metrics.page(), headers={"content-type": CONTENT_TYPE_LATEST})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", page)]


async def _run_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RunError)  # noqa: S101 # for the type: the table above says so
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return error_response(RunError(404, "not_found", "There is nothing at this path."))
    if status == 405:
        return error_response(RunError(405, "method_not_allowed", f"This path takes no {request.method}."))
    return error_response(BadRequest("The request is not valid HTTP for this path."))


async def _bug(_: Request, __: Exception) -> Response:
    """Starlette raises the error again after this: Frame logs it."""
    return error_response(BUG)


async def _client_left(_: Request, __: Exception) -> Response:
    return Response(status_code=_LEFT)
