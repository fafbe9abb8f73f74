"""The operator's HTTP server: /healthz, /readyz, /metrics and what parts add. It only reads what others report.

/healthz fails where only a restart helps: a key stuck in work, a task that ended, a blocked event loop. An API server
that is away is no reason: the process waits for it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from agentfleet.errors import InvalidSpec
from agentfleet.metrics import Metrics
from agentfleet.objects import Key

Check = Callable[[], str | None]
"""Says what is wrong, None where nothing is."""

_MAX_LAG = 10.0
_LAG_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """What /readyz answers."""

    ready: bool
    role: str
    message: str


class Health:
    """The checks behind /healthz; parts of the process add theirs."""

    def __init__(self) -> None:
        self._checks: list[Check] = []

    def add(self, check: Check) -> None:
        """From now on /healthz asks `check` too."""
        self._checks.append(check)

    def problems(self) -> list[str]:
        """What is wrong now."""
        return [problem for check in self._checks if (problem := check()) is not None]


def stuck_key(oldest: Callable[[], tuple[Key, float] | None], limit: float) -> Check:
    """Fails where one key has been in work for longer than `limit` seconds."""

    def check() -> str | None:
        running = oldest()
        if running is None or running[1] <= limit:
            return None
        return f"{running[0]} has been in work for {running[1]:.0f} s, more than {limit:.0f} s"

    return check


def ended(task: asyncio.Task[None]) -> Check:
    """Fails where a task that has to run for ever has ended."""

    def check() -> str | None:
        return f"the task {task.get_name()!r} has ended" if task.done() else None

    return check


class LoopLag:
    """How late the event loop wakes a sleeper: high where something blocks it."""

    def __init__(self) -> None:
        self._lag = 0.0

    async def run(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL
            await asyncio.sleep(_LAG_INTERVAL)
            self._lag = loop.time() - due

    def check(self) -> str | None:
        """Fails where the last sleeper was woken far too late."""
        return f"the event loop was blocked for {self._lag:.0f} s" if self._lag > _MAX_LAG else None


def application(
    health: Health, readiness: Callable[[], Readiness], metrics: Metrics, routes: Iterable[web.RouteDef] = ()
) -> web.Application:
    """The three endpoints, and `routes`."""

    async def healthz(_: web.Request) -> web.Response:
        problems = health.problems()
        body = {"status": "failing" if problems else "ok", "problems": problems}
        return web.json_response(body, status=500 if problems else 200)

    async def readyz(_: web.Request) -> web.Response:
        state = readiness()
        body = {"ready": state.ready, "role": state.role, "message": state.message}
        return web.json_response(body, status=200 if state.ready else 503)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)
    app.add_routes(routes)
    return app


@asynccontextmanager
async def serve(app: web.Application, port: int) -> AsyncIterator[int]:
    """Serve on all addresses, IPv4 and IPv6; gives the port, which the system chooses where `port` is 0."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    with _listen(port) as listener:
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield listener.getsockname()[1]
        finally:
            await runner.cleanup()


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InvalidSpec(
            "InvalidSettings", f"AGENTFLEET_HTTP_PORT={port}: {error.strerror}; free the port or choose another"
        ) from error
