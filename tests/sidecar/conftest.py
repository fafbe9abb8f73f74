"""Stand-ins for what the sidecar and the loader talk to: small real HTTP servers that replay recorded answers."""

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

COMMIT = "a" * 40


@dataclass
class Hub:
    """A Hugging Face Hub with one repository, as far as huggingface_hub asks one (1.33).

    Files that end in .gguf or .safetensors are LFS files: their download redirects to a CDN, their ETag is a SHA-256.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    repo: str = "org/tiny"
    gated_to: str | None = None
    """The token that may read; None lets everybody."""
    cuts: list[int] = field(default_factory=list)
    """Each content request takes one: the connection breaks after so many bytes."""
    ignore_ranges: bool = False
    broken: dict[str, bytes] = field(default_factory=dict)
    """What the CDN sends instead of the content that the listing describes."""
    outage: int = 0
    """So many requests are answered with 503."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    cdn_tokens: list[str | None] = field(default_factory=list)
    hold: threading.Event | None = None
    """Contents wait for it."""
    url: str = ""

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._log])
        app.router.add_get("/api/models/{org}/{name}/revision/{revision}", self._info)
        app.router.add_get("/api/models/{org}/{name}/tree/{revision}", self._tree)
        app.router.add_route("*", "/{org}/{name}/resolve/{revision}/{path:.+}", self._resolve)
        return app

    def contents(self) -> list[str]:
        """Paths of the requests for file contents."""
        return [path for method, path in self.requests if method == "GET" and "/api/" not in path]

    @web.middleware
    async def _log(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if self.outage:
            self.outage -= 1
            return web.Response(status=503)
        response: web.StreamResponse = await handler(request)
        return response

    def _known(self, request: web.Request) -> web.Response | None:
        if f"{request.match_info['org']}/{request.match_info['name']}" != self.repo:
            return web.Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
        if request.match_info["revision"] not in ("main", COMMIT):
            return web.Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        return None

    async def _info(self, request: web.Request) -> web.Response:
        return self._known(request) or web.json_response({"id": self.repo, "sha": COMMIT, "siblings": []})

    async def _tree(self, request: web.Request) -> web.Response:
        entries = []
        for path, content in self.files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
            if is_lfs(path):
                entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
            entries.append(entry)
        return self._known(request) or web.json_response(entries)

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if answer := self._known(request):
            return answer
        if self.gated_to and request.headers.get("Authorization") != f"Bearer {self.gated_to}":
            return web.Response(status=401, headers={"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        if path not in self.files:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        content = self.files[path]
        if not is_lfs(path):
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{git_oid(content)}"', "Content-Length": str(len(content))}
            return web.Response(headers=headers) if request.method == "HEAD" else await self._send(request, content)
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-ETag": f'"{sha256(content)}"',
            "X-Linked-Size": str(len(content)),
            "Location": self.cdn + "/" + path,
        }
        return web.Response(status=302, headers=headers)

    cdn: str = ""

    def cdn_application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{path:.+}", self._cdn)
        return app

    async def _cdn(self, request: web.Request) -> web.StreamResponse:
        self.cdn_tokens.append(request.headers.get("Authorization"))
        path = request.match_info["path"]
        return await self._send(request, self.broken.get(path, self.files[path]))

    async def _send(self, request: web.Request, content: bytes) -> web.StreamResponse:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not self.ignore_ranges else 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(content) - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        await response.prepare(request)
        if self.hold is not None:
            await asyncio.to_thread(self.hold.wait)
        cut = self.cuts.pop(0) if self.cuts else None
        await response.write(content[start:] if cut is None else content[start : start + cut])
        if cut is not None:
            assert request.transport is not None
            request.transport.close()
        return response


def is_lfs(path: str) -> bool:
    return path.endswith((".gguf", ".safetensors"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


Serve = Callable[[web.Application], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves applications from a thread of its own, for clients that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runners: list[web.AppRunner] = []

    async def start(application: web.Application) -> str:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield lambda application: asyncio.run_coroutine_threadsafe(start(application), loop).result(10)

    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits for a condition of another process."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "the condition did not become true in time"
            time.sleep(0.02)

    return wait


@pytest.fixture
def hub(serve: Serve) -> Hub:
    """A running Hub with an empty repository org/tiny, and its CDN: the same host, but another origin."""
    hub = Hub()
    hub.url = serve(hub.application())
    hub.cdn = serve(hub.cdn_application())
    return hub


@pytest.fixture
def listening() -> Callable[[web.Application], contextlib.AbstractAsyncContextManager[int]]:
    """Serves an application in the test's own loop; gives the port."""

    @contextlib.asynccontextmanager
    async def start(application: web.Application, port: int = 0) -> AsyncIterator[int]:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    return start
