"""A scripted OpenAI server: it answers what it is told to, for tests of what stands before a model and not of models.

It stands in for what cannot be had or made to fail on demand: clouds, engines that answer 529 or go silent halfway.
Every answer tells in `scripted` who gave it and what arrived. It runs within a test (`serving`), and in pods.

What it does is a script, `NAME=VALUE` pairs with commas between, such as `status=503,delay=0.2`; the names are the
fields of `script.Script`. Strongest is the header `x-script` of a request, then a part of the path before /v1 (for
clients of which only the URL can be set: /status=503/v1/chat/completions), then what was last PUT to /script, and at
the start $SCRIPT. Where the text matters, a list of `answers.Reply` is PUT to /replies. /stats,
/requests and /body (the last one's) tell what has happened, DELETE on /stats forgets it. In
pods it is `python -m e2e.support.scripted`, with the files that it imports: see `e2e/scenarios/scripted.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from e2e.support import answers
from e2e.support.answers import Answer, Reply
from e2e.support.script import Received, Script
from e2e.support.tally import Tally

_LARGEST = 64 << 20
_MODELS = ("scripted",)


class Server(Tally):
    """One server. Its script and its numbers may be used from any thread."""

    def __init__(self, name: str, script: str = "", models: tuple[str, ...] = _MODELS) -> None:
        super().__init__()
        self.name = name
        self.models = models
        self.address = ""
        """host:port, once it listens."""
        self.replies: deque[Reply] = deque()
        """What the next chats are answered with, one each; words without meaning once they are used up."""
        self.reply_to: Callable[[dict[str, Any]], Reply | None] = lambda body: None
        """Asked for a reply to a chat's body when `replies` are used up; runs in the server's thread."""
        self._gate: Future[None] | None = None
        self.play(script)

    def play(self, script: str) -> None:
        """From now on this script, and nothing of those before."""
        self._script = Script().changed(script)
        self._left = self._script.times

    @contextmanager
    def holding(self) -> Iterator[None]:
        """In the block chats that arrive are not answered, at its end all of them are: for tests without a clock."""
        self._gate = gate = Future[None]()
        try:
            yield
        finally:
            self._gate = None
            gate.set_result(None)

    def app(self) -> web.Application:
        """What it serves."""
        app = web.Application(client_max_size=_LARGEST)
        for prefix in ("", "/{script:[a-z_]+=[^/]*}"):
            app.router.add_post(f"{prefix}/v1/{{kind:{'|'.join(answers.KINDS)}}}", self._answer)
            app.router.add_get(f"{prefix}/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_put("/script", self._put_script)
        app.router.add_put("/replies", self._put_replies)
        app.router.add_get("/stats", self._stats)
        app.router.add_delete("/stats", self._forget)
        app.router.add_get("/requests", self._tell_requests)
        app.router.add_get("/body", self._tell_body)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        with self.counted():
            raw = await request.read()
            try:
                script, body = self._script_for(request), json.loads(raw)
                received = Received.of(request.path, request.headers, raw, body)
            except ValueError as error:
                return self._refuse(400, str(error))
            self.remember(received, raw)
            if gate := self._gate:
                await asyncio.shield(asyncio.wrap_future(gate))  # whoever leaves opens it for nobody else
            await asyncio.sleep(script.delay)
            if script.status >= 400:
                return self._refuse(script.status, f"scripted {script.status}", script.retry_after)
            about = {"name": self.name, **dataclasses.asdict(received)}
            kind = request.match_info["kind"]
            reply = self._reply(kind, body)
            answer = Answer(
                kind, self.received, int(time.time()), body, len(raw), about, script.chunks, script.tool, reply
            )
            send = self._stream if answer.is_stream else self._send
            return await send(request, answer, script)

    async def _send(self, request: web.Request, answer: Answer, script: Script) -> web.StreamResponse:
        await asyncio.sleep(script.gap * (len(answer.words) - 1))
        content = json.dumps(answer.whole()).encode()
        response = self._begin("application/json")
        response.content_length = len(content)
        if script.close_after >= 0:
            return await self._break_off(request, response, content[: len(content) // 2 if script.close_after else 0])
        await response.prepare(request)
        await response.write(content)
        self.answered[response.status] += 1
        return response

    async def _stream(self, request: web.Request, answer: Answer, script: Script) -> web.StreamResponse:
        response = self._begin("text/event-stream")
        if script.close_after == 0:
            return await self._break_off(request, response, b"")
        await response.prepare(request)
        for index, piece in enumerate(answer.pieces()):
            await asyncio.sleep(script.gap if index else 0)
            if index == script.close_after:
                return await self._break_off(request, response, b"")
            await response.write(piece.encode())
        self.answered[response.status] += 1
        return response

    async def _break_off(self, request: web.Request, response: web.StreamResponse, part: bytes) -> web.StreamResponse:
        """Close the connection where a client expects more. aiohttp takes the error that follows for a client's."""
        if part:
            await response.prepare(request)
            await response.write(part)
        if request.transport is not None:
            request.transport.close()
        return response

    def _begin(self, content_type: str) -> web.StreamResponse:
        return web.StreamResponse(headers={"Content-Type": content_type, "x-served-by": self.name})

    def _refuse(self, status: int, message: str, retry_after: int = 0) -> web.Response:
        self.answered[status] += 1
        headers = {"x-served-by": self.name} | ({"Retry-After": str(retry_after)} if retry_after else {})
        return web.json_response(answers.error(status, message), status=status, headers=headers)

    def _reply(self, kind: str, body: dict[str, Any]) -> Reply | None:
        if kind != "chat/completions":
            return None
        reply = self.replies.popleft() if self.replies else self.reply_to(body)
        return reply.to(body) if reply else None

    def _script_for(self, request: web.Request) -> Script:
        script = self._script
        if script.times:
            self._left -= 1
            script = script if self._left >= 0 else Script()
        return script.changed(request.match_info.get("script", "")).changed(request.headers.get("x-script", ""))

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response(answers.models(list(self.models)), headers={"x-served-by": self.name})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=self._script.health)

    async def _metrics(self, _: web.Request) -> web.Response:
        """As llama-server has it: who drains a pod waits for this to be 0."""
        return web.Response(text=f"llamacpp:requests_processing {self.in_flight}\nllamacpp:requests_deferred 0\n")

    async def _put_script(self, request: web.Request) -> web.Response:
        try:
            self.play(await request.text())
        except ValueError as error:
            return web.Response(status=400, text=f"{error}\n")
        return web.Response(status=204)

    async def _put_replies(self, request: web.Request) -> web.Response:
        self.replies = deque(map(Reply.of, await request.json()))
        return web.Response(status=204)

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response({"name": self.name, **self.stats})

    async def _forget(self, _: web.Request) -> web.Response:
        self.forget()
        return web.Response(status=204)

    async def _tell_requests(self, _: web.Request) -> web.Response:
        return web.json_response([dataclasses.asdict(request) for request in self.requests])

    async def _tell_body(self, _: web.Request) -> web.Response:
        return web.Response(body=self.body)


