"""The document's orchestrator over customer service and technical support: three whole agents, put together as in pods.

Callers are signed for with the namespace's key, members are asked in their name, and each member's own access decides.
"""

import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from agentfleet.runtime import identity
from agentfleet.runtime.build import build
from agentfleet.runtime.cgroup import Cgroup
from agentfleet.runtime.config import Access, AgentConfig, Grant, Member, ModelEndpoint, Orchestration, Privacy
from agentfleet.runtime.types import Caller
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.runtime.served import address, free_socket, serving_app

KEY = b"the key of the namespace"


@pytest.fixture
def model() -> Iterator[Server]:
    with serving() as server:
        yield server


@asynccontextmanager
async def fleet(model: Server, folder: Path, members_for: str = "staff") -> AsyncIterator[str]:
    """The address of the agent in front."""
    (folder / "key").write_bytes(KEY)
    async with AsyncExitStack() as stack:
        sockets = {name: stack.enter_context(free_socket()) for name in ("front", "service", "technical")}
        members = (
            Member("customer-service", address(sockets["service"]), "Orders, tickets, callbacks"),
            Member("technical-support", address(sockets["technical"]), "Technical problems, diagnostics"),
        )
        plain = {"model": ModelEndpoint(f"http://{model.address}/v1", "scripted")}
        for name, groups, more in [
            ("service", members_for, {**plain, "instructions": "You are customer service."}),
            ("technical", members_for, {**plain, "instructions": "You are technical support."}),
            ("front", "staff", {"orchestration": Orchestration("Intent", members)}),
        ]:
            await stack.enter_async_context(agent(name, sockets[name], folder, groups, more))
        yield address(sockets["front"])


@asynccontextmanager
async def agent(
    name: str, bound: socket.socket, folder: Path, groups: str, more: dict[str, Any]
) -> AsyncIterator[None]:
    own = folder / name
    own.mkdir()
    access = Access("Deny", (Grant((groups,)),), str(folder / "key"), token_review=False)
    privacy = Privacy("Private" if name == "front" else "Standard")
    config = AgentConfig(
        name, "shop", address(bound), "1", access=access, privacy=privacy, data_folder=str(own), **more
    )
    async with AsyncExitStack() as stack:
        process = await build(config, stack, Cgroup())
        await stack.enter_async_context(serving_app(process.app, bound))
        yield
        await process.before_stop()


@asynccontextmanager
async def client(url: str, *groups: str) -> AsyncIterator[AsyncOpenAI]:
    headers = {identity.HEADER: identity.sign(KEY, Caller("ann", frozenset(groups)), time.time())}
    async with AsyncOpenAI(
        base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=20, default_headers=headers
    ) as made:
        yield made


async def ask(made: AsyncOpenAI, text: str, **more: Any) -> str:
    message: Any = {"role": "user", "content": text}
    answer = await made.chat.completions.create(model="front", messages=[message], **more)
    return answer.choices[0].message.content or ""


async def test_the_orchestrator_asks_who_fits_and_the_technician_when_unsure(model: Server, tmp_path: Path) -> None:
    model.reply_to = lambda body: Reply(text=f"[{body['messages'][0]['content']}]", tokens=(11, 3))
    session = {"extra_headers": {"x-session-id": "conv-1"}}
    async with fleet(model, tmp_path) as url, client(url, "staff") as ann:
        assert await ask(ann, "I want to cancel my orders") == "[You are customer service.]"
        assert await ask(ann, "Run diagnostics on it") == "[You are technical support.]"
        unsure = await ask(ann, "I need to schedule a callback for a technical issue", **session)
        assert unsure == "[You are technical support.]"
        assert await ask(ann, "Yes, please", **session) == "[You are technical support.]"
        heard = [each["content"] for each in json.loads(model.body)["messages"]]
        stream = await ann.responses.create(model="front", input="my orders", stream=True)
        events = [event async for event in stream]
    assert heard[1::2] == ["I need to schedule a callback for a technical issue", "Yes, please"]
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage is not None
    assert events[-1].response.usage.total_tokens == 14


async def test_members_judge_the_caller_themselves(model: Server, tmp_path: Path) -> None:
    """Who may ask the agent in front, but none of its members, gets the friendly reply and no answer of theirs."""
    async with fleet(model, tmp_path, members_for="engineers") as url:
        async with client(url, "staff", "engineers") as ann:
            assert not (await ask(ann, "my orders")).startswith("I'm experiencing")
        async with client(url, "staff") as bob:
            assert (await ask(bob, "my orders")).startswith("I'm experiencing technical difficulties")
        async with client(url) as nobody:
            with pytest.raises(openai.PermissionDeniedError):
                await ask(nobody, "my orders")
    assert model.received == 1


async def test_members_know_the_request_the_caller_and_the_stricter_mode(model: Server, tmp_path: Path) -> None:
    """The agent in front is Private, so its members must not write down what it asks."""
    model.replies.append(Reply(text="an answer"))
    async with fleet(model, tmp_path) as url, client(url, "staff") as ann:
        await ask(ann, "my orders", extra_headers={"x-request-id": "req-7"})
    lines = [json.loads(line) for line in (tmp_path / "service" / "audit.jsonl").read_text().splitlines()]
    (run,) = (line for line in lines if line["kind"] == "run")
    assert (run["mode"], run["request"], run["caller"]) == ("Private", "req-7", "ann")
