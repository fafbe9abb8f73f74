"""A stand-in for the Hugging Face Hub, which clusters under test cannot reach: what the loader asks for single files.

It runs in a pod (hub.yaml) and knows repositories, tokens and branches. Unlike the real one it redirects to no CDN for
the bytes: loaders follow plain HTTP to no other host. Its log has one line for each request, without headers.

Tests of several scenarios use it. They move the branch `main` with `PUT /main/FILE`, which makes FILE the content of
`model.gguf`, and hold a slow transfer in its middle with `PUT /gate/closed` until `PUT /gate/open`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from functools import cache
from pathlib import Path

from aiohttp import web

PORT = 8080
MODELS = Path("/models")
REPOSITORIES = {"acme/chat", "acme/gated", "acme/open"}
OPEN = {"acme/open"}
MOVING = "model.gguf"
"""The file whose content depends on the commit."""
COMMITS = {"c0ffee" + "0" * 34: "tiny.gguf", "decade" + "0" * 34: "slow.gguf"}
"""Every commit, and what MOVING is in it."""
SLOW, CHUNKS, PAUSE = "slow.gguf", 20, 0.6
"""The file that is sent in pieces, how many, and the seconds between them."""

MAIN = web.AppKey("MAIN", dict[str, str])
"""Its one key `main` is the commit that the branch is at."""
GATE = web.AppKey("GATE", asyncio.Event)
"""Set while a slow transfer may go on beyond its middle."""


async def resolve(request: web.Request) -> web.StreamResponse:
    """A file of a repository at a revision, for those who may read it; a HEAD tells which it is."""
    repository = f"{request.match_info['owner']}/{request.match_info['name']}"
    if repository not in REPOSITORIES:
        return web.Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
    if repository not in OPEN and (refusal := refused(request.headers.get("Authorization"))):
        return refusal
    revision = request.match_info["revision"]
    commit = revision if revision in COMMITS else request.app[MAIN]["main"]
    file = request.match_info["file"]
    stored = COMMITS[commit] if file == MOVING else file
    if not (MODELS / stored).is_file():
        return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
    return await content(request, stored, {"X-Repo-Commit": commit, "ETag": f'"{sha256(stored)}"'})


def refused(authorization: str | None) -> web.Response | None:
    """The answer to a request without a good token."""
    if authorization is None:
        return web.Response(status=401, headers={"X-Error-Code": "GatedRepo"})
    if authorization != f"Bearer {os.environ.get('TOKEN')}":
        return web.Response(status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
    return None


async def plain(request: web.Request) -> web.StreamResponse:
    """A file as any web server has it."""
    return await content(request, request.match_info["file"], {})


async def content(request: web.Request, file: str, headers: dict[str, str]) -> web.StreamResponse:
    """A file's bytes: at once, or over a thin line."""
    everything = bytes_of(file)
    if file != SLOW or request.method == "HEAD":
        return web.Response(body=everything, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = len(everything)
    await response.prepare(request)
    step = -(-len(everything) // CHUNKS)
    for start in range(0, len(everything), step):
        await response.write(everything[start : start + step])
        await asyncio.sleep(PAUSE)
        if start + step >= len(everything) // 2:
            await request.app[GATE].wait()
    return response


async def gate(request: web.Request) -> web.Response:
    """Lets slow transfers go on, or holds them."""
    opened = request.app[GATE]
    if request.match_info["state"] == "open":
        opened.set()
    else:
        opened.clear()
    return web.Response()


async def move(request: web.Request) -> web.Response:
    """Puts the branch at the commit with this content."""
    wanted = request.match_info["file"]
    request.app[MAIN]["main"] = next(commit for commit, stored in COMMITS.items() if stored == wanted)
    return web.Response()


@cache
def sha256(file: str) -> str:
    """The digest of a model's file."""
    return hashlib.sha256(bytes_of(file)).hexdigest()


@cache
def bytes_of(file: str) -> bytes:
    """A model's file."""
    return (MODELS / file).read_bytes()


def application() -> web.Application:
    """The hub, with its branch at the first commit and its gate open."""
    app = web.Application()
    app[MAIN] = {"main": next(iter(COMMITS))}
    app[GATE] = asyncio.Event()
    app[GATE].set()
    app.router.add_route("*", "/{owner}/{name}/resolve/{revision}/{file}", resolve)
    app.router.add_get("/{owner}/{name}/{file}", plain)
    app.router.add_put("/gate/{state:open|closed}", gate)
    app.router.add_put("/main/{file}", move)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(application(), port=PORT, access_log_format="%r %s", print=None)
