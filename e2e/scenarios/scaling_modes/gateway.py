"""A gateway of the smallest kind: it holds requests back while its model server has no pod, and counts them.

It is what a route is for the scaling loop, and what a gateway of one's own has to offer: the contract of its metrics is
in agentfleet/monitor/demand.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import ClientConnectorError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web

NAMESPACE = os.environ["NAMESPACE"]
MODEL_SERVER = os.environ["MODEL_SERVER"]
PORT, METRICS_PORT = 8080, 9901
PATIENCE = 50.0
RETRY = 0.2
CLIENT = web.AppKey("client", ClientSession)


@dataclass
class Demand:
    """What the scaling loop is told."""

    arrived: int = 0
    waiting: int = 0
    in_flight: int = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One request, from its arrival to its end."""
        self.arrived += 1
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """One request, for as long as nobody takes it."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def page(self) -> str:
        """As Prometheus reads it."""
        labels = f'{{namespace="{NAMESPACE}",model_server="{MODEL_SERVER}"}}'
        values = {"requests_total": self.arrived, "waiting": self.waiting, "in_flight": self.in_flight}
        return "".join(f"agentfleet_demand_{name}{labels} {value}\n" for name, value in values.items())


demand = Demand()


async def forward(request: web.Request) -> web.StreamResponse:
    """Hand a request on, and its answer back piece by piece."""
    with demand.counted():
        body = await request.read()
        async with await reached(request, body) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


async def reached(request: web.Request, body: bytes) -> ClientResponse:
    """The model server's answer. Tried until it is taken: a refused connection has carried nothing, so that is safe."""
    url = f"http://{MODEL_SERVER}-model{request.path}"
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await request.app[CLIENT].post(url, data=body, headers={"Content-Type": "application/json"})
            except ClientConnectorError:
                with demand.held():
                    await asyncio.sleep(RETRY)


async def client(app: web.Application) -> AsyncIterator[None]:
    """Connections to the model server: a new one each, so that none stays with a pod that goes."""
    async with ClientSession(connector=TCPConnector(force_close=True), timeout=ClientTimeout(total=None)) as session:
        app[CLIENT] = session
        yield


async def metrics(_: web.Request) -> web.Response:
    """The page for the scaling loop."""
    return web.Response(text=demand.page())


async def main() -> None:
    """Serve requests on one port and metrics on another."""
    requests, told = web.Application(), web.Application()
    requests.cleanup_ctx.append(client)
    requests.router.add_post("/v1/{path:.*}", forward)
    told.router.add_get("/metrics", metrics)
    for app, port in ((requests, PORT), (told, METRICS_PORT)):
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, port=port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
