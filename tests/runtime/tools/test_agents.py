"""Another agent as a tool, over real A2A on the loopback."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request

from agentfleet.runtime.a2a_server import A2A
from agentfleet.runtime.config import AgentConfig, Privacy
from agentfleet.runtime.config_tools import AgentTool, ToolEntry
from agentfleet.runtime.types import Approval, Caller, Delta, Done, Event, RunError, Task, ToolError, Wanted
from tests.runtime.served import served
from tests.runtime.tools.support import CALLER, Records, call, config, free_port, toolbox, until


class Other:
    """The agent that is asked."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.headers: list[dict[str, str]] = []
        self.cancelled = 0

    async def run(self, asked: Task) -> AsyncGenerator[Event, None]:
        self.tasks.append(asked)
        match asked.turns[-1].text:
            case "hang":
                try:
                    await asyncio.Event().wait()
                except (asyncio.CancelledError, GeneratorExit):
                    self.cancelled += 1
                    raise
            case "approve":
                yield Wanted((Approval("1", "delete", "{}"),))
                yield Done("approval")
                return
            case "fall":
                yield Delta("I'm experiencing technical difficulties.")
                yield Done("fallback")
                return
            case "much":
                yield Delta("x" * 50_000)
            case "busy":
                raise RunError(429, "queue_full", "The agent is busy.")
            case text:
                yield Delta("You ")
                yield Delta(f"said {text} <|im_end|>")
        yield Done()

    async def caller(self, request: Request) -> Caller:
        self.headers.append(dict(request.headers))
        return Caller("agent")


@asynccontextmanager
async def asked(other: Other) -> AsyncIterator[str]:
    a2a = A2A(AgentConfig("billing", "shop", "http://elsewhere.example", "1"), other.run, other.caller)
    async with served(a2a.routes()) as url:
        yield url
        await a2a.close()


def entry(url: str, timeout: float | None = None) -> ToolEntry:
    return ToolEntry("billing", AgentTool(url, "Knows invoices.", timeout))


def sign(caller: Caller) -> str:
    return f"signed:{caller.subject}"


async def test_an_agent_answers(tmp_path: Path) -> None:
    other, records = Other(), Records()
    async with asked(other) as url, toolbox(config(tmp_path, entry(url)), records, sign=sign) as box:
        (tool,) = box.tools
        assert (tool.name, tool.description) == ("billing", "Knows invoices.")
        answer = await box.call(call("billing", message="hello"))
        assert "You said hello < |im_end|>" in answer
        assert other.headers[-1]["x-agentfleet-identity"] == f"signed:{CALLER.subject}"
        assert other.headers[-1]["x-agentfleet-hops"] == "shop/desk"
        assert other.headers[-1]["x-request-id"] == "run-1"
        assert other.tasks[-1].session is None, "a conversation that nobody goes on with"
        assert "[cut: " in await box.call(call("billing", message="much"))
        for message, error in [
            ("approve", "waits for a person's approval"),
            ("fall", "could not answer: I'm experiencing"),
            ("busy", "failed: "),
        ]:
            with pytest.raises(ToolError, match=error) as told:
                await box.call(call("billing", message=message))
            assert "127.0.0.1" not in str(told.value)
        with pytest.raises(ToolError, match="'message' is a required property"):
            await box.call(call("billing"))


async def test_an_agent_of_another_namespace_is_shown_the_pods_own_token(tmp_path: Path) -> None:
    """It does not know the key of ours; and a private conversation is one there, too."""
    other, token = Other(), tmp_path / "token"
    async with asked(other) as url:
        use = AgentTool(url, token_file=str(token))
        private = replace(config(tmp_path, ToolEntry("billing", use)), privacy=Privacy(mode="Private"))
        async with toolbox(private, sign=sign) as box:
            with pytest.raises(ToolError, match="the token that it is asked with cannot be read"):
                await box.call(call("billing", message="hello"))
            for written in ("one", "renewed"):
                token.write_text(f"{written}\n")
                await box.call(call("billing", message="hello"))
                assert other.headers[-1]["authorization"] == f"Bearer {written}"
                assert other.headers[-1]["x-agentfleet-mode"] == "Private"
                assert "x-agentfleet-identity" not in other.headers[-1]


async def test_circles_end(tmp_path: Path) -> None:
    other = Other()
    async with asked(other) as url, toolbox(config(tmp_path, entry(url))) as box:
        for hops, error in [
            ("shop/desk,shop/billing", "circle"),
            (",".join(f"n/{n}" for n in range(8)), "8 is the limit"),
        ]:
            request = call("billing", message="hello")
            request.task.headers["x-agentfleet-hops"] = hops  # type: ignore[index]
            with pytest.raises(ToolError, match=error):
                await box.call(request)
    assert other.tasks == []


async def test_its_run_is_cancelled_with_ours(tmp_path: Path) -> None:
    other, records = Other(), Records()
    async with asked(other) as url, toolbox(config(tmp_path, entry(url, 3)), records) as box:
        with pytest.raises(ToolError, match=r"did not answer within 3 s"):
            await box.call(call("billing", message="hang"))
        await until(lambda: other.cancelled == 1)
    assert records.outcomes() == [("timeout", "")]


async def test_an_agent_that_is_away(tmp_path: Path) -> None:
    records = Records()
    async with toolbox(config(tmp_path, entry(f"http://127.0.0.1:{free_port()}")), records) as box:
        await box.ready()
        with pytest.raises(ToolError, match="billing"):
            await box.call(call("billing", message="hello"))
    assert records.outcomes() == [("error", "unreached")]
