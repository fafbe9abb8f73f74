"""The whole process, as pods run it: prepared, beside HAProxy, with a second gateway that knows what the first used."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp

from agentfleet.decider.paths import Paths
from agentfleet.gateway.decider_config import DeciderConfig, DemandSource
from agentfleet.gateway.layout import Budget, Peer
from agentfleet.gateway.types import Policy
from e2e.support import scripted
from e2e.support.ports import free_port
from tests.decider.haproxies import running
from tests.decider.test_service import INTENTS, body_of

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "operator")}
ADDRESSES = {"support-route-0": "127.0.0.2", "support-route-1": "127.0.0.3"}


def words(paths: Paths, name: str, *more: str) -> list[str]:
    folders = ("config", "run", "keys", "jwt", "credentials", "tls", "identity", "budgets")
    options = [word for each in folders for word in (f"--{each}", str(getattr(paths, each)))]
    return [sys.executable, "-m", "agentfleet", "decider", "--name", name, *options, *more]


def prepare(paths: Paths) -> str:
    """The init container; returns what it said."""
    return subprocess.run(
        words(paths, "support-route-0", "--prepare"), check=True, capture_output=True, text=True, env=ENVIRONMENT
    ).stderr


@contextmanager
def decider(paths: Paths, name: str, page: int, port: int, loopback: str) -> Iterator[None]:
    """The process, for the time of the block; it must end well on SIGTERM."""
    command = words(paths, name, "--page-address", ADDRESSES[name], "--page-port", str(page), "--port", str(port),
                    "--loopback", loopback)  # fmt: skip
    with subprocess.Popen(command, env=ENVIRONMENT) as process:
        try:
            yield
        finally:
            process.terminate()
    assert process.returncode == 0


async def text_of(url: str, timeout: float = 15.0, until: Callable[[int, str], bool] | None = None) -> str:
    """What is there, once somebody answers as it should be."""
    deadline = asyncio.get_running_loop().time() + timeout
    seen = "nothing"
    async with aiohttp.ClientSession() as session:
        while asyncio.get_running_loop().time() < deadline:
            try:
                async with session.get(url) as answer:
                    seen = f"{answer.status} {await answer.text()}"
                    if (until or _is_ok)(answer.status, seen):
                        return seen
            except aiohttp.ClientError as error:
                seen = repr(error)
            await asyncio.sleep(0.05)
    raise AssertionError(f"{url}: not within {timeout} s, but {seen[-2000:]}")


def _is_ok(status: int, _: str) -> bool:
    return status == 200


async def until_status(wanted: int, ask: Callable[[], Awaitable[int]]) -> None:
    deadline = asyncio.get_running_loop().time() + 8
    while (status := await ask()) != wanted:
        assert asyncio.get_running_loop().time() < deadline, f"still {status}, not {wanted}"
        await asyncio.sleep(0.05)


async def test_a_gateway_counts_refuses_and_is_known_after_its_restart(paths: Paths, policy: Policy) -> None:
    peers = tuple(Peer(name, address) for name, address in ADDRESSES.items())
    config = DeciderConfig(
        intents=INTENTS,
        budgets=(Budget("Key", "tokens", "100", "Day", "Reject"),),
        demand=(DemandSource("t2", "team-a", "qwen"), DemandSource("t1", "team-a", "helper", "Agent")),
        peers=peers,
    )
    paths.policy.write_text(policy.to_json())
    paths.decider.write_text(config.to_json())
    (paths.keys / "alice").write_text("key-a")
    assert "prepared: 1 API keys" in prepare(paths)
    page, port, other = free_port(), free_port(), free_port()
    with scripted.serving() as engine, running(paths, free_port(), engine.address) as base:
        async with aiohttp.ClientSession() as session:

            async def ask() -> int:
                own = {"Authorization": "Bearer key-a", "x-tokens": "60"}
                async with session.post(f"{base}/v1/chat/completions", data=body_of("hi"), headers=own) as answer:
                    return answer.status

            with decider(paths, "support-route-0", page, port, base):
                first = f"http://127.0.0.2:{page}"
                await text_of(f"{first}/healthz")
                seen = await text_of(f"{first}/metrics")
                assert 'agentfleet_demand_requests_total{model_server="qwen",namespace="team-a"} 0.0' in seen
                assert 'agentfleet_demand_waiting{model_server="qwen",namespace="team-a"} 0.0' in seen
                assert 'agentfleet_demand_waiting{agent="helper",namespace="team-a"} 0.0' in seen
                assert 'agentfleet_route_target_ready{target="small"} 1.0' in seen
                async with session.post(f"http://127.0.0.1:{port}/decide", data=body_of("refund!")) as answer:
                    assert answer.headers["x-intent"] == "refunds"
                own = {"Authorization": "Bearer key-a"}
                question = {"message": "hello", "agent_type": "technical"}
                async with session.post(f"http://127.0.0.1:{port}/chat", json=question, headers=own) as answer:
                    assert (await answer.json())["agent_used"] == "technical-support"
                assert (await ask(), await ask()) == (200, 200)
                await until_status(429, ask)  # within a second or so; until then it goes on
                seen = await text_of(f"{first}/metrics", until=lambda _, text: 'value="alice",window="Day"}' in text)
                assert 'agentfleet_route_requests_total{rule="any",status="200",target="small"}' in seen
                assert 'agentfleet_route_chat_requests_total{outcome="ok"} 1.0' in seen
                alone = replace(paths, run=paths.run / "other")
                alone.run.mkdir()
                prepare(alone)
                second = f"http://127.0.0.3:{page}"
                with decider(alone, "support-route-1", page, other, base):
                    assert "support-route-0" in await text_of(f"{second}/budgets")
                    assert await text_of(f"{second}/public-keys") == '200 {"lacking": []}', "it checks no tokens"
                    # Its HAProxy does not answer: nothing is said about demand, as missing is not zero.
                    await text_of(f"{second}/metrics", until=lambda status, _: status == 503)
        # What the operator has kept is taken over.
        period = seen.split('period="')[1].split('"')[0]
        paths.budgets.write_text(f'{{"support-route-0":{{"Key|alice|tokens|Day|{period}":"100"}}}}')
        prepare(paths)
        assert paths.budgets_map.read_text() == "key:alice spent\n"
