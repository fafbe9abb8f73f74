"""Active probes: nobody is in their way, and what they find is told with its age."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from agentfleet.sidecar import speed
from agentfleet.sidecar.engines.base import Health, Reading, Sampler, local_client
from agentfleet.sidecar.engines.ollama import Generation, Ollama
from agentfleet.sidecar.models import ModelStatus
from agentfleet.sidecar.network import Network
from agentfleet.sidecar.speed import KEPT, SpeedProbe
from agentfleet.sidecar.supervisor import Status
from agentfleet.sidecar.telemetry import Gauges, Telemetry

NOW = 1_795_000_000.0
ANSWER = {"done": True, "total_duration": 600e6, "load_duration": 50e6, "eval_count": 8, "eval_duration": 400e6}


@dataclass
class StandIn:
    """Ollama with models in memory; every request moves the end of its model."""

    ends: dict[str, int] = field(default_factory=lambda: {"a:latest": 0})
    answers: dict[str, web.Response] = field(default_factory=dict)
    asked: list[dict[str, object]] = field(default_factory=list)
    slow: bool = False

    def use(self, name: str = "a:latest") -> None:
        self.ends[name] += 1

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/api/ps", self._ps), web.post("/api/generate", self._generate)])
        return app

    async def _ps(self, request: web.Request) -> web.Response:
        models = [{"name": name, "size": 1, "expires_at": str(end)} for name, end in self.ends.items()]
        return web.json_response({"models": models})

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        if self.slow:
            await asyncio.sleep(5)
        self.use(body["model"])
        return self.answers.get(body["model"]) or web.json_response(ANSWER)


class Engine:
    """What the sampler reads."""

    in_flight: int | None = 0

    async def health(self) -> Health:
        return Health.SERVING

    async def version(self) -> str | None:
        return None

    async def reading(self) -> Reading:
        return Reading(self.in_flight)


@dataclass
class Bench:
    ollama: StandIn
    engine: Engine
    probe: Callable[..., SpeedProbe]


@pytest.fixture
async def bench(listening: Callable[[web.Application], AbstractAsyncContextManager[int]]) -> AsyncIterator[Bench]:
    ollama, engine = StandIn(), Engine()
    async with listening(ollama.application()) as port, local_client(port) as client:

        def probe(*, once: bool = False) -> SpeedProbe:
            sampler = Sampler(engine, max_age=-1)
            return SpeedProbe(Ollama(client, Network(port)), sampler, once=once, clock=lambda: NOW)

        yield Bench(ollama, engine, probe)


async def test_a_model_that_rests_is_asked(bench: Bench) -> None:
    probe = bench.probe()
    await probe.round()
    assert bench.ollama.asked == [], "it may just have been used"
    await probe.round()
    asked = {"model": "a:latest", "prompt": "Hello", "stream": False, "options": {"num_predict": 8}}
    assert bench.ollama.asked == [asked], "and no keep_alive: later requests of others would get it"
    found = probe.probes["a:latest"]
    assert found.current == Generation(seconds=0.6, load_seconds=0.05, tokens_per_second=20.0)
    assert found.succeeded_at == NOW
    await probe.round()
    assert len(bench.ollama.asked) == 2, "our own use is none"


async def test_a_model_that_is_used_is_left_alone(bench: Bench) -> None:
    probe = bench.probe()
    for _ in range(4):
        await probe.round()
        bench.ollama.use()
    assert bench.ollama.asked == []


@pytest.mark.parametrize("in_flight", [1, None])
async def test_an_engine_that_works_or_cannot_be_seen_is_left_alone(bench: Bench, in_flight: int | None) -> None:
    probe = bench.probe()
    bench.engine.in_flight = in_flight
    for _ in range(3):
        await probe.round()
    assert bench.ollama.asked == []


async def test_a_model_that_goes_when_idle_is_not_kept_by_probes(bench: Bench) -> None:
    probe = bench.probe(once=True)
    for _ in range(5):
        await probe.round()
    assert len(bench.ollama.asked) == 1
    bench.ollama.use()
    for _ in range(5):
        await probe.round()
    assert len(bench.ollama.asked) == 2
    bench.ollama.ends.clear()
    await probe.round()
    assert probe.probes == {}, "what is not in memory has no speed"


async def test_an_embedding_model_is_asked_only_once(bench: Bench) -> None:
    refusal = {"error": '"a:latest" does not support generate'}
    bench.ollama.answers["a:latest"] = web.json_response(refusal, status=400)
    probe = bench.probe()
    await probe.round()
    await probe.round()
    assert (len(bench.ollama.asked), probe.probes) == (1, {})
    for _ in range(3):
        await probe.round()
    assert len(bench.ollama.asked) == 1


async def test_failures_are_told_and_hide_the_last_speed(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    probe = bench.probe()
    await probe.round()
    await probe.round()
    bench.ollama.answers["a:latest"] = web.json_response({"error": "out of memory"}, status=500)
    await probe.round()
    found = probe.probes["a:latest"]
    assert (found.current, found.succeeded_at, len(found.last)) == (None, NOW, 2)
    assert "answered 500: out of memory" in caplog.text


async def test_an_answer_that_takes_long_is_a_failure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "TIMEOUT", 0.05)
    bench.ollama.slow = True
    probe = bench.probe()
    await probe.round()
    await probe.round()
    assert list(probe.probes["a:latest"].last) == [None]


async def test_the_last_hundred_are_kept_and_shown(bench: Bench) -> None:
    probe = bench.probe()
    telemetry = Telemetry()
    telemetry.show_probes(lambda: probe.probes)
    for _ in range(KEPT + 5):
        await probe.round()
    gauges = Gauges(Status("Ollama", None, Health.SERVING, (ModelStatus("a"),)), 0, None)
    page = telemetry.page(gauges).decode()
    assert 'agentfleet_sidecar_probe_results{model="a:latest",result="Succeeded"} 100.0' in page
    assert 'agentfleet_sidecar_probe_tokens_per_second{model="a:latest"} 20.0' in page
    assert 'agentfleet_sidecar_probe_seconds{model="a:latest",statistic="last"} 0.6' in page
    bench.ollama.answers["a:latest"] = web.json_response({"error": "x"}, status=500)
    await probe.round()
    page = telemetry.page(gauges).decode()
    assert 'agentfleet_sidecar_probe_results{model="a:latest",result="Failed"} 1.0' in page
    assert 'agentfleet_sidecar_probe_seconds{model="a:latest",statistic="mean"} 0.6' in page
    assert 'agentfleet_sidecar_probe_last_success_timestamp_seconds{model="a:latest"} 1.795e+09' in page
    assert "probe_tokens_per_second{" not in page
    assert 'statistic="last"' not in page


async def test_another_process_is_another_matter(bench: Bench) -> None:
    probe = bench.probe()
    await probe.round()
    await probe.round()
    probe.engine_restarted()
    assert probe.probes == {}
    await probe.round()
    assert len(bench.ollama.asked) == 1
