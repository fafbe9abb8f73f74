"""What the runtime of Agents shows at /metrics, as the scaling loop reads it: the real page, over the real Scraper."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from agentfleet.autoscale.samples import EngineSample, Replica
from agentfleet.monitor.engines import AGENT, ENGINES
from agentfleet.monitor.exposition import scan
from agentfleet.monitor.scrape import Scraper, Target
from agentfleet.objects import Key
from agentfleet.planning.agent_scaling import ENGINE
from agentfleet.runtime.hooks import RunRecord
from agentfleet.runtime.metrics import Metrics
from agentfleet.runtime.types import Caller, Task

NOW = 1_000_000.0
TASK = Task("req-1", Caller("key:alice"), ())


def metrics(running: int = 0, waiting: int = 0) -> Metrics:
    made = Metrics()
    gate: Any = SimpleNamespace(running=running, waiting=waiting)
    made.watch(gate, lambda: 1.0)
    return made


def read(page: bytes) -> EngineSample:
    return AGENT.read(scan(page.decode(), frozenset(AGENT.names)), NOW, None)


def test_a_new_agent_tells_all_that_is_asked_for() -> None:
    found = read(metrics().page())
    assert (found.running, found.waiting, found.asked, found.alerts, found.missing) == (0.0, 0.0, 0.0, (), ())
    assert found.completed is None, "capacity is said, not learnt from what ends"
    assert found.started_at is not None


def test_runs_and_alerts_are_told() -> None:
    made = metrics(3, 7)
    made.alert("ResponseTime", "SmallerTier", lasts=True)
    made.alert("ErrorRate", "", lasts=False)
    made.run(TASK, RunRecord("error", 502, 1.0))
    found = read(made.page())
    assert (found.running, found.waiting, found.asked, found.alerts) == (3.0, 7.0, 1.0, ("ResponseTime",))


def test_an_image_of_the_users_own_that_tells_nothing_is_missed() -> None:
    found = read(b"http_requests_total 5\n")
    assert found.running is None
    assert "agentfleet_agent_in_flight" in found.missing


def test_what_a_page_calls_an_alert_is_bounded() -> None:
    page = "".join(f'agentfleet_agent_alert{{metric="{"x" * 50}{index}"}} 1\n' for index in range(50))
    found = read(page.encode())
    assert len(found.alerts) <= 8
    assert max(map(len, found.alerts)) <= 32


async def test_the_scraper_asks_the_agent_itself() -> None:
    page = metrics(2, 1).page()
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.Response(body=page, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    key = Key("Agent", "team-a", "helper")
    target = Target(key, ENGINE, (Replica("pod", NOW, ready=True),), {"pod": "127.0.0.1"})
    try:
        async with Scraper(port=port) as scraper:
            engines, demand, sources = (await scraper.look([target], NOW))[key]
    finally:
        await runner.cleanup()
    assert asked == ["/metrics"]
    assert (engines["pod"].running, engines["pod"].waiting) == (2.0, 1.0)
    assert (demand, sources) == (None, 0)


@pytest.mark.parametrize(("name", "port"), [("Agent", 8080), ("VLLM", 9901)])
def test_each_is_asked_where_it_tells(name: str, port: int) -> None:
    assert ENGINES[name].port == port
