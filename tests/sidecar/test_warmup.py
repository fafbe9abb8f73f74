"""The first request of each model: what it is, what its answer means, and that a pod never waits for ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from agentfleet.sidecar.engines.base import Health, local_client
from agentfleet.sidecar.models import ModelState, ModelStatus
from agentfleet.sidecar.supervisor import Status
from agentfleet.sidecar.warmup import WarmUp

Listening = Callable[[web.Application], AbstractAsyncContextManager[int]]

READY = ModelStatus("m").to(ModelState.READY)


@dataclass
class Engine:
    """Answers each path with its statuses in turn, the last one for ever."""

    answers: dict[str, list[int]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    hold: asyncio.Event | None = None

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, await request.json()))
        if self.hold is not None:
            await self.hold.wait()
        left = self.answers.get(request.path, [200])
        status = left.pop(0) if len(left) > 1 else left[0]
        return web.json_response({"error": f"status {status}"}, status=status)


@dataclass
class World:
    engine: Engine
    warmup: WarmUp

    def model(self, model: ModelStatus = READY) -> ModelStatus:
        return self.warmup.overlay([model])[0]

    def ready(self) -> bool:
        return Status("VLLM", None, Health.SERVING, (self.model(),)).ready

    async def until(self, state: ModelState) -> None:
        async with asyncio.timeout(10):
            while self.model().state is not state:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)


@pytest.fixture
def world(listening: Listening) -> Callable[..., AbstractAsyncContextManager[World]]:
    @asynccontextmanager
    async def start(engine: Engine, task: str = "Chat", timeout: float = 60) -> AsyncIterator[World]:
        async with listening(engine.application()) as port, local_client(port) as client:
            warmup = WarmUp(client, task, timeout, pause=0.01)
            running = asyncio.create_task(warmup.run())
            warmup.tick(Health.SERVING, [READY])
            try:
                yield World(engine, warmup)
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running

    return start


Start = Callable[..., AbstractAsyncContextManager[World]]

USER = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("task", "path", "body"),
    [
        ("Chat", "/v1/chat/completions", {"model": "m", "messages": [USER], "max_tokens": 1}),
        ("Vision", "/v1/chat/completions", {"model": "m", "messages": [USER], "max_tokens": 1}),
        ("Completion", "/v1/completions", {"model": "m", "prompt": "Hello", "max_tokens": 1}),
        ("Embedding", "/v1/embeddings", {"model": "m", "input": "Hello"}),
        ("Rerank", "/v1/rerank", {"model": "m", "query": "Hello", "documents": ["Hello"]}),
    ],
)
async def test_one_small_request_comes_before_ready(world: Start, task: str, path: str, body: dict[str, Any]) -> None:
    async with world(Engine(), task) as at:
        warming = at.model()
        assert (warming.state, warming.reason, at.ready()) == (ModelState.LOADING, "WarmingUp", False)
        await at.until(ModelState.READY)
        assert at.engine.asked == [(path, body)]
        assert (at.model().message, at.ready()) == (None, True)


async def test_a_model_that_is_not_ready_is_left_as_it_is(world: Start) -> None:
    async with world(Engine()) as at:
        assert at.model(ModelStatus("other")) == ModelStatus("other")


async def test_a_model_without_chat_template_is_warmed_by_completions(world: Start) -> None:
    async with world(Engine({"/v1/chat/completions": [400]})) as at:
        await at.until(ModelState.READY)
        assert [path for path, _ in at.engine.asked] == ["/v1/chat/completions", "/v1/completions"]
        assert "refused, completions answer" in (at.model().message or "")


@pytest.mark.parametrize("task", ["Chat", "Embedding"])
async def test_a_request_that_is_refused_is_an_answer(world: Start, task: str) -> None:
    paths = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
    async with world(Engine({path: [422] for path in paths}), task) as at:
        await at.until(ModelState.READY)
        assert "answered 422" in (at.model().message or "")


@pytest.mark.parametrize("status", [500, 503, 401, 404, 429])
async def test_others_are_asked_again(world: Start, status: int) -> None:
    async with world(Engine({"/v1/chat/completions": [status, status, 200]})) as at:
        await at.until(ModelState.READY)
        assert len(at.engine.asked) == 3


@pytest.mark.parametrize("status", [503, 401])
async def test_it_ends_with_a_reason(world: Start, status: int) -> None:
    async with world(Engine({"/v1/chat/completions": [status]}), timeout=0.05) as at:
        await at.until(ModelState.FAILED)
        failed = at.model()
        assert (failed.reason, at.ready()) == ("WarmUpFailed", False)
        assert f"answered {status}" in (failed.message or "")


async def test_an_engine_that_is_silent_is_not_waited_for(world: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentfleet.sidecar.warmup.SHORTEST_REQUEST", 0.05)
    engine = Engine(hold=asyncio.Event())
    async with world(engine, timeout=0.1) as at:
        await at.until(ModelState.FAILED)
        assert engine.hold is not None
        engine.hold.set()


async def test_a_restarted_engine_is_warmed_again(world: Start) -> None:
    async with world(Engine()) as at:
        await at.until(ModelState.READY)
        at.warmup.engine_restarted()
        assert not at.ready()
        at.warmup.tick(Health.SERVING, [READY])
        await at.until(ModelState.READY)
        assert len(at.engine.asked) == 2


async def test_nothing_is_asked_of_an_engine_that_does_not_serve(world: Start) -> None:
    async with world(Engine()) as at:
        await at.until(ModelState.READY)
        at.warmup.engine_restarted()
        at.warmup.tick(Health.LOADING, [READY])
        await asyncio.sleep(0.05)
        assert len(at.engine.asked) == 1
