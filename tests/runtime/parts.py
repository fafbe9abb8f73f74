"""Parts of an agent for tests: the real framework against a scripted model, and around it what a test puts there."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from agentfleet.runtime.config import AgentConfig, Concurrency, Limits, ModelEndpoint
from agentfleet.runtime.framework import FrameworkRunner
from agentfleet.runtime.gate import Gate
from agentfleet.runtime.hooks import RunRecord
from agentfleet.runtime.model import Model
from agentfleet.runtime.runs import Runs
from agentfleet.runtime.strain import Strain
from agentfleet.runtime.types import (
    Approval,
    Caller,
    Delta,
    Done,
    Event,
    RunError,
    Runner,
    Sampling,
    Step,
    Task,
    Tool,
    ToolCall,
    Turn,
    Verdict,
    Wanted,
)

CALLER = Caller("alice", frozenset({"staff"}))


def config(address: str = "127.0.0.1:9", **changes: Any) -> AgentConfig:
    """An agent whose model is at `address`."""
    made = AgentConfig(
        name="desk",
        namespace="shop",
        url="http://desk-agent.shop.svc",
        revision="1",
        instructions="You help.",
        model=ModelEndpoint(f"http://{address}/v1", "scripted", routed=True),
    )
    return replace(made, **changes)


def task(text: str = "hi", **changes: Any) -> Task:
    """A request of alice."""
    made = Task("req-1", CALLER, (Turn("user", text),) if text else (), headers={"x-request-id": "req-1"})
    return replace(made, **changes)


@dataclass
class Function:
    """A tool that is a function of the test."""

    name: str = "add"
    answer: Any = "3"
    """What it answers; an exception is raised; something awaitable is awaited."""
    description: str = "Adds."
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {"a": {"type": "integer"}}}
    )
    source: str = "sums"
    approval: bool = False
    calls: list[ToolCall] = field(default_factory=list)

    async def call(self, call: ToolCall) -> str:
        self.calls.append(call)
        answer = self.answer(call) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return str(await answer) if asyncio.iscoroutine(answer) else str(answer)


async def nothing_to_wait_for() -> None:
    """Tools that are always ready."""


@asynccontextmanager
async def runner(
    settings: AgentConfig,
    tools: Sequence[Tool] = (),
    headers: Mapping[str, str] | None = None,
    unknown: Callable[[ToolCall], None] = lambda call: None,
) -> AsyncIterator[FrameworkRunner]:
    """The framework, with the model of `settings`."""
    assert settings.model is not None
    made = FrameworkRunner(
        settings,
        Model(settings.model),
        lambda: settings.instructions,
        lambda: tools,
        nothing_to_wait_for,
        lambda asked: {**asked.headers, **(headers or {})},
        unknown,
    )
    try:
        yield made
    finally:
        await made.close()


@dataclass
class Answer:
    """All events of a run."""

    texts: list[str] = field(default_factory=list)
    wanted: Wanted | None = None
    done: Done = Done()

    @property
    def text(self) -> str:
        return "".join(self.texts)


async def read(events: AsyncIterator[Step]) -> Answer:
    """Run to the end; RunError comes out."""
    answer = Answer()
    async with aclosing(events):  # type: ignore[type-var]
        async for event in events:
            match event:
                case Delta(text):
                    answer.texts.append(text)
                case Wanted():
                    answer.wanted = event
                case Done():
                    answer.done = event
    return answer


class PlainOutput:
    """Lets everything out, or what a test's function makes of it."""

    cut = False

    def __init__(self, feed: Any = None, end: Any = None) -> None:
        self._feed, self._end = feed, end

    def feed(self, text: str) -> str:
        return self._feed(text) if self._feed else text

    def end(self) -> str:
        return self._end() if self._end else ""

    def close(self) -> None:
        pass


class PlainGuards:
    """No guardrail, but for what a test puts in."""

    def __init__(self) -> None:
        self.change: Any = None
        self.feed: Any = None
        self.end: Any = None

    def input(self, asked: Task) -> Task:
        return self.change(asked) if self.change else asked

    def output(self, _: Task) -> PlainOutput:
        return PlainOutput(self.feed, self.end)


@dataclass
class KeptSession:
    id: str
    state: dict[str, Any]
    kept: dict[str, dict[str, Any]]

    async def save(self) -> None:
        self.kept[self.id] = self.state


class DictSessions:
    """Sessions in a dict, by caller and id."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}

    @asynccontextmanager
    async def open(self, caller: Caller, session: str) -> AsyncIterator[KeptSession]:
        name = f"{caller.subject}/{session}"
        yield KeptSession(name, dict(self.kept.get(name, {})), self.kept)

    async def ready(self) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass
class Audited:
    """What was written down."""

    records: list[RunRecord] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    asked: list[Sequence[Approval]] = field(default_factory=list)
    said: list[Sequence[tuple[Approval, Verdict]]] = field(default_factory=list)

    def run(self, asked: Task, record: RunRecord) -> None:
        self.records.append(record)
        self.tasks.append(asked)

    def wanted(self, _: Task, approvals: Sequence[Approval]) -> None:
        self.asked.append(approvals)

    def decided(self, _: Task, decisions: Sequence[tuple[Approval, Verdict]]) -> None:
        self.said.append(decisions)


class Script:
    """A Runner that does what a test says."""

    def __init__(self, *events: Event | Exception, before: Any = None) -> None:
        self.events = events
        self.before = before
        self.under_way = self.peak = self.cancelled = 0
        self.tasks: list[Task] = []

    async def ready(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def run(self, asked: Task, state: dict[str, Any]) -> AsyncGenerator[Event, None]:
        self.tasks.append(asked)
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        try:
            if self.before:
                await self.before(asked)
            state["turns"] = state.get("turns", 0) + 1
            for event in self.events:
                if isinstance(event, Exception):
                    raise event
                yield event
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1


class Bench:
    """Runs with everything around them to look at."""

    def __init__(self, runner: Runner, settings: AgentConfig | None = None, strain: Strain | None = None) -> None:
        self.config = settings or config()
        self.strain = strain or Strain()
        self.gate = Gate(self.config.concurrency, self.strain, time.monotonic)
        self.guards, self.sessions, self.audit = PlainGuards(), DictSessions(), Audited()
        self.runs = Runs(self.config, runner, self.gate, self.guards, self.sessions, self.audit, (), time.monotonic)

    async def ask(self, asked: Task | None = None) -> Answer:
        return await read(self.runs.run(asked or task()))

    @property
    def record(self) -> RunRecord:
        return self.audit.records[-1]


async def until(holds: Any, seconds: float = 30.0) -> None:
    """Return once `holds()`; an assertion fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.005)


__all__ = ["Concurrency", "Limits", "RunError", "Sampling"]
