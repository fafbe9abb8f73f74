"""/chat, /v1/batch-chat, /health and /decide, over HTTP; HAProxy's place is taken by a scripted server where only the
calls that come back to it matter."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agentfleet.decider import classifier as classifiers
from agentfleet.decider import service as services
from agentfleet.decider.admin import AdminError
from agentfleet.decider.agents import model_of
from agentfleet.decider.chat import Chat
from agentfleet.decider.classifier import Classifier
from agentfleet.decider.decide import Decide
from agentfleet.decider.health import report
from agentfleet.decider.service import Service
from agentfleet.decider.stats import TargetLoad
from agentfleet.gateway.decider_config import DeciderConfig, IntentText, ModelEndpoint
from agentfleet.gateway.layout import Budget, Peer
from agentfleet.gateway.types import Policy
from e2e.support import scripted

DOWN = TargetLoad(0, 0, 0)
UP = TargetLoad(2, 1, 3)

Client = TestClient[web.Request, web.Application]


class Loads:
    """Loads of targets as a Meter reads them; None: HAProxy does not answer."""

    def __init__(self, loads: dict[str, TargetLoad] | None) -> None:
        self._loads = loads

    async def read(self) -> dict[str, TargetLoad]:
        if self._loads is None:
            raise AdminError("HAProxy did not answer")
        return self._loads


@asynccontextmanager
async def serving(
    policy: Policy,
    loopback: str = "127.0.0.1:9",
    config: DeciderConfig | None = None,
    loads: dict[str, TargetLoad] | None = None,
    workers: int = 4,
) -> AsyncIterator[tuple[Client, Chat, Classifier]]:
    async with aiohttp.ClientSession() as session:
        classifier = Classifier(config or DeciderConfig(), session)
        chat = Chat(policy, session, f"http://{loopback}", "secret", workers=workers)
        meter: Any = Loads(loads)
        service = Service(policy, Decide(classifier), chat, meter)
        server = TestServer(service.application(), handler_cancellation=True)
        async with TestClient(server) as client:
            yield client, chat, classifier


@pytest.mark.parametrize(
    ("agent_type", "model"),
    [("customer_service", "agent/helpdesk"), ("technical", "agent/technical-support"),
     ("technical-support", "agent/technical-support"), ("small", "model/small"), ("general", "route/support"),
     ("whatever", "route/support")],
)  # fmt: skip
def test_agent_types_of_the_document(policy: Policy, agent_type: str, model: str) -> None:
    assert model_of(policy, agent_type) == model


def test_an_unknown_type_goes_to_the_general_agent_where_there_is_one(policy: Policy) -> None:
    general = replace(policy.targets[2], name="general-purpose")
    assert model_of(replace(policy, targets=(*policy.targets[:2], general)), "billing") == "model/small"


async def test_a_message_goes_through_the_gateway_as_its_caller(policy: Policy) -> None:
    with scripted.serving() as gateway:
        async with serving(policy, gateway.address) as (client, chat, _):
            own = {"Authorization": "Bearer k", "X-Plan": "gold", "x-agentfleet-identity": "a.b", "X-Other": "no",
                   "x-agentroute-priority": "low", "x-session-id": "\u00e9"}  # fmt: skip
            body = {"message": "help", "agent_type": "technical", "priority": "high"}
            answer = await client.post("/chat", json=body, headers=own)
            said = await answer.json()
            assert answer.status == 200, said
            assert said["response"]
            assert said["agent_used"] == "agent/technical-support"
            assert said["processing_time"] >= 0
            assert (chat.tally.ok, chat.tally.failed, chat.tally.per_minute) == (1, 0, 1)
            (received,) = await _received(gateway.address)
    assert received["model"] == "agent/technical-support"
    sent = {name.lower(): value for name, value in received["headers"].items()}
    assert sent["authorization"] == "Bearer k"
    assert sent["x-plan"] == "gold"
    assert sent["x-agentfleet-identity"] == "a.b"
    assert sent["x-agentroute-priority"] == "high"
    assert "x-other" not in sent
    assert "x-session-id" not in sent
    assert "x-agentroute-complexity" not in sent


async def test_what_a_caller_says_of_its_request_goes_on_whole(policy: Policy) -> None:
    """Of the sensitivity headers the highest counts, and what is no class is the highest: none may get lost."""
    asked = replace(policy, complexity_header="x-hard")
    with scripted.serving() as gateway:
        async with serving(asked, gateway.address) as (client, _, _):
            for said in (("Restricted", "Public"), ("Public", "S\u00e9cret"), ("Internal",)):
                headers = [("X-Hard", "simple"), *(("X-AgentRoute-Sensitivity", each) for each in said)]
                assert (await client.post("/chat", json={"message": "a"}, headers=headers)).status == 200
            body = {"requests": [{"message": "a", "complexity": "complex"}]}
            assert (await client.post("/v1/batch-chat", json=body, headers={"x-hard": "simple"})).status == 200
            received = [dict(each["headers"]) for each in await _received(gateway.address)]
    assert [each.get("x-agentroute-sensitivity") for each in received] == [
        "Restricted,Public", "Public,S?cret", "Internal", None,
    ]  # fmt: skip
    assert [each["x-hard"] for each in received] == ["simple", "simple", "simple", "Complex"]


async def _received(address: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/requests") as answer:
        return list(await answer.json())


@pytest.mark.parametrize(
    ("script", "status"), [("status=429,retry_after=7", 429), ("status=503", 503), ("close_after=0", 503)]
)
async def test_errors_of_the_gateway_come_back_in_openais_form(policy: Policy, script: str, status: int) -> None:
    with scripted.serving(script=script) as gateway:
        async with serving(policy, gateway.address) as (client, chat, _):
            answer = await client.post("/chat", json={"message": "help"})
            error = (await answer.json())["error"]
            assert answer.status == status
            assert error["message"]
            assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
            assert chat.tally.failed == 1


async def test_a_message_that_takes_too_long_is_408_and_leaves_the_gateway(policy: Policy) -> None:
    with scripted.serving(script="delay=30") as gateway:
        async with serving(policy, gateway.address) as (client, _, _):
            answer = await client.post("/chat", json={"message": "help", "timeout": 0.2})
            assert answer.status == 408
            assert "0.2 s" in (await answer.json())["error"]["message"]
            assert await _in_flight(gateway.address) == 0


async def _in_flight(address: str) -> int:
    """Requests in flight, once there are none, else after a while."""
    async with aiohttp.ClientSession() as session:
        deadline = asyncio.get_running_loop().time() + 10
        while True:
            async with session.get(f"http://{address}/stats") as answer:
                in_flight = int((await answer.json())["in_flight"])
            if not in_flight or asyncio.get_running_loop().time() > deadline:
                return in_flight
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("body", [
    b"[" * 200_000, b"", b"{", b"\xff",
    b"[]", b"{}", b'{"message": ""}', b'{"message": 1}', b'{"message": "a", "timeout": 0}',
    b'{"message": "a", "timeout": true}', b'{"message": "a", "timeout": NaN}', b'{"message": "a", "timeout": 1e9}',
    b'{"message": "a", "priority": "urgent"}', b'{"message": "a", "agent_type": 3}',
    b'{"message": "a", "complexity": "hard"}',
])  # fmt: skip
async def test_bad_messages_are_400(policy: Policy, body: bytes) -> None:
    async with serving(policy) as (client, _, _):
        answer = await client.post("/chat", data=body)
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_a_batch_answers_each_for_itself(policy: Policy) -> None:
    with scripted.serving() as gateway:
        async with serving(policy, gateway.address, workers=2) as (client, _, _):
            requests: list[Any] = [
                {"id": "a", "message": "one", "agent_type": "technical"},
                {"message": "two", "complexity": "complex"},
                {"id": "bad"},
                "nothing",
                *({"message": str(number)} for number in range(20)),
            ]
            answer = await client.post("/v1/batch-chat", json={"requests": requests})
            results = (await answer.json())["results"]
            received = await _received(gateway.address)
    assert [result["id"] for result in results[:5]] == ["a", 1, "bad", 3, 4]
    assert [result["status"] for result in results] == ["success", "success", "error", "error", *["success"] * 20]
    assert "message must be" in results[2]["error"]
    assert results[0]["agent"] == "agent/technical-support"
    assert all(result["response"] and result["time"] >= 0 for result in results if result["status"] == "success")
    levels = [dict(each["headers"]).get("x-agentroute-complexity") for each in received]
    assert sorted(filter(None, levels)) == ["Complex", *["Moderate"] * 21]


async def test_a_batch_that_takes_too_long_gives_what_it_has(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "BATCH_SECONDS", 0.5)
    monkeypatch.setattr(services, "BATCH_AT_ONCE", 1)
    with scripted.serving(script="delay=0.3") as gateway:
        async with serving(policy, gateway.address) as (client, _, _):
            answer = await client.post("/v1/batch-chat", json={"requests": [{"message": "a"}] * 4})
            results = (await answer.json())["results"]
    assert [each["status"] for each in results] == ["success", "error", "error", "error"]
    assert "before this one's turn came" in results[3]["error"]


async def test_a_batch_goes_on_when_the_gateway_fails(policy: Policy) -> None:
    async with serving(policy) as (client, _, _):
        answer = await client.post("/v1/batch-chat", json={"requests": [{"message": "a"}, {"message": "b"}]})
        assert [each["status"] for each in (await answer.json())["results"]] == ["error", "error"]
        for bad in ({}, {"requests": []}, {"requests": [{"message": "a"}] * 1001}):
            assert (await client.post("/v1/batch-chat", json=bad)).status == 400


async def test_more_messages_than_may_wait_are_429(policy: Policy) -> None:
    with scripted.serving(script="delay=0.5") as gateway:
        async with serving(replace(policy, queue_max=1), gateway.address, workers=1) as (client, _, _):
            answers = await asyncio.gather(*(client.post("/chat", json={"message": "a"}) for _ in range(3)))
            assert sorted(answer.status for answer in answers) == [200, 200, 429]


@pytest.mark.parametrize(
    ("loads", "status", "code"),
    [({"t0": UP, "t1": UP, "t2": UP}, "healthy", 200), ({"t0": UP, "t1": UP, "t2": DOWN}, "healthy", 200),
     ({"t0": UP, "t1": DOWN, "t2": UP}, "degraded", 200), (None, "unhealthy", 503)],
)  # fmt: skip
async def test_health(policy: Policy, loads: dict[str, TargetLoad] | None, status: str, code: int) -> None:
    async with serving(policy, loads=loads) as (client, _, _):
        answer = await client.get("/health")
        body = await answer.json()
    assert (answer.status, body["status"], body["workers"]) == (code, status, 4)
    assert [each["name"] for each in body["targets"]] == ["helpdesk", "technical-support", "small"]


def test_a_route_of_which_nothing_answers_is_unhealthy(policy: Policy) -> None:
    awake = replace(policy, targets=policy.targets[:2])
    assert report(awake, {"t0": DOWN, "t1": DOWN}, 0, 4)["status"] == "unhealthy"
    assert report(awake, {"t0": UP, "t1": DOWN}, 5, 4)["queue_size"] == 6


INTENTS = (
    IntentText("refunds", "money back", ("refund",), ("I want my money back for the broken kettle",)),
    IntentText("outages", "something is down", (), ("the website does not load and shows an error",)),
)


def body_of(text: str) -> bytes:
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()


async def decide(client: Client, text: str, want: str = "both") -> tuple[str | None, str | None]:
    answer = await client.post("/decide", data=body_of(text), headers={"x-agentroute-want": want})
    assert answer.status == 200
    return answer.headers.get("x-intent"), answer.headers.get("x-complexity")


async def test_intents_by_keyword_and_example(policy: Policy) -> None:
    async with serving(policy, config=DeciderConfig(intents=INTENTS)) as (client, _, classifier):
        assert await decide(client, "Where are my refunds?") == ("refunds", None)
        assert await decide(client, "the website does not load, it shows an error") == ("outages", None)
        assert await decide(client, "good morning") == (None, None)
        for body in (b"{", b"", b'{"model": "m", "messages": []}', b'{"model":"m","model":"n"}'):
            assert (await client.post("/decide", data=body)).status == 200
        for text, intent in (("refund me\u20ac".encode()[:-1], "refunds"), (b"", None)):
            answer = await client.post("/decide", data=text, headers={"content-type": "text/plain"})
            assert (answer.status, answer.headers.get("x-intent")) == (200, intent)
    assert classifier.outcomes["intent", "unread"] == 5
    assert classifier.outcomes["intent", "keyword"] == 2


async def model_server(reply: Callable[[dict[str, Any]], Awaitable[Any]]) -> TestServer:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(await reply(await request.json()))

    application = web.Application()
    application.add_routes([web.post("/v1/chat/completions", answer), web.post("/v1/embeddings", answer)])
    return TestServer(application)


async def test_a_small_model_is_asked_where_keywords_do_not_tell(policy: Policy) -> None:
    asked: list[str] = []

    async def reply(body: dict[str, Any]) -> Any:
        question = body["messages"][0]["content"]
        asked.append(question)
        if "slow" in question:
            await asyncio.sleep(30)
        name = "Complex" if "several steps" in question else "outages"
        return {"choices": [{"message": {"content": f"**{name}**"}}]}

    async with await model_server(reply) as server:
        endpoint = ModelEndpoint(str(server.make_url("/v1")), "tiny")
        config = DeciderConfig(
            intents=INTENTS, intent_method="Model", intent_model=endpoint, complexity_model=endpoint,
            intent_ms=2000, complexity_ms=2000,
        )  # fmt: skip
        async with serving(policy, config=config) as (client, _, classifier):
            assert await decide(client, "a refund please", "intent") == ("refunds", None)
            assert not asked
            assert await decide(client, "nothing moves") == ("outages", "Complex")
            assert await decide(client, "nothing moves", "complexity") == (None, "Complex")
            assert await decide(client, "slow as never before") == (None, None)
            assert classifier.outcomes["intent", "failed"] == classifier.outcomes["complexity", "failed"] == 1


async def test_an_embedding_model_is_asked_for_what_is_near(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "RETRY", 0.01)
    calls = 0

    async def reply(body: dict[str, Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            return {"error": "starting"}  # the first answer makes no sense; it is asked again
        vectors = [[1.0, 0.0] if "money" in text or "bucks" in text else [0.0, 1.0] for text in body["input"]]
        return {"data": [{"index": index, "embedding": each} for index, each in enumerate(vectors)]}

    async with await model_server(reply) as server:
        endpoint = ModelEndpoint(str(server.make_url("/v1")), "tiny")
        config = DeciderConfig(intents=INTENTS, intent_method="Embedding", intent_model=endpoint, intent_ms=5000)
        async with serving(policy, config=config) as (client, _, classifier):
            assert await decide(client, "give me my bucks") == (None, None)
            assert classifier.outcomes["intent", "failed"] == 1
            await classifier.start()
            before = calls
            assert await decide(client, "give me my bucks") == ("refunds", None)
            assert calls == before + 1


async def test_many_examples_hold_nobody_up(policy: Policy) -> None:
    """Of the most that a route may have, in the time of which a request may be kept waiting."""
    texts = tuple(f"example {number}" for number in range(64))
    intents = tuple(IntentText(f"i{number}", "", (), texts) for number in range(32))

    async def reply(body: dict[str, Any]) -> Any:
        vectors = [[hash((text, at)) % 1000 / 1000 for at in range(1024)] for text in body["input"]]
        return {"data": [{"index": index, "embedding": each} for index, each in enumerate(vectors)]}

    async with await model_server(reply) as server:
        endpoint = ModelEndpoint(str(server.make_url("/v1")), "tiny")
        config = DeciderConfig(intents=intents, intent_method="Embedding", intent_model=endpoint)
        async with aiohttp.ClientSession() as session:
            classifier = Classifier(config, session)
            await classifier.start()
            compared = sum(map(len, classifier._prototypes.values()))
    assert compared == 32


def test_the_configuration_survives_its_file() -> None:
    config = DeciderConfig(
        intents=INTENTS, intent_method="Model", intent_model=ModelEndpoint("http://m/v1", "m"),
        budgets=(Budget("Key", "usd", "2.50", "Month", "LocalOnly"),), peers=(Peer("g-0", "10.0.0.1"),),
    )  # fmt: skip
    assert DeciderConfig.from_json(config.to_json()) == config
