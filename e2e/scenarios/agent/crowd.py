"""Many at once on one replica with ten places, and a process that dies in the middle of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
from openai import APIConnectionError, OpenAI

from e2e.scenarios import agents
from e2e.scenarios.agent.world import ALICE, QUESTION, World
from e2e.scenarios.kube import Manifest

_CHAT = "/v1/chat/completions"
_CALLERS, _PLACES, _QUEUE = 200, 10, 100
_DOOMED = 4
"""Streams on each way that the death of the process hits."""
_SECONDS = 20.0
"""In which clients must know; their streams would last four times as long."""


def two_hundred_share_ten_places(world: World) -> None:
    world.plays("delay=0.2")
    world.model.delete("/stats").raise_for_status()
    with agents.address(world.scenario, "crowd") as address, agents.client(address, world.token) as client:
        client.chat.completions.create(model="crowd", messages=[QUESTION], max_tokens=2)  # who we are is known then
        answers = asyncio.run(_all_at_once(f"http://{address}", world.token))
    world.plays("")
    assert 1 < world.stats()["peak"] <= _PLACES
    refused = [answer for answer in answers if answer.status_code == 429]
    answered = [answer for answer in answers if answer.status_code == 200]
    assert len(answered) + len(refused) == _CALLERS, sorted({(each.status_code, each.text[:200]) for each in answers})
    assert len(answered) >= _PLACES + _QUEUE  # a place is refused only while all of them are taken
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    assert all(answer.text.rstrip().endswith("data: [DONE]") for answer in answered)


async def _all_at_once(url: str, token: str) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120, trust_env=False) as http:
        asked = (http.post(_CHAT, json=_body("crowd", 4), headers=_bearer(token)) for _ in range(_CALLERS))
        return await asyncio.gather(*asked)


def a_killed_process_leaves_nobody_waiting(world: World) -> None:
    scenario = world.scenario
    (pod,) = agents.children(scenario, "Pod", "crowd")
    world.plays("gap=0.4")
    with (
        agents.address(scenario, "crowd") as direct,
        scenario.kube.cluster.service(scenario.namespace, "front-route", 80) as route,
    ):
        ways = [(f"http://{direct}", world.token, "crowd"), (f"http://{route}", ALICE, "agent/crowd")] * _DOOMED
        ends = asyncio.run(_killed(world, pod, ways))
        world.plays("")
        assert all(isinstance(end, httpx.TransportError) for end in ends), ends
        with agents.client(direct, world.token) as client:
            scenario.until(lambda: _restarts(world) == 1 and _is_ready(world), "the process is back", timeout=60)
            # kube-proxy hears of both last, that it was away and that it is back
            assert scenario.until(lambda: _answer(client), "its Service knows")
    scenario.until(lambda: world.stats()["in_flight"] == 0, "the model works for nobody who is gone", timeout=60)


def _answer(client: OpenAI) -> str | None:
    """What it says; nothing where no connection is made."""
    try:
        answer = client.chat.completions.create(model="crowd", messages=[QUESTION], max_tokens=2)
    except APIConnectionError:
        return None
    return answer.choices[0].message.content


async def _killed(world: World, pod: Manifest, ways: Sequence[tuple[str, str, str]]) -> list[object]:
    """How streams end that had begun when the process was killed; CancelledError for those that hang."""
    begun = asyncio.Semaphore(0)
    async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
        streams = [asyncio.create_task(_stream(http, begun, *way)) for way in ways]
        async with asyncio.timeout(60):
            for _ in ways:
                await begun.acquire()
        await asyncio.to_thread(_kill, world, pod)
        _, hanging = await asyncio.wait(streams, timeout=_SECONDS)
        for stream in hanging:
            stream.cancel()
        return list(await asyncio.gather(*streams, return_exceptions=True))


async def _stream(http: httpx.AsyncClient, begun: asyncio.Semaphore, url: str, key: str, model: str) -> str:
    async with http.stream("POST", f"{url}{_CHAT}", json=_body(model, 200), headers=_bearer(key)) as response:
        response.raise_for_status()
        text = ""
        async for piece in response.aiter_text():
            if not text:
                begun.release()
            text += piece
        return text


def _body(model: str, tokens: int) -> dict[str, object]:
    return {"model": model, "messages": [QUESTION], "stream": True, "max_tokens": tokens}


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _kill(world: World, pod: Manifest) -> None:
    """SIGKILL, as the kernel sends it where memory runs out."""
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    node = world.cluster.node(pod["spec"]["nodeName"])
    node.run(["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", container])


def _restarts(world: World) -> int:
    (pod,) = agents.children(world.scenario, "Pod", "crowd")
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def _is_ready(world: World) -> bool:
    (pod,) = agents.children(world.scenario, "Pod", "crowd")
    return bool(pod["status"]["containerStatuses"][0]["ready"])


CHECKS = (two_hundred_share_ten_places, a_killed_process_leaves_nobody_waiting)
