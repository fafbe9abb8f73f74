"""`agentfleet probe`: watches one endpoint outside the cluster and speaks like a sidecar about it.

    endpoint ◀─ GET …/models ─ prober ◀─ /status ─ operator

It runs as a pod of its own, because the operator connects to nothing that users name. It sends no prompts: the list of
models costs the endpoint nothing. endpoint.py guards every connection.
"""

import argparse
import asyncio
import ipaddress
import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from agentfleet import logs
from agentfleet.durations import parse_duration
from agentfleet.sidecar.catalog import KINDS, Catalog
from agentfleet.sidecar.endpoint import ENDPOINT_UNREACHABLE, TIMEOUT, Endpoint, judged_by, parse_url
from agentfleet.sidecar.failures import INTERNAL_ERROR, ModelFailed
from agentfleet.sidecar.guard import Network
from agentfleet.sidecar.models import ModelStatus

log = logging.getLogger(__name__)

FAILURES = 2
"""Probes in a row that have to fail before an endpoint that answered counts as unreachable."""

RETRY = 3.0
"""Seconds until the next probe after one that failed; the interval, where that is shorter."""

STALLED_AFTER = 60.0
STOP_TIMEOUT = 0.3


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM; returns the exit code."""
    options = parse(argv)
    logs.configure(options.log_level)
    asyncio.run(run(options))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with code 2 and one line on stderr when they are wrong."""
    parser = argparse.ArgumentParser(prog="agentfleet probe", description="Watches an endpoint outside the cluster.")
    parser.add_argument(
        "--url", required=True, type=_checked(parse_url), help="base of its OpenAI API: https://host/v1"
    )
    parser.add_argument("--model", metavar="NAME", help="the model that has to be there; without it, any")
    parser.add_argument("--discover", action="store_true", help="report every model that the endpoint lists")
    parser.add_argument("--kind", choices=KINDS, default="OpenAI", help="(default: %(default)s)")
    parser.add_argument(
        "--credentials-dir", type=Path, metavar="DIR", help="a mounted Secret; its apiKey is the Bearer"
    )
    parser.add_argument(
        "--ca-bundle", type=Path, metavar="FILE", help="certificates to trust instead of the public ones"
    )
    parser.add_argument("--interval", type=_checked(parse_duration), default=30.0, help="(default: %(default)s s)")
    parser.add_argument("--port", type=int, default=9901, help="own port (default: %(default)s)")
    parser.add_argument(
        "--deny-cidr", type=_checked(ipaddress.ip_network), action="append", default=[], help="never connect there"
    )
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser.parse_args(argv)


async def run(options: argparse.Namespace) -> None:
    """Probes and serves until SIGTERM or SIGINT."""
    denied: list[Network] = options.deny_cidr
    endpoint = Endpoint(options.url, judged_by(denied), options.credentials_dir, options.ca_bundle)
    prober = Prober(
        Catalog(endpoint, options.kind), options.model, discover=options.discover, interval=options.interval
    )
    work = asyncio.create_task(prober.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    runner = web.AppRunner(application(prober), access_log=None, shutdown_timeout=STOP_TIMEOUT)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", options.port).start()  # noqa: S104 - kubelet and the operator ask from outside
        await asyncio.wait({work})
        if not work.cancelled():
            work.result()
    finally:
        await runner.cleanup()


class Prober:
    """Follows one endpoint."""

    def __init__(
        self,
        catalog: Catalog,
        model: str | None,
        *,
        discover: bool,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._model = model
        self._discover = discover
        self._interval = interval
        self._clock = clock
        self._failures = 0
        self._last_round = clock()
        self._models = [ModelStatus(model or catalog.host)]
        self.ready = False
        self.metrics = Metrics()

    def status(self) -> dict[str, Any]:
        """The contract of a sidecar's /status."""
        return {
            "engine": self._catalog.engine,
            "engineVersion": None,
            "ready": self.ready,
            "models": [model.as_json() for model in self._models],
            "inFlight": None,
        }

    def alive(self) -> bool:
        """False when the loop hangs: only a restart helps then."""
        return self._clock() - self._last_round < self._interval + STALLED_AFTER

    async def run(self) -> None:
        """Probes until cancelled."""
        while True:
            await self.probe()
            await asyncio.sleep(min(RETRY, self._interval) if self._failures else self._interval)

    async def probe(self) -> None:
        """One look at the endpoint."""
        began = self._clock()
        try:
            found = await self._catalog.models(self._model)
        except ModelFailed as failure:
            self._failed(failure)
        except Exception:
            # A bug, or an answer that nobody thought of: told, and asked again.
            log.exception("probe of %s", self._catalog.host)
            self._failed(ModelFailed(INTERNAL_ERROR, "see the prober's log; this is a bug"))
        else:
            self._succeeded(found)
        self._last_round = self._clock()
        self.metrics.probed(self._last_round - began, up=self.ready)

    def _succeeded(self, found: list[ModelStatus]) -> None:
        self._failures = 0
        if not self.ready:
            log.info("%s answers, with %d models", self._catalog.host, len(found))
        self.ready = True
        # The wanted one comes first, as everywhere in /status.
        wanted = [model for model in found if model.name == self._model]
        others = [model for model in found if model.name != self._model]
        self._models = wanted + others if self._discover or not wanted else wanted

    def _failed(self, failure: ModelFailed) -> None:
        self._failures += 1
        self.metrics.failed(failure.reason)
        if self.ready and failure.reason == ENDPOINT_UNREACHABLE and self._failures < FAILURES:
            log.info("%s; asking once more", failure)
            return
        if self._failures in (1, FAILURES):
            log.warning("%s", failure)
        self.ready = False
        self._models = [model.failed(failure) for model in self._models]


class Metrics:
    """The prober's Prometheus page."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._up = Gauge(
            "agentfleet_external_up", "1 while the endpoint answers and has the model.", registry=self._registry
        )
        self._seconds = Histogram(
            "agentfleet_external_probe_seconds",
            "Time of one probe, name resolution and TLS included.",
            buckets=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, TIMEOUT, 2 * TIMEOUT),
            registry=self._registry,
        )
        self._failures = Counter(
            "agentfleet_external_probe_failures", "Probes that failed.", ["reason"], registry=self._registry
        )

    def probed(self, seconds: float, *, up: bool) -> None:
        """Records one probe."""
        self._seconds.observe(seconds)
        self._up.set(up)

    def failed(self, reason: str) -> None:
        """Counts a failed probe."""
        self._failures.labels(reason).inc()

    def page(self) -> bytes:
        """The page in the text format."""
        return generate_latest(self._registry)


def application(prober: Prober) -> web.Application:
    """The routes; every one is a read."""

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"ok": prober.alive()}, status=200 if prober.alive() else 503)

    async def readyz(request: web.Request) -> web.Response:
        return web.json_response(prober.status(), status=200 if prober.ready else 503)

    async def status(request: web.Request) -> web.Response:
        return web.json_response(prober.status())

    async def metrics(request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=prober.metrics.page(), headers=headers)

    routes = web.Application()
    routes.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/status", status),
            web.get("/metrics", metrics),
        ]
    )
    return routes


def _checked(parser: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse shows the text of its own error only."""

    def parse_argument(text: str) -> Any:
        try:
            return parser(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_argument
