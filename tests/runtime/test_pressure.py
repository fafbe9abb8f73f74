"""A process under pressure: 200 callers at ten places, killed in the middle, alerts that act, memory near its limit."""

import asyncio
import collections
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from agentfleet.runtime.config import Alert, Concurrency, Limits, Monitoring
from e2e.support.scripted import Server, serving
from tests.runtime.process import BODY, Agent, in_flight, page_has, settings, started

CHAT = "/v1/chat/completions"
STREAM = {**BODY, "stream": True}
SLOWLY = "gap=0.05,chunks=2000"
LOW = {**BODY, "service_tier": "flex"}
HIGH = {**BODY, "service_tier": "priority"}
TIER = "x-agentroute-tier"


@asynccontextmanager
async def streaming(agent: Agent) -> AsyncIterator[httpx.Response]:
    """A run that goes on until the end of the block."""
    async with agent.http.stream("POST", CHAT, json=STREAM) as answer:
        assert answer.status_code == 200
        yield answer


async def test_200_streams_and_10_places_and_a_kill_in_the_middle(tmp_path: Path) -> None:
    places = Concurrency(max=10, queue=100, queue_timeout=60)
    with serving(script="gap=0.002,chunks=5") as model:
        async with started(tmp_path, settings(model, tmp_path, concurrency=places, limits=Limits(timeout=60))) as agent:
            await agent.answers("/readyz", 200)
            await _all_are_answered_or_told_when_to_come_again(agent, model, places)
            assert model.peak == 10
            await page_has(agent, "agentfleet_agent_in_flight 0.0")
            model.play(SLOWLY)
            await _no_client_is_left_waiting(agent)


async def _all_are_answered_or_told_when_to_come_again(agent: Agent, model: Server, places: Concurrency) -> None:
    with model.holding():
        asking = [asyncio.create_task(agent.http.post(CHAT, json=STREAM)) for _ in range(200)]
        await page_has(agent, f"agentfleet_agent_waiting {places.queue}.0")
        await asyncio.to_thread(in_flight, model, places.max)
    answers = await asyncio.gather(*asking)
    by_status = collections.Counter(answer.status_code for answer in answers)
    assert set(by_status) <= {200, 429}
    assert by_status[200] >= places.max + places.queue
    assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers if answer.status_code == 200)
    assert all(int(answer.headers["retry-after"]) for answer in answers if answer.status_code == 429)


async def _no_client_is_left_waiting(agent: Agent) -> None:
    """Those that are being answered, and those that wait, see the connection end."""
    asking = [asyncio.create_task(agent.http.post(CHAT, json=STREAM)) for _ in range(40)]
    await page_has(agent, "agentfleet_agent_waiting 30.0")
    agent.process.kill()
    async with asyncio.timeout(10):
        ends = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(end) for end in ends} <= {httpx.RemoteProtocolError, httpx.ReadError}


async def test_alerts_shed_load_and_ask_for_a_smaller_tier_while_they_last(tmp_path: Path) -> None:
    alerts = (Alert("QueueDepth", 0.5, "Shed", 0.0), Alert("QueueDepth", 0.5, "SmallerTier", 0.0))
    asked: dict[str, Any] = {
        "concurrency": Concurrency(max=1, queue=20, queue_timeout=60),
        "limits": Limits(timeout=60),
    }
    with serving(script=SLOWLY) as model:
        async with started(tmp_path, settings(model, tmp_path, monitoring=Monitoring(alerts), **asked)) as agent:
            await agent.answers("/readyz", 200)
            async with streaming(agent):
                await asyncio.to_thread(in_flight, model)
                model.play("")
                waiting = [asyncio.create_task(agent.http.post(CHAT, json=HIGH)) for _ in range(2)]
                for action in ("Shed", "SmallerTier"):
                    await page_has(agent, f'agentfleet_agent_alert{{action="{action}",metric="QueueDepth"}} 1.0')
                told = (await agent.http.get("/readyz")).json()["alerts"]
                assert told[0] == {"metric": "QueueDepth", "threshold": 0.5, "action": "Shed"}
                for body in (LOW, BODY):
                    shed = await agent.http.post(CHAT, json=body)
                    assert (shed.status_code, shed.json()["error"]["code"]) == (429, "shed")
                    assert int(shed.headers["retry-after"]) >= 1
            assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]
            assert model.requests[1].headers[TIER] == "lightweight"
            for action in ("Shed", "SmallerTier"):
                await page_has(agent, f'agentfleet_agent_alert{{action="{action}",metric="QueueDepth"}} 0.0')
            assert (await agent.http.post(CHAT, json=LOW)).status_code == 200
            assert TIER not in model.requests[0].headers
            assert TIER not in model.requests[-1].headers


async def test_memory_above_its_soft_limit_refuses_new_runs_and_ends_none(tmp_path: Path) -> None:
    container = tmp_path / "cgroup"
    container.mkdir()
    (container / "memory.max").write_text("1000\n")
    used = container / "memory.current"
    used.write_text("100\n")
    with serving(script=SLOWLY) as model:
        async with started(tmp_path, settings(model, tmp_path), "--cgroup", str(container)) as agent:
            await agent.answers("/readyz", 200)
            async with streaming(agent) as running:
                model.play("")
                used.write_text("900\n")
                refused = await _answered(agent, 503)
                assert refused.json()["error"]["code"] == "out_of_memory"
                assert int(refused.headers["retry-after"]) >= 1
                pieces = running.aiter_bytes()
                for _ in range(5):
                    assert b"data: " in await anext(pieces)
                used.write_text("500\n")
                await _answered(agent, 200)


async def _answered(agent: Agent, status: int) -> httpx.Response:
    """The first chat that is answered so."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (answer := await agent.http.post(CHAT, json=BODY)).status_code == status:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"no chat was answered {status}: {answer.text}")
