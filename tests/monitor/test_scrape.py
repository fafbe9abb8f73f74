"""The scraper over real HTTP: who answers is read, and nobody else holds it up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from agentfleet.autoscale.samples import Replica
from agentfleet.monitor import scrape
from agentfleet.monitor.scrape import Scraper, Target
from agentfleet.objects import Key

CHAT, CODE = Key("ModelServer", "team-a", "chat"), Key("ModelServer", "team-b", "code")
NOW = 1_795_000_000.0
LLAMA_PAGE = (Path(__file__).parent / "llama-server-metrics.txt").read_text()

Answer = Callable[[web.Request], web.StreamResponse]


class Pods:
    """Pods on addresses of 127.0.0.0/8, all with one port, and what each answers."""

    def __init__(self) -> None:
        self.answers: dict[str, str | int | float] = {}
        """Address → page, HTTP status, or seconds that it takes."""
        self.asked: list[tuple[str, str, str]] = []
        self.port = 0
        self.connections: set[object] = set()
        self.headers: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        address = request.host.partition(":")[0]
        self.asked.append((address, request.path, request.query_string))
        self.connections.add(request.transport)
        self.headers.append(dict(request.headers))
        answer = self.answers[address]
        if isinstance(answer, str):
            return web.Response(text=answer)
        if isinstance(answer, int):
            return web.Response(status=answer, headers={"Location": "/elsewhere"})
        response = web.StreamResponse()
        response.content_length = 100_000 if answer else 50_000_000
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):  # it drips: each read succeeds
                await response.write(b"#" * (100 if answer else 50_000))
                await asyncio.sleep(answer)
        return response


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    found = Pods()
    app = web.Application()
    app.router.add_get("/{path:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()  # noqa: S104 - one socket for all addresses of loopback
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@asynccontextmanager
async def scraper(pods: Pods, timeout: float = 1.0) -> AsyncIterator[Scraper]:
    async with Scraper(port=pods.port, timeout=timeout) as found:
        yield found


def target(key: Key, addresses: Sequence[str], engine: str = "LlamaCpp", max_running: float | None = None) -> Target:
    replicas = tuple(Replica(f"r{number}", 0.0, ready=True) for number in range(len(addresses)))
    return Target(key, engine, replicas, {f"r{n}": address for n, address in enumerate(addresses)}, max_running)


async def test_each_replica_is_asked_once_for_what_is_needed(pods: Pods) -> None:
    pods.answers = {"127.0.0.2": LLAMA_PAGE, "127.0.0.3": LLAMA_PAGE, "127.0.0.4": "agentfleet_sidecar_in_flight 3\n"}
    targets = [target(CHAT, ["127.0.0.2", "127.0.0.3"], max_running=4), target(CODE, ["127.0.0.4"], "Ollama", 1)]
    async with scraper(pods) as scraping:
        looks = await scraping.look(targets, NOW)
        again = await scraping.look(targets, NOW + 5)
    engines, demand, sources = looks[CHAT]
    assert (demand, sources) == (None, 0)
    assert set(engines) == {"r0", "r1"}
    assert (engines["r0"].output_tokens, engines["r0"].max_running, engines["r0"].missing) == (22, 4, ())
    assert NOW <= engines["r0"].at < NOW + 5
    ollama = looks[CODE][0]["r0"]
    assert (ollama.running, ollama.waiting) == (1, 2)
    assert again[CHAT][0]["r0"].at >= NOW + 5
    assert len(pods.asked) == 6
    assert len(pods.connections) == 3, "connections stay open"
    assert ("127.0.0.4", "/engine") in {asked[:2] for asked in pods.asked}
    assert all(
        "llamacpp:requests_processing,llamacpp:" in query for host, _, query in pods.asked if host != "127.0.0.4"
    )
    assert all("Authorization" not in headers for headers in pods.headers)


@pytest.mark.parametrize("answer", [404, 503, 301, 0.05], ids=str)
async def test_who_does_not_answer_is_left_out(pods: Pods, answer: int | float) -> None:
    """Also who drips: its page would take a minute."""
    pods.answers = {"127.0.0.2": answer, "127.0.0.3": LLAMA_PAGE}
    async with scraper(pods, timeout=1.0) as scraping:
        looks = await scraping.look([target(CHAT, ["127.0.0.2", "127.0.0.3"])], NOW)
    assert set(looks[CHAT][0]) == {"r1"}
    assert len(pods.asked) == 2, "a redirect is not followed"


async def test_an_endless_answer_is_none(pods: Pods) -> None:
    pods.answers = {"127.0.0.2": 0.0}
    async with scraper(pods) as scraping:
        looks = await scraping.look([target(CHAT, ["127.0.0.2"])], NOW)
    assert looks[CHAT][0] == {}


async def test_nobody_listens_and_no_address(pods: Pods) -> None:
    async with Scraper(port=1) as scraping:
        found = target(CHAT, ["127.0.0.2"])
        lost = Target(CODE, "VLLM", found.replicas, {})
        looks = await scraping.look([found, lost, target(CHAT, ["127.0.0.3"], "External")], NOW)
    assert looks == {CHAT: ({}, None, 0), CODE: ({}, None, 0)}
    assert pods.asked == []


async def test_nothing_to_look_at(pods: Pods) -> None:
    async with scraper(pods) as scraping:
        assert await scraping.look([], NOW) == {}


async def test_a_look_ends_though_many_are_silent(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who answered the last time are not made to wait by those who did not."""
    monkeypatch.setattr(scrape, "_BATCH", 4)
    monkeypatch.setattr(scrape, "_PATIENCE", 0.6)
    monkeypatch.setattr(scrape, "_LONGEST_LOOK", 1.2)
    silent = [f"127.0.1.{n}" for n in range(1, 15)]
    pods.answers = dict.fromkeys(silent, 0.05) | {"127.0.0.2": LLAMA_PAGE}
    targets = [target(CHAT, silent), target(CODE, ["127.0.0.2"])]
    async with scraper(pods, timeout=0.5) as scraping:
        first = await scraping.look(targets, NOW)
        seen = [await scraping.look(targets, NOW) for _ in range(2)]
    assert first == {CHAT: ({}, None, 0), CODE: ({}, None, 0)}
    assert set(seen[-1][CODE][0]) == {"r0"}


