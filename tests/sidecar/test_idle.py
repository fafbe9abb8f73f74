"""Which models go from memory, and that they do."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from agentfleet.sidecar.engines.base import local_client
from agentfleet.sidecar.engines.ollama import Ollama
from agentfleet.sidecar.idle import GOING, IdleOptions, IdleUnloader, Uses, choose, used_percent
from agentfleet.sidecar.models import LoadedModel
from agentfleet.sidecar.network import Network
from agentfleet.sidecar.traffic import QUIET, Traffic

Listening = Callable[[web.Application], AbstractAsyncContextManager[int]]


def model(name: str, expires: str = "e1", size: int = 10) -> LoadedModel:
    return LoadedModel(name, size, 0, expires)


def test_use_is_told_from_the_expiry() -> None:
    uses = Uses()
    uses.observe([model("a"), model("b")], None, 0)
    uses.observe([model("a"), model("b", "e2")], None, 10)
    assert uses.last == {"a": 0, "b": 10}
    uses.observe([model("b", "e2")], None, 20)
    assert uses.last == {"b": 10}
    uses.observe([model("a"), model("b", "e2")], None, 30)
    assert uses.last == {"a": 30, "b": 10}, "loaded again is used again"


def test_a_request_in_progress_is_use_of_the_model_whose_runner_works() -> None:
    uses = Uses()
    uses.observe([model("a")], Traffic(0, {1: False}), 0)
    uses.observe([model("a"), model("b")], Traffic(0, {1: False, 2: False}), 5)
    uses.observe([model("a"), model("b")], Traffic(1, {1: False, 2: True}), 50)
    assert uses.last == {"a": 0, "b": 50}
    uses.observe([model("a"), model("b")], Traffic(1, {1: False, 3: True}), 60)  # b runs in a new process
    assert uses.last == {"a": 0, "b": 60}


def test_a_runner_that_nobody_can_match_counts_for_all_that_have_none() -> None:
    uses = Uses()
    uses.observe([model("a"), model("b")], Traffic(0, {1: False, 2: False}), 0)  # the sidecar was restarted
    uses.observe([model("a"), model("b")], Traffic(1, {1: False, 2: True}), 50)
    assert uses.last == {"a": 50, "b": 50}
    uses.observe([model("a")], Traffic(1, {2: True}), 60)
    uses.observe([model("a")], Traffic(1, {2: False}), 70)
    assert uses.last == {"a": 60}


A, B, C = model("a", size=30), model("b", size=30), model("c", size=30)
LAST = {"a": 300.0, "b": 100.0, "c": 200.0}


@pytest.mark.parametrize(
    ("options", "now", "memory", "expected"),
    [
        (IdleOptions(unload_after=300), 399, 99, []),
        (IdleOptions(unload_after=300), 400, None, [("b", "Idle")]),
        (IdleOptions(unload_after=300), 700, None, [("b", "Idle"), ("c", "Idle"), ("a", "Idle")]),
        (IdleOptions(memory_percent=80), 400, 80, []),
        (IdleOptions(memory_percent=80), 400, 80.1, [("b", "NodeMemory")]),
        (IdleOptions(memory_percent=80), 400, None, []),
        (IdleOptions(max_memory=90), 400, None, []),
        (IdleOptions(max_memory=89), 400, None, [("b", "MaxMemory")]),
        (IdleOptions(max_memory=1, memory_percent=80), 100 + QUIET - 1, 99, []),  # all were just in use
        (IdleOptions(max_memory=1), 100 + QUIET, None, [("b", "MaxMemory")]),
        (IdleOptions(300, 80, 1), 400, 99, [("b", "Idle")]),
    ],
)
def test_who_has_to_go(options: IdleOptions, now: float, memory: float | None, expected: list[tuple[str, str]]) -> None:
    assert choose([A, B, C], LAST, now, options, memory) == expected


def test_node_memory() -> None:
    text = "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    150 kB\nHugePages_Total:       0\n"
    assert used_percent(text) == 85
    assert 0 < used_percent(Path("/proc/meminfo").read_text()) < 100
    with pytest.raises(ValueError, match="MemAvailable"):
        used_percent("MemTotal: 5 kB")


@dataclass
class Memory:
    """An Ollama with models in memory; one in use stays for a while after it was told to go."""

    loaded: dict[str, str] = field(default_factory=dict)
    stubborn: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/api/ps", self._ps), web.post("/api/generate", self._generate)])
        return app

    async def _ps(self, request: web.Request) -> web.Response:
        models = [{"name": n, "size": 10, "size_vram": 0, "expires_at": e} for n, e in self.loaded.items()]
        return web.json_response({"models": models})

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body == {"model": body["model"], "keep_alive": 0}
        self.told.append(body["model"])
        if body["model"] not in self.stubborn:
            del self.loaded[body["model"]]
        return web.json_response({"done": True, "done_reason": "unload"})


class NoTraffic(Network):
    async def traffic(self) -> Traffic | None:
        return None


async def test_models_go_and_are_counted_when_they_are_gone(listening: Listening) -> None:
    memory = Memory({"a": "e1", "b": "e1"}, stubborn={"b"})
    now, counted = 0.0, []
    async with listening(memory.application()) as port, local_client(port) as client:
        unloader = IdleUnloader(
            Ollama(client, Network(port)),
            NoTraffic(port),
            IdleOptions(unload_after=300),
            counted.append,
            clock=lambda: now,
        )
        await unloader.round()
        now = 200.0
        memory.loaded["a"] = "e2"
        await unloader.round()
        now = 300.0
        await unloader.round()
        assert (memory.told, counted) == (["b"], [])
        now = 302.0
        await unloader.round()
        assert memory.told == ["b"], "it may be answering"
        now = 303.0 + GOING
        await unloader.round()
        assert memory.told == ["b", "b"]
        del memory.loaded["b"]
        now = 500.0
        await unloader.round()
        await unloader.round()
        assert (memory.told, counted, memory.loaded) == (["b", "b", "a"], ["Idle", "Idle"], {})


async def test_an_engine_that_does_not_answer_is_asked_again(listening: Listening) -> None:
    async with local_client(1) as client:
        unloader = IdleUnloader(
            Ollama(client, Network(1)), NoTraffic(1), IdleOptions(unload_after=1), lambda reason: None, interval=0.01
        )
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(unloader.run(), 0.1)
