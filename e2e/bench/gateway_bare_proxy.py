"""``python -m e2e.bench.gateway_bare_proxy PORT TARGET``: the least that a proxy in Python can do, with aiohttp.

It reads the model out of the body and passes answers on as they come. No balancing, no limits, no checks, no log: what
is slower than this does more.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

_TARGET = web.AppKey("target", str)
_SESSION = web.AppKey("session", aiohttp.ClientSession)
_DROPPED = frozenset({"connection", "content-length", "host", "transfer-encoding"})


async def _pass_on(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    if "model" not in json.loads(body):
        raise web.HTTPBadRequest
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
    url = request.app[_TARGET] + request.path
    async with request.app[_SESSION].request(request.method, url, data=body, headers=headers) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _DROPPED}
        if answer.content_length is not None:
            return web.Response(status=answer.status, headers=kept, body=await answer.read())
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        return response


async def _session(application: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        application[_SESSION] = session
        yield


async def _serve(port: int, target: str) -> None:
    application = web.Application(client_max_size=16 * 2**20)
    application[_TARGET] = target
    application.cleanup_ctx.append(_session)
    application.router.add_post("/{path:.*}", _pass_on)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2]))