@contextmanager
def serving(
    name: str = "scripted",
    script: str = "",
    *,
    models: tuple[str, ...] = _MODELS,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Path | None = None,
) -> Iterator[Server]:
    """A server for the time of the block, in a thread of its own; with HTTPS where it has a key and a certificate.

    At the end all connections are cut, as those of a machine that is lost.
    """
    server = Server(name, script, models)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=f"scripted {name}")
    thread.start()
    try:
        # Without cancellation a client that has left would still count as in flight.
        runner = web.AppRunner(server.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        listening = _listen(runner, host, port, _tls(certificate))
        server.address = asyncio.run_coroutine_threadsafe(listening, loop).result(timeout=10)
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(_end(runner), loop).result(timeout=30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(runner: web.AppRunner) -> None:
    """Leaves neither a task nor a socket behind in the loop, which ends then."""
    for connection in runner.server.connections if runner.server else ():
        if connection.transport:
            connection.transport.abort()
    await runner.cleanup()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)  # for what transports do a moment after they were closed


async def _listen(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None) -> str:
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=tls, backlog=1024).start()
    address, bound = runner.addresses[0][:2]
    return f"{address}:{bound}"


def _tls(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def main() -> None:
    """Serve in a pod; SIGTERM lets answers end."""
    env = os.environ
    certificate = Path(env["CERTIFICATE"]) if "CERTIFICATE" in env else None
    server = Server(env.get("NAME", "scripted"), env.get("SCRIPT", ""), tuple(env.get("MODELS", "scripted").split()))
    web.run_app(
        server.app(),
        host=env.get("HOST"),
        port=int(env.get("PORT", "8080")),
        ssl_context=_tls(certificate),
        access_log=None,
        handler_cancellation=True,
        print=None,
    )


if __name__ == "__main__":
    main()
