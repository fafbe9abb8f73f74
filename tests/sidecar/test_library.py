"""Keeping Ollama's models in place, against a stand-in that answers as the real one (0.17) was seen to."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from agentfleet.sidecar.engines.base import Health, local_client
from agentfleet.sidecar.engines.ollama import Ollama
from agentfleet.sidecar.library import Library, LibraryOptions, Served
from agentfleet.sidecar.models import ModelState, full_name
from agentfleet.sidecar.network import Network

SOURCE = "http://registry:5000/library/tiny"


@dataclass
class FakeOllama:
    """A registry that knows `available`, and what Ollama has of it."""

    available: dict[str, str] = field(default_factory=lambda: {full_name(SOURCE): "d1"})
    tags: dict[str, str] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    pull_events: list[dict[str, Any]] | None = None
    load_error: str | None = None
    embedding: bool = False
    broken: bool = False

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._log])
        app.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/tags", self._tags),
                web.get("/api/ps", self._ps),
                web.post("/api/pull", self._pull),
                web.post("/api/copy", self._copy),
                web.delete("/api/delete", self._delete),
                web.post("/api/generate", self._generate),
                web.post("/api/embed", self._embed),
            ]
        )
        return app

    def did(self, path: str) -> list[Any]:
        return [body for called, body in self.calls if called == path]

    @web.middleware
    async def _log(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append((request.path, await request.json() if request.can_read_body else None))
        if self.broken:
            return web.json_response({"error": "broken"}, status=500)
        response: web.StreamResponse = await handler(request)
        return response

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.17.4"})

    async def _tags(self, request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": n, "digest": d, "size": 850111} for n, d in self.tags.items()]})

    async def _ps(self, request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": n, "size": 1606912, "size_vram": 7} for n in self.loaded]})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        name = full_name((await request.json())["model"])
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for event in self.pull_events or self._events(name):
            await response.write(json.dumps(event).encode() + b"\n")
            if event.get("status") == "success":
                self.tags[name] = self.available[name]
        return response

    def _events(self, name: str) -> list[dict[str, Any]]:
        if name not in self.available:
            return [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]
        layer = {"status": "pulling d1", "digest": "sha256:d1", "total": 1000}
        steps = ("verifying sha256 digest", "writing manifest", "success")
        return [{"status": "pulling manifest"}, layer, layer | {"completed": 1000}, *({"status": s} for s in steps)]

    async def _copy(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.tags[full_name(body["destination"])] = self.tags[full_name(body["source"])]
        return web.Response()

    async def _delete(self, request: web.Request) -> web.Response:
        del self.tags[full_name((await request.json())["model"])]
        return web.Response()

    async def _generate(self, request: web.Request) -> web.Response:
        if self.load_error:
            return web.json_response({"error": self.load_error}, status=500)
        if self.embedding:
            return web.json_response({"error": '"tiny" does not support generate'}, status=400)
        return await self._embed(request)

    async def _embed(self, request: web.Request) -> web.Response:
        self.loaded.append(full_name((await request.json())["model"]))
        return web.json_response({"done": True, "done_reason": "load"})


@dataclass
class World:
    """A library at work on a fake engine."""

    ollama: FakeOllama
    library: Library
    pulled: dict[str, int]
    updates: list[str]

    async def until(self, *states: str) -> None:
        async with asyncio.timeout(10):
            while tuple(str(model.state) for model in self.library.statuses()) != states:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)


Start = Callable[..., contextlib.AbstractAsyncContextManager[World]]


@pytest.fixture
def world(listening: Any) -> Start:
    @contextlib.asynccontextmanager
    async def start(*served: Served, ollama: FakeOllama | None = None, **options: Any) -> AsyncIterator[World]:
        fake = ollama or FakeOllama()
        pulled: dict[str, int] = {}
        updates: list[str] = []
        async with listening(fake.application()) as port, local_client(port) as client:
            library = Library(
                Ollama(client, Network(port)),
                served or (Served(SOURCE, "tiny"),),
                LibraryOptions(**{"preload": True, "keep_alive": -1, "recheck": 0.05} | options),
                lambda name, count: pulled.update({name: pulled.get(name, 0) + count}),
                updates.append,
            )
            await library.tick(Health.SERVING)
            task = asyncio.create_task(library.run())
            try:
                yield World(fake, library, pulled, updates)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    return start


async def test_a_model_is_pulled_named_and_loaded(world: Start) -> None:
    async with world(insecure_registry=True) as at:
        await at.until("Ready")
        assert at.ollama.did("/api/pull") == [{"model": SOURCE, "insecure": True, "stream": True}]
        assert at.ollama.did("/api/copy") == [{"source": "registry:5000/library/tiny:latest", "destination": "tiny"}]
        assert at.ollama.did("/api/generate") == [{"model": "tiny", "keep_alive": -1}]
        (status,) = at.library.statuses()
        assert (status.name, status.digest, status.size) == ("tiny", "d1", 850111)
        assert at.pulled == {"tiny": 1000}
        assert [model.name for model in await at.library.loaded() or ()] == ["tiny:latest"]


async def test_what_is_in_place_is_left_alone(world: Start) -> None:
    ollama = FakeOllama(tags={full_name(SOURCE): "d1", "tiny:latest": "d1"})
    async with world(ollama=ollama, preload=False) as at:
        await at.until("Ready")
        assert {path for path, _ in ollama.calls} == {"/api/tags"}


async def test_an_alias_of_another_model_is_moved(world: Start) -> None:
    async with world(ollama=FakeOllama(tags={"tiny:latest": "old"})) as at:
        await at.until("Ready")
        assert at.ollama.tags["tiny:latest"] == "d1"


async def test_one_missing_model_does_not_stop_the_other(world: Start) -> None:
    async with world(Served("registry:5000/library/absent", "absent"), Served(SOURCE, "tiny")) as at:
        await at.until("Failed", "Ready")
        (absent, _) = at.library.statuses()
        assert (absent.reason, absent.message) == ("ModelNotFound", "pull model manifest: file does not exist")


async def test_a_model_that_vanished_is_pulled_and_loaded_again(world: Start) -> None:
    async with world() as at:
        await at.until("Ready")
        at.ollama.available = {}
        at.ollama.tags.clear()
        await at.until("Failed")
        at.ollama.available = {full_name(SOURCE): "d1"}
        await at.library.tick(Health.UNREACHABLE)
        at.library._keepers[0].engine_restarted()  # the retry of a missing model would come in 30 s
        await at.until("Ready")
        assert len(at.ollama.did("/api/generate")) == 2


async def test_a_pull_that_is_cut_is_repeated(world: Start) -> None:
    events = [{"status": "pulling d1", "digest": "sha256:d1", "total": 1000, "completed": 400}]
    async with world(ollama=FakeOllama(pull_events=events)) as at:
        await at.until("Failed")
        (status,) = at.library.statuses()
        assert (status.reason, status.progress_percent) == ("PullFailed", 40)
        at.ollama.pull_events = None
        await at.until("Ready")


async def test_an_embedding_model_is_loaded_by_its_own_call(world: Start) -> None:
    async with world(ollama=FakeOllama(embedding=True)) as at:
        await at.until("Ready")
        assert at.ollama.did("/api/embed") == [{"model": "tiny", "keep_alive": -1, "input": ""}]


async def test_a_model_too_big_for_memory_says_so(world: Start) -> None:
    error = "model requires more system memory (9.0 GiB) than is available (2.0 GiB)"
    async with world(ollama=FakeOllama(load_error=error)) as at:
        await at.until("Failed")
        (status,) = at.library.statuses()
        assert (status.reason, status.message) == ("OutOfMemory", error)


async def test_a_broken_engine_is_not_the_models_fault(world: Start) -> None:
    async with world() as at:
        await at.until("Ready")
        at.ollama.broken = True
        await at.library.tick(Health.LOADING)
        await at.until("Pending")
        (status,) = at.library.statuses()
        assert status.reason == "EngineUnavailable"
        at.ollama.broken = False
        await at.until("Ready")
        assert len(at.ollama.did("/api/pull")) == 1


async def test_an_answer_that_nobody_expects_does_not_end_the_sidecar(world: Start) -> None:
    """It would end a drain as well, and cut the requests that the drain waits for."""
    ollama = FakeOllama()
    ollama.tags = {"tiny:latest": None}  # type: ignore[dict-item]
    async with world(ollama=ollama, recheck=0.01) as at:
        ollama.pull_events = [{"status": "pulling", "digest": "d", "total": "much"}]
        await at.until("Failed")
        assert at.library.statuses()[0].reason == "InternalError"


async def test_a_restarted_engine_gets_its_models_into_memory_again(world: Start) -> None:
    async with world(recheck=600) as at:
        await at.until("Ready")
        at.library.engine_restarted()
        assert at.library.statuses()[0].state is not ModelState.READY
        await at.until("Ready")
        assert len(at.ollama.did("/api/generate")) == 2


def calls_after_first_pull(ollama: FakeOllama) -> list[tuple[str, Any]]:
    """What changed something, from the second pull's second name on."""
    changes = [(path, body) for path, body in ollama.calls if body is not None]
    first = next(i for i, (path, body) in enumerate(changes) if "agentfleet-update" in str(body))
    return changes[first:]


