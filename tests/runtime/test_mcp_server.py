"""The agent as an MCP server, asked by the mcp package's own client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.requests import Request

from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.mcp_server import Mcp
from agentfleet.runtime.types import Approval, Caller, Delta, Done, Event, RunError, Task, Turn, Wanted
from tests.runtime.served import served

CONFIG = AgentConfig("support", "shop", "http://support", "1", "Helps customers")


class Agent:
    """Answers by the request, and keeps the tasks."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.begun = asyncio.Event()
        self.left = asyncio.Event()

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        self.tasks.append(task)
        word = task.turns[-1].text
        if word == "delete":
            yield Wanted((Approval("call-1", "delete", "{}"),))
            yield Done("approval")
            return
        if word == "busy":
            raise RunError(429, "queue_full", "The agent is busy.")
        if word == "hang":
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        yield Delta("You said: ")
        yield Delta(word)
        yield Done()


async def caller(request: Request) -> Caller:
    if request.headers.get("authorization") != "Bearer ann":
        raise RunError(401, "unauthenticated", "Show a token.")
    return Caller("ann")


@asynccontextmanager
async def mcp_served(agent: Agent) -> AsyncIterator[str]:
    mcp = Mcp(CONFIG, agent.run, caller)
    async with mcp.running(), served(mcp.routes()) as url:
        yield f"{url}/mcp"


@asynccontextmanager
async def mcp_client(url: str) -> AsyncIterator[Client]:
    headers = {"authorization": "Bearer ann", "x-request-id": "req-1"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


def text_of(result: Any) -> str:
    return "".join(content.text for content in result.content)


async def test_there_is_one_tool_and_it_asks_the_agent() -> None:
    agent = Agent()
    async with mcp_served(agent) as url, mcp_client(url) as client:
        listed = await client.list_tools()
        answer = await client.call_tool("ask", {"message": "hello", "session": "ses-1"})
        alone = await client.call_tool("ask", {"message": "hello"})
    assert [(tool.name, tool.description) for tool in listed.tools] == [("ask", "Helps customers")]
    assert (text_of(answer), answer.is_error) == ("You said: hello", False)
    assert text_of(alone) == "You said: hello"
    assert [(task.session, task.turns, task.caller) for task in agent.tasks] == [
        ("ses-1", (Turn("user", "hello"),), Caller("ann")),
        (None, (Turn("user", "hello"),), Caller("ann")),
    ]
    assert agent.tasks[0].id == agent.tasks[0].headers["x-request-id"] == "req-1"


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("ask", {"message": "busy"}, "The agent is busy."),
        ("ask", {"message": "delete"}, "The agent waits for a person to approve: delete."),
        ("ask", {"message": ""}, "message: a text that is not empty is wanted."),
        ("ask", {"message": "x", "session": "a b"}, "session takes 1 to 256 printable characters without spaces."),
        ("other", {}, "There is one tool, ask."),
    ],
)
async def test_what_goes_wrong_is_an_error_of_the_tool(name: str, arguments: dict[str, Any], told: str) -> None:
    async with mcp_served(Agent()) as url, mcp_client(url) as client:
        answer = await client.call_tool(name, arguments)
    assert (text_of(answer), answer.is_error) == (told, True)


async def test_who_may_not_ask_is_refused_at_once() -> None:
    agent = Agent()
    async with mcp_served(agent) as url, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthenticated"


async def test_a_call_that_is_given_up_ends_the_run() -> None:
    agent = Agent()
    async with mcp_served(agent) as url, mcp_client(url) as client:
        calling = asyncio.create_task(client.call_tool("ask", {"message": "hang"}))
        await agent.begun.wait()
        calling.cancel()
        async with asyncio.timeout(30):
            await agent.left.wait()
