"""The exporter's HTTP server: /metrics and /healthz. It shows what the exporter keeps and asks no driver."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from agentfleet.gpu.exporter import Exporter

_STOP_TIMEOUT = 1.0


def application(exporter: Exporter) -> web.Application:
    """Both endpoints. /healthz names all problems, and fails only where a new container would help."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exporter.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def healthz(_: web.Request) -> web.Response:
        alive, problems = exporter.alive(), exporter.problems()
        body = {"status": ("degraded" if problems else "ok") if alive else "failing", "problems": problems}
        return web.json_response(body, status=200 if alive else 500)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    return app


@asynccontextmanager
async def serve(exporter: Exporter, port: int) -> AsyncIterator[int]:
    """Serve on all addresses, IPv4 and IPv6; gives the port, which the system chooses where `port` is 0."""
    runner = web.AppRunner(application(exporter), access_log=None, shutdown_timeout=_STOP_TIMEOUT)
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with socket.create_server(("", port), family=family, dualstack_ipv6=dual) as listener:
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield listener.getsockname()[1]
        finally:
            await runner.cleanup()
