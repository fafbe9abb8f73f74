"""Stand-ins for what the sidecar and the loader talk to: small real HTTP servers that replay recorded answers."""

import asyncio
import contextlib
import hashlib
import logging
import os
import selectors
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from aiohttp import web

from agentfleet.sidecar import transfer
from agentfleet.sidecar.loader import main
from tests.sidecar.loading import Load, arguments_of

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
    ca: Path | None = None

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
        first, _, last = (wanted or "").removeprefix("bytes=").partition("-")
        start, whole = (0, content) if self.ignore_ranges else (int(first or 0), content)
        if last and not self.ignore_ranges:
            content = content[: int(last) + 1]
        response = web.StreamResponse(status=206 if len(content) - start < len(whole) else 200)
        response.content_length = len(content) - start
        if response.status == 206:
            response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(whole)}"
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


Serve = Callable[..., str]
"""serve(application, tls=None) → URL."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves applications from a thread of its own, for clients that block."""
    selector = selectors.DefaultSelector()
    loop = asyncio.SelectorEventLoop(selector)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runners: list[web.AppRunner] = []

    async def start(application: web.Application, tls: ssl.SSLContext | None) -> str:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        return f"{'https://localhost' if tls else 'http://127.0.0.1'}:{runner.addresses[0][1]}"

    yield lambda application, tls=None: asyncio.run_coroutine_threadsafe(start(application, tls), loop).result(10)

    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    deadline = time.monotonic() + 10
    while len(selector.get_map()) > 1 and time.monotonic() < deadline:  # TLS says goodbye; the loop's own pipe stays
        time.sleep(0.005)
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


@dataclass
class Tls:
    """A certificate for localhost, which signs itself."""

    ca: Path
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Made once; openssl is what e2e makes its certificates with."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "ca.pem", folder / "key.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    command = ["openssl", "req", "-x509", *curve, *name, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return Tls(certificate, context)


@pytest.fixture
def hub(serve: Serve, tls: Tls) -> Hub:
    """A running Hub with an empty repository org/tiny, and its CDN on another host."""
    hub = Hub(ca=tls.ca)
    hub.url = serve(hub.application())
    hub.cdn = serve(hub.cdn_application(), tls.context)
    return hub


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The model's folder; it does not exist yet."""
    return tmp_path / "models"


@pytest.fixture
def load(serve: Serve, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Runs a loader to its end in this process, which is faster, and without long pauses; returns its log.

    Ends before the servers do: clients of libraries stay open until then.
    """
    environment, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    root, level = list(logging.root.handlers), logging.root.level
    monkeypatch.setattr(transfer, "retry_delay", lambda reason, attempt: 0.01)

    def run(server: Any, target: Path, source: str, *arguments: str, code: int = 0) -> str:
        result = main(arguments_of(server, target, source, *arguments))
        log = capfd.readouterr().err
        assert result == code, log
        return log

    yield run

    huggingface_hub.close_session()
    logging.root.handlers, logging.root.level = root, level
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ |= environment


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
