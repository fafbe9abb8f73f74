"""The sidecar's HTTP server: probes, drain, status and metrics. Every route is a read; none changes anything but the
drain of kubelet, which is known by a text that only the pod's manifest has: after it the pod is not ready any more."""

import hmac
import logging
import re

from aiohttp import web

from agentfleet.sidecar.drain import drain
from agentfleet.sidecar.engines.base import Sampler
from agentfleet.sidecar.exposition import lines_of
from agentfleet.sidecar.latest import Latest
from agentfleet.sidecar.supervisor import Models, Supervisor
from agentfleet.sidecar.telemetry import Gauges, Telemetry

log = logging.getLogger(__name__)

TEXT = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}

AGE = "agentfleet_sidecar_page_age_seconds"
"""How old the numbers of an answer to /engine are. It is no metric of /metrics."""

STOP_HEADER = "x-agentfleet-stop"
"""Says that the drain is kubelet's, before it stops the engine."""

MOST_NAMES = 64
LONGEST_NAME = 120
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Routes:
    """The handlers and what they read."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        sampler: Sampler,
        models: Models,
        telemetry: Telemetry,
        dns_delay: float,
        drain_timeout: float,
        stop_token: str,
        leave_delay: float,
    ) -> None:
        """Without a `stop_token` no drain takes the pod out of service."""
        self._supervisor = supervisor
        self._sampler = sampler
        self._latest = Latest(sampler)
        self._models = models
        self._telemetry = telemetry
        self._dns_delay = dns_delay
        self._drain_timeout = drain_timeout
        self._stop_token = stop_token.encode()
        self._leave_delay = leave_delay
        self._leaving = False

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
                web.get("/status", self.status),
                web.get("/drain", self.drain),
                web.get("/engine", self.engine),
                web.get("/metrics", self.metrics),
            ]
        )
        return application

    async def healthz(self, request: web.Request) -> web.Response:
        """200 while the sidecar's own loop comes round; says nothing about the engine."""
        alive = self._supervisor.alive()
        return web.json_response({"ok": alive}, status=200 if alive else 503)

    async def readyz(self, request: web.Request) -> web.Response:
        """200 when the pod may serve, else 503 with what is missing."""
        status = self._supervisor.status()
        if self._leaving:
            return web.json_response({"ready": False, "leaving": True}, status=503)
        if status.ready:
            return web.json_response({"ready": True})
        return web.json_response(status.as_json(None), status=503)

    async def status(self, request: web.Request) -> web.Response:
        """What the operator reads."""
        reading = await self._sampler.read()
        return web.json_response(self._supervisor.status().as_json(reading.in_flight))

    async def drain(self, request: web.Request) -> web.Response:
        """Answers when the pod may be stopped."""
        log.info("drain: waiting %.0f s for DNS, then at most %.0f s for idle", self._dns_delay, self._drain_timeout)
        result = await drain(
            self._sampler.read,
            dns_delay=self._dns_delay,
            timeout=self._drain_timeout,
            leave=self._leave if self._stops(request) else None,
            leave_delay=self._leave_delay,
        )
        self._telemetry.drained(result)
        log.info("drain: %s after %.1f s, in flight %s", result.result, result.waited, result.in_flight)
        return web.json_response(result.as_json())

    def _stops(self, request: web.Request) -> bool:
        given = request.headers.get(STOP_HEADER, "").encode(errors="surrogateescape")
        return bool(self._stop_token) and hmac.compare_digest(given, self._stop_token)

    def _leave(self) -> None:
        log.info("drain: not ready any more")
        self._leaving = True

    async def metrics(self, request: web.Request) -> web.Response:
        """The Prometheus page."""
        reading = await self._sampler.read()
        gauges = Gauges(self._supervisor.status(), reading.in_flight, await self._models.loaded())
        return web.Response(body=self._telemetry.page(gauges), headers=TEXT)

    async def engine(self, request: web.Request) -> web.Response:
        """The samples of the metrics `?names=a,b,c`, off the engine's page and off our own, and how old they are.

        For the operator, which has not the engine's key and looks at thousands of engines: a vLLM page has 51 kB. 503
        where the engine's work cannot be told.
        """
        names = _names(request.query.get("names", ""))
        if names is None:
            return web.Response(
                text=f"names: 1 to {MOST_NAMES} names of metrics, of at most {LONGEST_NAME} characters, with commas\n",
                status=400,
            )
        latest = await self._latest.read()
        reading = latest.reading
        if reading.page is None and reading.in_flight is None:
            return web.Response(text=reading.detail + "\n", status=503)
        own = self._telemetry.page(Gauges(self._supervisor.status(), reading.in_flight, None)).decode()
        own += f"{AGE} {latest.age:.3f}\n"
        return web.Response(text=lines_of(reading.page or "", names) + lines_of(own, names), headers=TEXT)


def _names(text: str) -> frozenset[str] | None:
    """The names of a question; None where it is none that we answer."""
    names = frozenset(text.split(","))
    sound = all(len(name) <= LONGEST_NAME and NAME.fullmatch(name) for name in names)
    return names if sound and len(names) <= MOST_NAMES else None
