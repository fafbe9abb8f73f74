"""server.py: what the three endpoints answer."""

import asyncio

import aiohttp
import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.metrics import Metrics
from agentfleet.objects import Key
from agentfleet.server import Health, LoopLag, Readiness, application, ended, serve, stuck_key
from tests.virtual_time import block, run

KEY = Key("ModelServer", "default", "llama")


async def _get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}", timeout=aiohttp.ClientTimeout(total=5)) as response,
    ):
        return response.status, await response.text()


async def test_health_names_what_is_wrong() -> None:
    health = Health()
    running: tuple[Key, float] | None = None
    health.add(stuck_key(lambda: running, 120))
    app = application(health, lambda: Readiness(True, "leader", "the cache is warm"), Metrics())
    async with serve(app, 0) as port:
        assert await _get(port, "/healthz") == (200, '{"status": "ok", "problems": []}')
        running = (KEY, 119.0)
        assert (await _get(port, "/healthz"))[0] == 200
        running = (KEY, 130.0)
        status, body = await _get(port, "/healthz")
    assert status == 500
    assert "ModelServer/default/llama has been in work for 130 s, more than 120 s" in body


async def test_an_ended_task_is_unhealthy() -> None:
    async def work() -> None:
        return

    task = asyncio.create_task(work(), name="watch")
    check = ended(task)
    assert check() is None
    await task
    assert check() == "the task 'watch' has ended"


def test_a_blocked_loop_is_unhealthy() -> None:
    async def scenario() -> None:
        lag = LoopLag()
        task = asyncio.create_task(lag.run())
        await asyncio.sleep(10)
        assert lag.check() is None
        block(30)
        await asyncio.sleep(0.1)
        assert lag.check() == "the event loop was blocked for 30 s"
        await asyncio.sleep(2)
        assert lag.check() is None, "once it runs again all is well"
        task.cancel()

    run(scenario())


@pytest.mark.parametrize(
    ("state", "status"),
    [(Readiness(True, "standby", "another replica leads"), 200), (Readiness(False, "leader", "waiting for 3"), 503)],
)
async def test_readiness_says_the_role(state: Readiness, status: int) -> None:
    async with serve(application(Health(), lambda: state, Metrics()), 0) as port:
        answer = await _get(port, "/readyz")
    assert answer[0] == status
    assert f'"role": "{state.role}", "message": "{state.message}"' in answer[1]


async def test_metrics_are_shown() -> None:
    metrics = Metrics()
    metrics.leader.set(1)
    metrics.watch_cache(["Pod", "Node"], {"Pod": 7, "Node": 2}.__getitem__)
    async with serve(application(Health(), lambda: Readiness(True, "", ""), metrics), 0) as port:
        status, body = await _get(port, "/metrics")
    assert status == 200
    lines = body.splitlines()
    assert "agentfleet_leader 1.0" in lines
    assert 'agentfleet_cache_objects{kind="Pod"} 7.0' in lines
    assert 'agentfleet_cache_objects{kind="Node"} 2.0' in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


async def test_a_port_in_use_is_named() -> None:
    app = application(Health(), lambda: Readiness(True, "", ""), Metrics())
    async with serve(app, 0) as port:
        with pytest.raises(InvalidSpec, match=f"AGENTFLEET_HTTP_PORT={port}: Address already in use"):
            async with serve(app, port):
                pass
