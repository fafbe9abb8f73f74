"""Images in requests: in Private and Offline nothing makes the model's engine fetch an address."""

import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from agentfleet.runtime import card, wire_chat, wire_responses
from agentfleet.runtime.a2a_server import A2A
from agentfleet.runtime.config import Privacy
from agentfleet.runtime.types import Caller, Mode
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.runtime.parts import CALLER, Bench, config, runner
from tests.runtime.served import served

METADATA = "http://169.254.169.254/latest/meta-data"
CARRIED = "data:image/png;base64,aGk="


@pytest.fixture
def model() -> Iterator[Server]:
    with serving() as server:
        yield server


@asynccontextmanager
async def agent_served(model: Server, own: Mode, caller: Caller = CALLER) -> AsyncIterator[httpx.AsyncClient]:
    settings = config(model.address, url="http://agents.example/desk", privacy=Privacy(own))

    async def identified(_: Request) -> Caller:
        return caller

    async with AsyncExitStack() as stack:
        bench = Bench(await stack.enter_async_context(runner(settings)), settings)
        a2a = A2A(settings, bench.runs.run, identified)
        routes = [*a2a.routes(), *wire_responses.routes(settings, bench.runs.run, identified)]
        routes += wire_chat.routes(settings, bench.runs.run, identified)
        url = await stack.enter_async_context(served(routes))
        stack.push_async_callback(a2a.close)
        yield await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False, timeout=60))


def chat(url: str) -> tuple[str, dict[str, Any]]:
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return "/v1/chat/completions", {"model": "desk", "messages": [{"role": "user", "content": content}]}


def responses(url: str) -> tuple[str, dict[str, Any]]:
    content = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": url}]
    return "/v1/responses", {"model": "desk", "input": [{"role": "user", "content": content}]}


def a2a(url: str) -> tuple[str, dict[str, Any]]:
    parts = [{"text": "What is it?"}, {"url": url, "mediaType": "image/png"}]
    message = {"messageId": "m1", "role": "ROLE_USER", "parts": parts}
    return card.PATH, {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}


async def post(client: httpx.AsyncClient, asked: tuple[str, dict[str, Any]]) -> httpx.Response:
    path, body = asked
    return await client.post(path, json=body, headers={"a2a-version": "1.0"})


@pytest.mark.parametrize("asking", [chat, responses, a2a])
@pytest.mark.parametrize(
    ("own", "callers"), [("Offline", "Standard"), ("Private", "Standard"), ("Standard", "Private")]
)
async def test_an_address_is_refused_where_the_mode_keeps_things_in(
    model: Server, asking: Any, own: Mode, callers: Mode
) -> None:
    async with agent_served(model, own, dataclasses.replace(CALLER, mode=callers)) as client:
        answer = await post(client, asking(METADATA))
    assert "Send the image itself: data:image/png;base64," in answer.text
    assert asking is a2a or (answer.status_code, answer.json()["error"]["code"]) == (400, "image_not_carried")
    assert not model.requests, "the model has seen nothing"


@pytest.mark.parametrize("asking", [chat, responses, a2a])
@pytest.mark.parametrize(("own", "url"), [("Standard", METADATA), ("Standard", CARRIED), ("Offline", CARRIED)])
async def test_what_the_mode_allows_reaches_the_model(model: Server, asking: Any, own: Mode, url: str) -> None:
    model.replies.append(Reply("A cat."))
    async with agent_served(model, own) as client:
        answer = await post(client, asking(url))
    assert "A cat." in answer.text
    said = json.loads(model.body)["messages"][-1]["content"]
    assert said == [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]


@pytest.mark.parametrize("asking", [chat, responses, a2a])
async def test_a_file_of_the_engine_is_refused_in_any_mode(model: Server, asking: Any) -> None:
    async with agent_served(model, "Standard") as client:
        answer = await post(client, asking("file:///etc/passwd"))
    assert "A cat." not in answer.text
    assert asking is a2a or answer.status_code == 400
    assert not model.requests
