"""cli/chat.py, with an agent's real process behind a kubectl that forwards to it, and a person who types."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agentfleet.cli.terminal import Lines
from agentfleet.runtime.config_tools import ApprovalRule, HttpTool, ToolEntry
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.cli.agents import TOKEN, a_pod, an_agent, kubectl, serve_agents
from tests.cli.routes import agent_route, serve_routes
from tests.cli.servers import FakeApi, condition, refused
from tests.runtime.process import settings, started
from tests.runtime.test_https import made

ARGUMENTS = {"type": "object", "properties": {"what": {"type": "string"}}}


@pytest.fixture
def model() -> Iterator[Server]:
    with serving() as server:
        yield server


@asynccontextmanager
async def running(
    model: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: FakeApi, **changes: Any
) -> AsyncIterator[Path]:
    """Agent desk with a tool that needs approval; what kubectl is called with comes out."""
    with serving() as shop:
        order = HttpTool(f"http://{shop.address}/orders", "Orders.", "POST", ARGUMENTS)
        asked = settings(model, tmp_path, tools=(ToolEntry("order", order, ApprovalRule("Always")),), **changes)
        async with started(tmp_path, asked) as agent:
            await agent.answers("/readyz", 200)
            serve_agents(api, an_agent(), pods=[a_pod()])
            yield kubectl(tmp_path, monkeypatch, forwards_to=int(agent.http.base_url.port or 0))


@contextmanager
def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> Iterator[None]:
    """What stands on stdin, to its end."""
    reading, writing = os.pipe()
    os.write(writing, "".join(f"{line}\n" for line in lines).encode())
    os.close(writing)
    with os.fdopen(reading) as stdin, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        yield


def asked_of(model: Server) -> list[tuple[str, str]]:
    """Roles and texts that the model was asked with last, without its instructions."""
    messages = json.loads(model.body)["messages"]
    return [(each["role"], each.get("content") or "") for each in messages if each["role"] in ("user", "assistant")]


async def test_a_conversation_is_kept_and_approvals_are_asked_for(
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Server,
) -> None:
    call = Reply(calls=(("order", '{"what": "tea"}'),))
    async with running(model, tmp_path, monkeypatch, api) as calls:
        model.replies.extend([Reply("Hello Ann."), call, Reply("Ordered."), call, Reply("As you wish.")])
        with typed(monkeypatch, "I am Ann.", "", "Order tea.", "y", "Again.", "enough tea"):
            assert await api.run("chat", "agent/desk", "--session", "s-1") == 0
        output = capsys.readouterr()
        assert output.out == "Hello Ann.\nOrdered.\nAs you wish.\n"
        assert "prod/desk on desk-agent-0 as service account prod:default, session s-1" in output.err
        assert output.err.count('The agent asks to call order with {"what": "tea"}') == 2
        told = [each["content"] for each in json.loads(model.body)["messages"] if each["role"] == "tool"]
        assert len(told) == 2
        assert "rejected" in told[1]

        model.replies.append(Reply("You are Ann."))
        assert await api.run("chat", "agent/desk", "Who", "am I?", "--session", "s-1", "-o", "json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["session"] == "s-1"
        assert (answer["turns"][0]["answer"], answer["turns"][0]["finish"]) == ("You are Ann.", "stop")
        assert answer["turns"][0]["usage"]["total_tokens"] > 0
        assert ("user", "I am Ann.") in asked_of(model)
        assert asked_of(model)[-1] == ("user", "Who am I?")
    (token,) = {json.dumps(body["spec"]) for _, path, body in api.writes if path == TOKEN.format("default")}
    assert json.loads(token)["audiences"] == ["agentfleet"]
    assert "pod/desk-agent-0 :8080" in calls.read_text()


async def test_with_a_certificate_and_through_a_route(
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Server,
) -> None:
    model.reply_to = lambda _: Reply("Here.")
    async with running(model, tmp_path, monkeypatch, api, tls=made(tmp_path)) as calls:
        assert await api.run("chat", "desk", "Where?") == 0
        serve_routes(api, agent_route("door"))
        assert await api.run("chat", "desk", "Where?", "--route", "door") == 0
        output = capsys.readouterr()
        assert output.out == "Here.\nHere.\n"
        assert "prod/desk through route door" in output.err
        assert "--namespace=prod" in calls.read_text().splitlines()[-1]
        assert "there are door" in await refused(api, capsys, "chat", "desk", "Where?", "--route", "gate")


async def test_what_goes_wrong_is_told_and_the_conversation_goes_on(
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: Server,
) -> None:
    async with running(model, tmp_path, monkeypatch, api):
        model.replies.append(Reply(calls=(("order", "{}"),)))
        with typed(monkeypatch):
            assert await api.run("chat", "desk", "Order.") == 1
        assert "it waits for approval of order, and nobody answers" in capsys.readouterr().err
        model.reply_to = lambda _: Reply("Here.")
        model.play("status=429,times=1")
        with typed(monkeypatch, "Are you there?", "Where are you?"):
            assert await api.run("chat", "desk") == 1
        output = capsys.readouterr()
        assert output.out == "Here.\n"
        assert "error: HTTP 429: " in output.err
        model.play("status=500")
        with typed(monkeypatch):
            assert await api.run("chat", "desk", "Hello?") == 1
        output = capsys.readouterr()
        assert "technical difficulties" in output.out
        assert "the agent failed and said its fallback reply: see its log for request " in output.err


@pytest.mark.parametrize(
    ("spec", "status", "argv", "message"),
    [
        ({"access": {"allow": [{"groups": ["staff"]}]}}, {}, (), "names no service account: ask with --route"),
        ({"protocols": {"openai": False}}, {}, (), "does not speak OpenAI's API"),
        ({}, {}, ("--service-account", "web:ann"), "no token for service account web:ann: refused with 404"),
    ],
)
async def test_who_cannot_ask(
    api: FakeApi,
    capsys: pytest.CaptureFixture[str],
    spec: dict[str, Any],
    status: dict[str, Any],
    argv: tuple[str, ...],
    message: str,
) -> None:
    serve_agents(api, an_agent(spec=spec, **status), pods=[a_pod()])
    assert message in await refused(api, capsys, "chat", "agent/desk", "hi", *argv)


async def test_nobody_is_there(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    down = condition("Ready", "False", "ModelNotReady", "the model is away.")
    serve_agents(api, an_agent(conditions=[down]), pods=[a_pod(ready=False)])
    assert "no pod of prod/desk is ready: the model is away. See doctor" in await refused(
        api, capsys, "chat", "desk", "hi"
    )
    serve_agents(api, an_agent(replicas=0, conditions=[condition("Ready", "True", "ScaledToZero")]))
    assert "Ask through a route that wakes it" in await refused(api, capsys, "chat", "desk", "hi")
    assert "there are desk" in await refused(api, capsys, "chat", "agent/dsk", "hi")


async def test_lines_come_as_they_are_typed() -> None:
    reading, writing = os.pipe()
    lines = Lines(reading)
    try:
        waiting = asyncio.create_task(lines.read())
        os.write(writing, b"one\ntwo\r\nthr")
        assert await waiting == "one"
        assert await lines.read() == "two"
        os.write(writing, b"ee")
        os.close(writing)
        assert await lines.read() == "three"
        assert await lines.read() is None
    finally:
        os.close(reading)


async def test_a_wait_for_a_line_can_be_given_up() -> None:
    reading, writing = os.pipe()
    lines = Lines(reading)
    try:
        waiting = asyncio.create_task(lines.read())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        os.write(writing, b"one\n")
        assert await lines.read() == "one"
    finally:
        os.close(reading)
        os.close(writing)
