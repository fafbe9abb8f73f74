"""A stand-in for the Hugging Face Hub, which clusters under test cannot reach: what the loader asks for single files.

It runs in a pod (hub.yaml) under two names, as the real one does: the hub, which knows repositories and tokens, and the
CDN, which sends what the hub's redirects point to. Its log has one line for each request, without headers.
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
COMMIT = "c0ffee" + "0" * 34
SLOW, CHUNKS, PAUSE = "slow.gguf", 20, 0.3
"""The file that the CDN sends in pieces, how many, and the seconds between them."""


async def resolve(request: web.Request) -> web.Response:
    """Where a file of a repository lies, for those who may read it."""
    repository = f"{request.match_info['owner']}/{request.match_info['name']}"
    if repository not in REPOSITORIES:
        return web.Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
    if repository not in OPEN and (refusal := refused(request.headers.get("Authorization"))):
        return refusal
    file = request.match_info["file"]
    if not (MODELS / file).is_file():
        return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
    headers = {
        "X-Repo-Commit": COMMIT,
        "X-Linked-ETag": f'"{sha256(file)}"',
        "X-Linked-Size": str((MODELS / file).stat().st_size),
        "Location": f"http://cdn/{repository}/{file}",
    }
    return web.Response(status=302, headers=headers)


def refused(authorization: str | None) -> web.Response | None:
    """The answer to a request without a good token."""
    if authorization is None:
        return web.Response(status=401, headers={"X-Error-Code": "GatedRepo"})
    if authorization != f"Bearer {os.environ['TOKEN']}":
        return web.Response(status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
    return None


async def content(request: web.Request) -> web.StreamResponse:
    """A file's bytes. As with the real CDN, whose addresses are signed, a token as well is one too many."""
    if "Authorization" in request.headers:
        return web.Response(status=400)
    file = request.match_info["file"]
    return await slowly(request, bytes_of(file)) if file == SLOW else web.Response(body=bytes_of(file))


async def slowly(request: web.Request, everything: bytes) -> web.StreamResponse:
    """A file over a thin line."""
    response = web.StreamResponse()
    response.content_length = len(everything)
    await response.prepare(request)
    step = -(-len(everything) // CHUNKS)
    for start in range(0, len(everything), step):
        await response.write(everything[start : start + step])
        await asyncio.sleep(PAUSE)
    return response


@cache
def sha256(file: str) -> str:
    """The digest of a model's file."""
    return hashlib.sha256(bytes_of(file)).hexdigest()


@cache
def bytes_of(file: str) -> bytes:
    """A model's file."""
    return (MODELS / file).read_bytes()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    app = web.Application()
    app.router.add_route("*", "/{owner}/{name}/resolve/{revision}/{file}", resolve)
    app.router.add_get("/{owner}/{name}/{file}", content)
    web.run_app(app, port=PORT, access_log_format="%r %s", print=None)