async def test_a_page_of_each_gateway_that_answers(pods: Pods) -> None:
    pods.answers = {"127.0.0.8": "{}", "127.0.0.9": 500, "127.0.0.10": 0.05}
    addresses = [f"127.0.0.{number}:{pods.port}" for number in (8, 9, 10)]
    async with scraper(pods, timeout=1.0) as scraping:
        assert await scraping.pages(addresses, "/budgets") == {addresses[0]: "{}"}
    assert {path for _, path, _ in pods.asked} == {"/budgets"}


async def test_gateways_are_asked_too(pods: Pods) -> None:
    labels = '{namespace="team-a",model_server="chat"}'
    page = f"agentfleet_demand_requests_total{labels} 5\nagentfleet_demand_waiting{labels} 2\n"
    pods.answers = {"127.0.0.8": page, "127.0.0.9": 500}
    async with scraper(pods) as scraping:
        scraping.set_demand_sources({f"127.0.0.{n}:{pods.port}": "team-a" for n in (8, 9)}, {})
        engines, demand, sources = (await scraping.look([target(CHAT, [])], NOW))[CHAT]
        assert (engines, sources) == ({}, 2)
        assert demand is not None
        assert (demand.arrived, demand.waiting, demand.sources, demand.answered) == (0, 2, 2, 1)
        pods.asked.clear()
        assert (await scraping.look([target(CODE, [])], NOW))[CODE] == ({}, None, 0)
    assert pods.asked == [], "gateways of other namespaces are left alone"
