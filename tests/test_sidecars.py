"""Asking sidecars: what does not answer, answers nonsense or never ends costs little and is no answer."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agentfleet import sidecars
from agentfleet.sidecars import HttpSidecars

ANSWERS = {"good": b'{"ready": true}', "nonsense": b"<html>", "list": b"[]", "huge": b'"' + b"x" * 100_000 + b'"'}


async def answer(request: web.Request) -> web.StreamResponse:
    kind = request.app[KIND]
    if kind in ANSWERS:
        return web.Response(body=ANSWERS[kind])
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


KIND = web.AppKey("kind", str)


@pytest.fixture(params=["good", "nonsense", "list", "huge", "drip"])
async def peer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    app = web.Application()
    app[KIND] = request.param
    app.router.add_get("/status", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        monkeypatch.setattr(sidecars, "SIDECAR_PORT", server.port)
        monkeypatch.setattr(sidecars, "_TIMEOUT", 0.5)
        yield request.param


async def test_a_pod_of_an_agent_that_is_not_ready_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"ready": False, "problems": {"model": "no answer"}, "notes": []}

    async def unready(_: web.Request) -> web.Response:
        return web.json_response(said, status=503)

    app = web.Application()
    app.router.add_get("/readyz", unready)
    async with TestServer(app, host="127.0.0.1") as server, httpx.AsyncClient() as client:
        monkeypatch.setattr(sidecars, "AGENT_PORT", server.port)
        assert await HttpSidecars(client).readiness({"pod": "127.0.0.1"}) == {"pod": said}


async def test_only_an_answer_is_an_answer(peer: str) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(5):
        found = await HttpSidecars(client).statuses({"pod": "127.0.0.1"})
    assert found == ({"pod": {"ready": True}} if peer == "good" else {})
