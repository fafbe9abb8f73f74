"""Several agents behind one: real agents over A2A on the loopback, the framework's workflows, a scripted model."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request

from agentfleet.runtime.a2a_server import A2A
from agentfleet.runtime.config import AgentConfig, Member, ModelEndpoint, Orchestration, Pattern
from agentfleet.runtime.conversation import Conversation, transcript
from agentfleet.runtime.handoff import check, target_of
from agentfleet.runtime.orchestration import OrchestrationRunner
from agentfleet.runtime.selection import by_words, chosen_of
from agentfleet.runtime.types import (
    Approval,
    Caller,
    Decided,
    Delta,
    Done,
    Event,
    Failure,
    Finish,
    RunError,
    Step,
    Task,
    Turn,
    Usage,
    Verdict,
    Wanted,
)
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.runtime.served import served

Say = Callable[[str], str]
"""What a member answers to what it is told; an exception is a run that fails."""


class Specialist:
    """A member: a real A2A server before a function."""

    def __init__(self, name: str, description: str, say: Say) -> None:
        self.name = name
        self.description = description
        self.say = say
        self.heard: list[str] = []
        self.tasks: list[Task] = []

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        self.tasks.append(task)
        finish: Finish = "stop"
        if task.verdicts:
            yield Delta(f"approved: {task.verdicts[0].approved}")
        else:
            self.heard.append(task.turns[-1].text)
            said = self.say(self.heard[-1])
            if said.startswith("wait:"):
                finish = "approval"
                yield Wanted((Approval("call-1", said.removeprefix("wait:"), "{}"),))
            else:
                yield Delta(said)
        yield Done(finish, Usage(10, 2, 1))


def failing(_: str) -> str:
    raise RunError(429, "queue_full", "The agent is busy.")


async def anybody(request: Request) -> Caller:
    return Caller(request.headers.get("x-agentfleet-identity", "nobody"))


SERVICE = ("customer-service", "Orders, tickets, callbacks, complaints")
TECHNICAL = ("technical-support", "Technical problems, diagnostics, devices that do not work")


@asynccontextmanager
async def orchestrated(
    pattern: Pattern,
    specialists: list[Specialist],
    model: ModelEndpoint | None = None,
    max_rounds: int = 10,
    instructions: Callable[[], str] = str,
) -> AsyncIterator[OrchestrationRunner]:
    async with AsyncExitStack() as stack:
        members = []
        for each in specialists:
            url = await stack.enter_async_context(member_served(each))
            members.append(Member(each.name, url, each.description))
        orchestration = Orchestration(pattern, tuple(members), max_rounds)
        config = AgentConfig("front", "shop", "http://front", "1", model=model, orchestration=orchestration)
        runner = OrchestrationRunner(config, orchestration, instructions, lambda caller: f"signed:{caller.subject}")
        stack.push_async_callback(runner.close)
        yield runner


@asynccontextmanager
async def member_served(member: Specialist) -> AsyncIterator[str]:
    a2a = A2A(AgentConfig(member.name, "shop", f"http://{member.name}", "1"), member.run, anybody)
    async with served(a2a.routes()) as url:
        yield url
        await a2a.close()


@pytest.fixture
def model() -> Iterator[tuple[Server, ModelEndpoint]]:
    with serving() as server:
        yield server, ModelEndpoint(f"http://{server.address}/v1", "scripted")


def asking(text: str, **more: Any) -> Task:
    return Task("req-1", Caller("ann"), (Turn("user", text),), **more)


async def answered(runner: OrchestrationRunner, task: Task, state: dict[str, Any] | None = None) -> list[Step]:
    async with aclosing(runner.run(task, {} if state is None else state)) as events:
        return [event async for event in events]


def text_of(events: list[Step]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def two() -> list[Specialist]:
    return [Specialist(*SERVICE, lambda _: "service here"), Specialist(*TECHNICAL, lambda _: "technician here")]


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        ("I have a complaint about my order", "service here"),
        ("My devices report technical problems", "technician here"),
        ("Good morning", "technician here"),  # unsure: the last of the list
    ],
)
async def test_intent_without_a_model_goes_by_words_and_when_unsure_to_the_last(
    request_text: str, expected: str
) -> None:
    async with orchestrated("Intent", two()) as runner:
        events = await answered(runner, asking(request_text))
    assert events == [Delta(expected), Done("stop", Usage(10, 2, 1))]


async def test_intent_asks_the_model_and_tells_the_member_who_is_asking(model: tuple[Server, ModelEndpoint]) -> None:
    server, endpoint = model
    server.replies.append(Reply(text='{"choice": "customer-service"}', tokens=(7, 3)))
    specialists = two()
    task = asking("technical problems!", headers={"x-request-id": "req-1", "x-agentfleet-hops": "shop/door"})
    async with orchestrated("Intent", specialists, endpoint) as runner:
        events = await answered(runner, task)
    assert events == [Delta("service here"), Done("stop", Usage(17, 5, 2))]
    asked = specialists[0].tasks[0]
    assert asked.caller.subject == "signed:ann"
    assert asked.headers == {"x-request-id": "req-1", "x-agentfleet-hops": "shop/door,shop/front"}
    assert server.requests[0].headers["x-request-id"] == "req-1"


async def test_instructions_are_read_at_each_run(model: tuple[Server, ModelEndpoint]) -> None:
    server, endpoint = model
    told: list[str] = []
    server.reply_to = lambda body: told.append(body["messages"][0]["content"]) or Reply('{"choice": "unsure"}')
    changing = ["Be longer.", "Be brief."]
    async with orchestrated("Intent", two(), endpoint, instructions=changing.pop) as runner:
        for _ in range(2):
            await answered(runner, asking("help"))
    assert [text.partition("\n")[0] for text in told] == ["Be brief.", "Be longer."]


@pytest.mark.parametrize("script", ["status=500", "status=400", ""])
async def test_intent_with_a_model_that_fails_or_babbles_goes_by_words(
    model: tuple[Server, ModelEndpoint], script: str
) -> None:
    server, endpoint = model
    server.play(script)
    async with orchestrated("Intent", two(), replace(endpoint, routed=True)) as runner:
        events = await answered(runner, asking("a complaint about my order"))
    assert text_of(events) == "service here"


async def test_intent_stays_with_the_member_when_it_is_unsure_in_the_middle(
    model: tuple[Server, ModelEndpoint],
) -> None:
    server, endpoint = model
    server.replies += [Reply(text='{"choice": "customer-service"}'), Reply(text='{"choice": "unsure"}')]
    state: dict[str, Any] = {}
    async with orchestrated("Intent", two(), endpoint) as runner:
        await answered(runner, asking("a ticket, please"), state)
        events = await answered(runner, asking("yes, do that"), state)
    assert text_of(events) == "service here"
    seen = json.loads(server.body)["messages"][-1]["content"]
    assert seen == "user: a ticket, please\ncustomer-service: service here\n\nThe request:\nyes, do that"


async def test_instructions_that_a_client_repeats_are_told_once() -> None:
    specialists, state = two(), dict[str, Any]()
    kindly = Turn("system", "Kindly.")
    async with orchestrated("Intent", specialists) as runner:
        for text in ("one", "two"):
            await answered(runner, replace(asking(text), turns=(kindly, Turn("user", text))), state)
    assert "system: Kindly." in specialists[1].heard[0]
    assert specialists[1].heard[1] == "two"


async def test_a_member_that_joins_later_is_told_what_it_has_not_heard() -> None:
    specialists, state = two(), dict[str, Any]()
    async with orchestrated("Intent", specialists) as runner:
        await answered(runner, asking("a complaint about my order"), state)
        await answered(runner, asking("my devices do not work, technical problems"), state)
        await answered(runner, asking("another complaint about an order"), state)
    service, technician = specialists
    assert technician.heard[0].splitlines() == [
        "The conversation so far:",
        "user: a complaint about my order",
        "customer-service: service here",
        "",
        "Answer this:",
        "my devices do not work, technical problems",
    ]
    assert "technical-support: technician here" in service.heard[1]
    assert "a complaint about my order" not in service.heard[1]
    assert len({task.session for task in service.tasks}) == 1


async def test_a_members_approval_comes_through_and_its_decision_goes_back() -> None:
    specialists, state = two(), dict[str, Any]()
    specialists[1].say = lambda _: "wait:wipe_disk"
    async with orchestrated("Intent", specialists) as runner:
        events = await answered(runner, asking("Good morning"), state)
        assert events == [Wanted((Approval("call-1", "wipe_disk", "{}"),)), Done("approval", Usage(10, 2, 1))]
        verdict = Task("req-2", Caller("ann"), (), verdicts=(Verdict("call-1", True),))
        with pytest.raises(RunError, match="not waited for"):
            await answered(runner, replace(verdict, verdicts=(Verdict("call-9", True),)), state)
        resumed = await answered(runner, verdict, state)
        with pytest.raises(RunError, match="not waited for"):
            await answered(runner, verdict, state)
    assert resumed[0] == Decided(((Approval("call-1", "wipe_disk", "{}"), Verdict("call-1", True)),))
    assert text_of(resumed) == "approved: True"
    assert specialists[1].tasks[-1].verdicts == (Verdict("call-1", True),)


async def test_images_go_to_the_member_as_they_came() -> None:
    specialists = two()
    images = ("data:image/png;base64,iVBORw==", "data:image/png;base64,x", "https://pictures.example/1.png")
    pictured = replace(asking("what is this?"), turns=(Turn("user", "what is this?", images),))
    async with orchestrated("Intent", specialists) as runner:
        await answered(runner, pictured)
    assert specialists[1].tasks[0].turns == (Turn("user", "what is this?", images),)


async def test_sequential_hands_on_what_was_said_and_answers_with_the_last() -> None:
    writer = Specialist("writer", "Writes", lambda heard: f"draft of [{heard}]")
    editor = Specialist("editor", "Edits", lambda _: "final text")
    state: dict[str, Any] = {}
    async with orchestrated("Sequential", [writer, editor]) as runner:
        events = await answered(runner, asking("a poem"), state)
        await answered(runner, asking("shorter"), state)
    assert events == [Delta("final text"), Done("stop", Usage(20, 4, 2))]
    assert writer.heard[0] == "a poem"
    assert "user: a poem\nwriter: draft of [a poem]" in editor.heard[0]
    assert writer.heard[1].splitlines()[:2] == ["The conversation so far:", "assistant: final text"]


async def test_sequential_ends_with_the_member_that_fails() -> None:
    late = Specialist("editor", "Edits", lambda _: "never asked")
    async with orchestrated("Sequential", [Specialist("writer", "Writes", failing), late]) as runner:
        with pytest.raises(Failure, match="agent writer refused the request"):
            await answered(runner, asking("a poem"))
    assert not late.heard


async def test_concurrent_asks_all_at_once_and_does_without_who_fails(caplog: pytest.LogCaptureFixture) -> None:
    first, second = two()
    gone = Specialist("gone", "Is away", failing)
    async with orchestrated("Concurrent", [first, gone, second]) as runner:
        events = await answered(runner, asking("hello"))
    assert text_of(events) == "**customer-service**\nservice here\n\n**technical-support**\ntechnician here"
    assert events[-1] == Done("stop", Usage(20, 4, 2))
    assert first.heard == second.heard == ["hello"]
    assert "agent gone" in caplog.text


async def test_concurrent_where_nobody_answers_is_a_failure() -> None:
    async with orchestrated("Concurrent", [Specialist("a", "", failing), Specialist("b", "", failing)]) as runner:
        with pytest.raises(Failure):
            await answered(runner, asking("hello"))


async def test_group_chat_without_a_model_lets_each_speak_once() -> None:
    specialists = two()
    async with orchestrated("GroupChat", specialists) as runner:
        events = await answered(runner, asking("hello"))
    assert events == [Delta("technician here"), Done("stop", Usage(20, 4, 2))]
    assert "customer-service: service here" in specialists[1].heard[0]


async def test_group_chat_is_led_by_the_model_until_it_is_enough(model: tuple[Server, ModelEndpoint]) -> None:
    server, endpoint = model
    for name in ("technical-support", "customer-service", "finish"):
        server.replies.append(Reply(text=f'{{"choice": "{name}"}}', tokens=(1, 1)))
    specialists = two()
    async with orchestrated("GroupChat", specialists, endpoint) as runner:
        events = await answered(runner, asking("hello"))
    assert events == [Delta("service here"), Done("stop", Usage(23, 7, 5))]
    assert [len(each.heard) for each in specialists] == [1, 1]


async def test_group_chat_ends_after_its_rounds(model: tuple[Server, ModelEndpoint]) -> None:
    server, endpoint = model
    server.reply_to = lambda _: Reply(text='{"choice": "customer-service"}')
    specialists = two()
    async with orchestrated("GroupChat", specialists, endpoint, max_rounds=3) as runner:
        events = await answered(runner, asking("hello"))
    assert text_of(events) == "service here"
    assert [len(each.heard) for each in specialists] == [3, 0]


async def test_handoff_goes_to_who_is_named_and_stays_there() -> None:
    triage = Specialist("triage", "Sorts", lambda _: "I think handoff_to_tech_support, thanks.")
    support = Specialist("tech-support", "Repairs", lambda _: "repaired")
    state: dict[str, Any] = {}
    async with orchestrated("Handoff", [triage, support]) as runner:
        events = await answered(runner, asking("it is broken"), state)
        again = await answered(runner, asking("thanks"), state)
    assert events == [Delta("repaired"), Done("stop", Usage(20, 4, 2))]
    assert text_of(again) == "repaired"
    assert (len(triage.heard), len(support.heard)) == (1, 2)
    assert triage.heard[0].startswith("it is broken\n\n(If another agent is better suited")
    assert "- tech-support: Repairs" in triage.heard[0]
    assert "user: it is broken" in support.heard[0]


async def test_handoff_in_a_circle_ends_with_an_error() -> None:
    ping = Specialist("ping", "", lambda _: "handoff_to_pong")
    pong = Specialist("pong", "", lambda _: "handoff_to_ping")
    async with orchestrated("Handoff", [ping, pong]) as runner:
        with pytest.raises(RunError, match="circle: ping -> pong -> ping -> pong") as ended:
            await answered(runner, asking("hello"))
    assert (ended.value.status, ended.value.code) == (508, "handoff_cycle")
    assert not isinstance(ended.value, Failure)


async def test_an_orchestration_that_is_asked_by_itself_ends_with_an_error() -> None:
    async with orchestrated("Intent", two()) as runner:
        with pytest.raises(RunError, match="circle: shop/front -> shop/x -> shop/front"):
            await answered(runner, asking("hello", headers={"x-agentfleet-hops": "shop/front,shop/x"}))


async def test_ready_needs_a_member_and_a_sequence_all() -> None:
    away = Member("away", "http://127.0.0.1:9", "")
    for pattern, count, ready in [("Intent", 1, True), ("Sequential", 1, False), ("Concurrent", 0, False)]:
        async with orchestrated(pattern, two()[:count]) as runner:  # type: ignore[arg-type]
            members = (*runner._orchestration.members, away)
            config = AgentConfig("front", "shop", "http://front", "1")
            wider = OrchestrationRunner(config, Orchestration(pattern, members))  # type: ignore[arg-type]
            try:
                if ready:
                    await wider.ready()
                else:
                    with pytest.raises(RunError, match="agent away could not be reached"):
                        await wider.ready()
            finally:
                await wider.close()


async def test_leaving_cancels_the_members() -> None:
    begun, cancelled = asyncio.Semaphore(0), asyncio.Semaphore(0)

    class Hanging(Specialist):
        async def run(self, task: Task) -> AsyncGenerator[Event, None]:
            begun.release()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.release()
            yield Done()

    async with orchestrated("Concurrent", [Hanging("a", "", str), Hanging("b", "", str)]) as runner:
        running = asyncio.create_task(answered(runner, asking("hello")))
        async with asyncio.timeout(30):
            await begun.acquire()
            await begun.acquire()
            running.cancel()
            await cancelled.acquire()
            await cancelled.acquire()


def test_steps_of_a_handoff() -> None:
    members = [Member("a-b", ""), Member("c", "")]
    assert target_of("please handoff_to_a_b.", members, "c") == "a-b"
    assert target_of("handoff_to_c", members, "c") is None
    assert target_of("handoff_to_nobody", members, "c") is None
    check(["a", "b", "a"], 10)
    with pytest.raises(RunError, match="No answer after 2 rounds"):
        check(["a", "b", "c"], 2)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ('{"choice": "a"}', "a"),
        ('{"choice": "z"}', None),
        ('"a"', "a"),
        ("I choose a.", "a"),
        ("a or b?", None),
        ("ab", None),
        ("[1]", None),
        ("", None),
    ],
)
def test_what_a_model_chose(text: str, chosen: str | None) -> None:
    assert chosen_of(text, ["a", "b"]) == chosen


def test_words_in_doubt_choose_nobody() -> None:
    members = [Member(*SERVICE[:1], "", SERVICE[1]), Member(TECHNICAL[0], "", TECHNICAL[1])]
    assert by_words("I need to schedule a callback for a technical issue", members) is None
    assert by_words("a callback for my order", members) == members[0]
    assert by_words("x", members[:1]) is None


def test_a_long_conversation_is_bounded_and_tells_nothing_twice() -> None:
    state: dict[str, Any] = {}
    conversation = Conversation(state)
    for number in range(100):
        conversation.begin([Turn("user", f"question {number}")])
        assert conversation.tell("a").endswith(f"question {number}")
        conversation.said("a", f"answer {number}")
        conversation.caught_up("a")
    assert len(state["orchestration"]["turns"]) == 40
    assert transcript(conversation.unheard("a")) == ""
    assert len(conversation.unheard("b")) == 40
