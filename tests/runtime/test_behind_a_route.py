"""An agent whose model is a route that lets in only who is known: the agent itself is, as well as those who ask it."""

import time
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from agentfleet.runtime import identity
from agentfleet.runtime.config import Access, Privacy
from tests.runtime.parts import config
from tests.runtime.test_main import started

KEY = b"the namespace's key"


async def test_the_route_is_told_who_looks_whether_it_is_there(tmp_path: Path) -> None:
    known: list[tuple[str, str]] = []

    async def models(request: web.Request) -> web.Response:
        caller = identity.verify([KEY], request.headers.get(identity.HEADER, ""), time.time())
        known.append((caller.subject, caller.mode))
        return web.json_response({"object": "list", "data": []})

    key = tmp_path / "key"
    key.write_bytes(KEY)
    app = web.Application()
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as route:
        settings = config(
            f"{route.host}:{route.port}",
            data_folder=str(tmp_path / "data"),
            access=Access(identity_key_file=str(key), token_review=False),
            privacy=Privacy("Offline"),
        )
        async with started(tmp_path, settings) as agent:
            await agent.answers("/readyz", 200)
    assert set(known) == {("agent:shop/desk", "Offline")}
