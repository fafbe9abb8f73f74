"""A stand-in for the Hugging Face Hub, which clusters under test cannot reach: whole repositories, open to all.

It serves the folders /repositories/OWNER/NAME by the three calls that a download of a snapshot takes: the commit of a
revision, the list of its files, and each file. Its log has one line for each request.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from aiohttp import web

PORT = 8080
REPOSITORIES = Path("/repositories")
COMMIT = "c0ffee" + "0" * 34


def folder(request: web.Request) -> Path:
    """The repository of a request."""
    found = REPOSITORIES / request.match_info["owner"] / request.match_info["name"]
    if not found.is_dir():
        raise web.HTTPUnauthorized(headers={"X-Error-Code": "RepoNotFound"})
    return found


async def commit(request: web.Request) -> web.Response:
    """The one commit that every revision is."""
    repository = folder(request).relative_to(REPOSITORIES)
    return web.json_response({"id": str(repository), "sha": COMMIT, "siblings": []})


async def tree(request: web.Request) -> web.Response:
    """All files."""
    files = sorted(file for file in folder(request).iterdir() if file.is_file())
    return web.json_response(
        [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": sha1(file)} for file in files]
    )


async def content(request: web.Request) -> web.FileResponse:
    """A file's bytes, or the part of them that is asked for."""
    file = folder(request) / request.match_info["file"]
    if not file.is_file():
        raise web.HTTPNotFound(headers={"X-Error-Code": "EntryNotFound"})
    return web.FileResponse(file, headers={"X-Repo-Commit": COMMIT, "ETag": f'"{sha1(file)}"'})


def sha1(file: Path) -> str:
    """An identity of a file, as long as those of Git."""
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    app = web.Application()
    app.router.add_get("/api/models/{owner}/{name}/revision/{revision}", commit)
    app.router.add_get("/api/models/{owner}/{name}/tree/{revision}", tree)
    app.router.add_get("/{owner}/{name}/resolve/{revision}/{file}", content)
    web.run_app(app, port=PORT, access_log_format="%r %s", print=None)