async def test_an_update_moves_to_the_new_model_and_lets_the_old_one_go(world: Start) -> None:
    async with world(recheck=600) as at:
        await at.until("Ready")
        at.ollama.available[full_name(SOURCE)] = "d2"
        at.library.keepers[0].request_update()
        async with asyncio.timeout(10):
            while at.library.statuses()[0].updated_at is None or len(at.ollama.did("/api/generate")) < 3:
                assert at.library.statuses()[0].state is ModelState.READY, "it serves all the while"
                await asyncio.sleep(0.005)
        (status,) = at.library.statuses()
        assert (status.digest, status.message, at.updates) == ("d2", None, ["Updated"])
        assert status.updated_at is not None
        assert status.updated_at.endswith("Z")
        assert at.ollama.tags["tiny:latest"] == "d2"
        hold, pull, move, unload, release, delete, preload = calls_after_first_pull(at.ollama)
        held = hold[1]["destination"]
        assert hold == ("/api/copy", {"source": "tiny:latest", "destination": held})
        assert pull[0] == "/api/pull"
        assert move[1]["destination"] == "tiny"
        assert unload == ("/api/generate", {"model": held, "keep_alive": 0})
        assert release == hold, "the name leads to the new model before it is deleted: no blob goes with it"
        assert delete == ("/api/delete", {"model": held})
        assert preload == ("/api/generate", {"model": "tiny", "keep_alive": -1})
        assert full_name(held) not in at.ollama.tags


