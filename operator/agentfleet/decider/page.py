"""The page that the operator, monitoring and the other gateways read, on the pod's own address. It only reads.

Where HAProxy does not answer, the whole page of metrics is refused: missing is not zero.
"""

import asyncio

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from agentfleet.decider import mounted, public_keys
from agentfleet.decider.admin import AdminError
from agentfleet.decider.families import Families, Parts
from agentfleet.decider.paths import Paths

TEXT = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


class Page:
    """The routes of the page."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self.healthz),
                web.get("/metrics", self.metrics),
                web.get("/budgets", self.budgets),
                web.get("/public-keys", self.public_keys),
            ]
        )
        return application

    async def healthz(self, request: web.Request) -> web.Response:
        """200 while the decider's own loop turns; says nothing about HAProxy."""
        return web.Response(text="ok\n")

    async def metrics(self, request: web.Request) -> web.Response:
        """In Prometheus' text format; 503 where HAProxy does not answer."""
        try:
            loads = await self._parts.meter.read()
        except AdminError as error:
            return web.Response(text=f"{error}\n", status=503)
        registry = CollectorRegistry()
        registry.register(Families(self._parts, loads))
        return web.Response(body=generate_latest(registry), headers=TEXT)

    async def public_keys(self, request: web.Request) -> web.Response:
        """Which keys of tokens HAProxy has, and which a new pod would have, by their digests; and which mounted Secrets
        have no usable key. The operator, which reads no Secret, reads it."""
        try:
            return web.json_response(await asyncio.to_thread(_of_secrets, self._parts.paths))
        except OSError as error:
            return web.Response(text=f"{error}\n", status=503)

    async def budgets(self, request: web.Request) -> web.Response:
        """Used budgets of all gateways, as this one knows them: other gateways read it."""
        return web.Response(text=self._parts.ledger.to_json(), content_type="application/json")


def _of_secrets(paths: Paths) -> dict[str, str | list[str]]:
    return {**public_keys.told(paths), "lacking": mounted.lacking(paths)}