async def test_an_update_that_finds_nothing_new_changes_nothing(world: Start) -> None:
    async with world(recheck=600) as at:
        await at.until("Ready")
        at.library.keepers[0].request_update()
        async with asyncio.timeout(10):
            while not at.updates:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)
        assert at.updates == ["Unchanged"]
        assert at.library.statuses()[0].updated_at is None
        assert {"keep_alive": 0} not in [{"keep_alive": body["keep_alive"]} for body in at.ollama.did("/api/generate")]


async def test_an_update_that_fails_is_told_and_the_old_model_serves_on(world: Start) -> None:
    async with world() as at:
        await at.until("Ready")
        at.ollama.available = {}
        at.library.keepers[0].request_update()
        async with asyncio.timeout(10):
            while not at.updates:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.2)  # rechecks do not forget it
        (status,) = at.library.statuses()
        assert (status.state, status.digest, at.updates) == (ModelState.READY, "d1", ["Failed"])
        assert status.message is not None
        assert "ModelNotFound" in status.message
        assert [name for name in at.ollama.tags if "agentfleet-update" in name] == []
        at.ollama.available = {full_name(SOURCE): "d1"}
        at.library.keepers[0].request_update()
        async with asyncio.timeout(10):
            while at.library.statuses()[0].message:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)


async def test_a_category_is_reported_as_given(world: Start) -> None:
    async with world(Served(SOURCE, "tiny", "Balanced")) as at:
        await at.until("Ready")
        assert at.library.statuses()[0].as_json()["category"] == "Balanced"
