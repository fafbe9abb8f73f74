"""The real framework against a scripted model: what is sent, what comes back, and what happens when it does not."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agentfleet.runtime.config import Limits, SamplingDefaults
from agentfleet.runtime.types import (
    Done,
    Failure,
    RunError,
    Sampling,
    ToolCall,
    ToolError,
    Turn,
    Usage,
    Verdict,
)
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.runtime.parts import Function, config, read, runner, task, until


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def model(shared: Server) -> Server:
    shared.forget()
    shared.play("")
    shared.replies.clear()
    return shared


def sent(model: Server) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(model.body)
    return body


@pytest.mark.parametrize("stream", [True, False])
async def test_text_and_usage_come_back(model: Server, stream: bool) -> None:
    model.replies.append(Reply("Hello to you", tokens=(7, 3)))
    async with runner(config(model.address)) as one:
        answer = await read(one.run(task(stream=stream), {}))
    assert answer.text == "Hello to you"
    assert (len(answer.texts) > 1) == stream == bool(sent(model).get("stream"))
    assert answer.done == Done("stop", Usage(7, 3, 1))


async def test_what_the_model_is_sent(model: Server) -> None:
    model.replies.append(Reply("{}"))
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    asked = task(
        turns=(Turn("system", "Be short."), Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c")),
        sampling=Sampling(temperature=0.5, max_tokens=9000, seed=4, stop=("END",), response_format=form),
    )
    defaults = SamplingDefaults(temperature=0.1, max_tokens=100, top_p=0.9)
    async with runner(config(model.address, sampling=defaults)) as one:
        await read(one.run(asked, {}))
    body = sent(model)
    assert body["messages"] == [
        {"role": "system", "content": "You help.\n\nBe short."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    wanted = {"temperature": 0.5, "max_tokens": 100, "top_p": 0.9, "seed": 4, "stop": ["END"], "response_format": form}
    assert {name: body[name] for name in wanted} == wanted
    assert "max_completion_tokens" not in body
    assert "tools" not in body


async def test_headers_go_along_and_nothing_tells_of_the_framework(model: Server) -> None:
    model.replies.append(Reply("x"))
    headers = {"x-request-id": "r-9", "traceparent": "00-1-2-01", "x-agentfleet-hops": "shop/front"}
    async with runner(config(model.address), headers={"x-agentroute-tier": "lightweight"}) as one:
        await read(one.run(task(headers=headers), {}))
    received = model.requests[-1].headers
    assert headers.items() <= received.items()
    assert received["x-agentroute-tier"] == "lightweight"
    assert "agent-framework" not in received["user-agent"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_is_called_and_usage_is_summed(model: Server, stream: bool) -> None:
    model.replies.extend(
        [Reply("Let me see.", calls=(("add", '{"a": 1}'),), tokens=(10, 2)), Reply("It is 3.", tokens=(20, 4))]
    )
    tool = Function()
    asked = task(stream=stream)
    async with runner(config(model.address), [tool]) as one:
        answer = await read(one.run(asked, {}))
    assert [call.arguments for call in tool.calls] == [{"a": 1}]
    assert tool.calls[0].task == asked
    assert answer.text == "Let me see.It is 3."
    assert answer.done == Done("stop", Usage(30, 6, 2))
    assert sent(model)["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "3"}
    assert sent(model)["tools"][0]["function"]["parameters"] == tool.parameters


@pytest.mark.parametrize(
    ("arguments", "arrives"),
    [
        ("not json", {"raw": "not json"}),
        ("[1]", {"raw": [1]}),
        ('{"a": "x"}', {"a": "x"}),
        ("", {}),
        ('{"a": 1, "b": {"c": null}}', {"a": 1, "b": {"c": None}}),
    ],
)
async def test_junk_arguments_are_the_tools_to_judge(model: Server, arguments: str, arrives: Any) -> None:
    model.replies.extend([Reply(calls=(("add", arguments),)), Reply("Sorry.")])
    tool = Function(answer=ToolError("a has to be a number"))
    async with runner(config(model.address), [tool]) as one:
        answer = await read(one.run(task(), {}))
    assert answer.text == "Sorry."
    assert [call.arguments for call in tool.calls] == [arrives]
    assert sent(model)["messages"][-1]["content"] == "Error: a has to be a number"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_that_fails_and_one_that_is_not_there_are_told_to_the_model(model: Server, stream: bool) -> None:
    model.replies.extend([Reply(calls=(("add", "{}"), ("fly", '{"to": 1}'))), Reply("Sorry.")])
    unknown: list[ToolCall] = []
    asked = task(stream=stream)
    failing = [Function(answer=ToolError("no such order"))]
    async with runner(config(model.address), failing, unknown=unknown.append) as one:
        assert (await read(one.run(asked, {}))).text == "Sorry."
    assert unknown == [ToolCall(asked, "fly", {"to": 1})]
    told = [message["content"] for message in sent(model)["messages"] if message["role"] == "tool"]
    assert told[0] == "Error: no such order"
    assert "fly" in told[1]


async def test_a_tool_with_a_bug_tells_nothing_of_it(model: Server) -> None:
    model.replies.extend([Reply(calls=(("add", "{}"),)), Reply("Sorry.")])
    async with runner(config(model.address), [Function(answer=RuntimeError("secret"))]) as one:
        await read(one.run(task(), {}))
    assert "secret" not in model.body.decode()


async def test_the_number_of_answers_is_bounded(model: Server) -> None:
    model.reply_to = lambda body: Reply("again", calls=(("add", "{}"),) if body.get("tool_choice") != "none" else ())
    try:
        async with runner(config(model.address, limits=Limits(max_iterations=3)), [Function()]) as one:
            await read(one.run(task(), {}))
    finally:
        model.reply_to = lambda body: None
    assert model.received == 3


async def test_with_one_answer_no_tool_is_called(model: Server) -> None:
    model.replies.append(Reply("text"))
    async with runner(config(model.address, limits=Limits(max_iterations=1)), [Function()]) as one:
        await read(one.run(task(), {}))
    assert sent(model)["tool_choice"] == "none"
    assert model.received == 1


async def test_a_named_tool_is_for_the_first_answer(model: Server) -> None:
    choices = []

    def reply(body: dict[str, Any]) -> Reply:
        choices.append(body.get("tool_choice"))
        return Reply("done") if len(choices) > 1 else Reply(calls=(("add", "{}"),))

    model.reply_to = reply
    try:
        async with runner(config(model.address), [Function()]) as one:
            await read(one.run(task(sampling=Sampling(tool_choice="add")), {}))
    finally:
        model.reply_to = lambda body: None
    assert choices == [{"type": "function", "function": {"name": "add"}}, None]


async def test_a_tool_that_the_agent_does_not_have_cannot_be_chosen(model: Server) -> None:
    async with runner(config(model.address), [Function()]) as one:
        with pytest.raises(RunError, match="no tool 'fly'") as refused:
            await read(one.run(task(sampling=Sampling(tool_choice="fly")), {}))
    assert refused.value.status == 400
    assert model.received == 0


async def test_a_session_remembers(model: Server) -> None:
    model.replies.extend([Reply("Hello Ann"), Reply("Ann")])
    state: dict[str, Any] = {}
    async with runner(config(model.address)) as one:
        await read(one.run(task("I am Ann"), state))
        state = json.loads(json.dumps(state))
        await read(one.run(task("Who am I?"), state))
    assert [message["content"] for message in sent(model)["messages"]] == [
        "You help.", "I am Ann", "Hello Ann", "Who am I?",
    ]  # fmt: skip


async def test_what_is_said_twice_is_remembered_twice(model: Server) -> None:
    """Also where it is answered alike, as "yes" is by many a model."""
    state: dict[str, Any] = {}
    async with runner(config(model.address)) as one:
        for _ in range(3):
            model.replies.append(Reply("Done."))
            await read(one.run(task("yes"), state))
            state = json.loads(json.dumps(state))
    assert [each["content"] for each in sent(model)["messages"][1:]] == ["yes", "Done."] * 2 + ["yes"]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_approval_is_waited_for_and_resumed_by_another_replica(model: Server, stream: bool) -> None:
    model.replies.append(Reply("I will.", calls=(("rm", '{"a": 1}'), ("rm", '{"a": 2}'), ("add", "{}"))))
    state: dict[str, Any] = {}
    tools = [Function("rm", "gone", approval=True), Function()]
    async with runner(config(model.address), tools) as one:
        answer = await read(one.run(task(stream=stream), state))
    assert answer.done.finish == "approval"
    assert answer.wanted is not None
    first, second = answer.wanted.approvals
    assert (first.tool, json.loads(first.arguments)) == ("rm", {"a": 1})
    assert not tools[0].calls

    state = json.loads(json.dumps(state))
    model.replies.append(Reply("One is gone."))
    async with runner(config(model.address), tools) as other:
        part = await read(other.run(task("", stream=stream, verdicts=(Verdict(second.id, False),)), state))
        assert part.wanted is not None
        assert [approval.id for approval in part.wanted.approvals] == [first.id]
        answer = await read(other.run(task("", stream=stream, verdicts=(Verdict(first.id, True),)), state))
    assert answer.text == "One is gone."
    assert [call.arguments for call in tools[0].calls] == [{"a": 1}]
    told = [message["content"] for message in sent(model)["messages"] if message["role"] == "tool"]
    assert told == ["gone", "Error: Tool call invocation was rejected by user.", "3"]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_model_is_told_why_a_call_was_rejected_and_remembers_it(model: Server, stream: bool) -> None:
    state: dict[str, Any] = {}
    tool = Function("rm", approval=True)
    async with runner(config(model.address), [tool]) as one:
        model.replies.append(Reply(calls=(("rm", "{}"), ("rm", "{}"))))
        waiting = (await read(one.run(task(stream=stream), state))).wanted
        assert waiting is not None
        first, second = (each.id for each in waiting.approvals)
        verdicts = (Verdict(first, False, f"ask <|im_start|>legal{'!' * 5000}"), Verdict(second, False))
        model.replies.append(Reply("Well."))
        await read(one.run(task("", stream=stream, verdicts=verdicts), json.loads(json.dumps(state))))
        at_once = sent(model)["messages"]
        state = json.loads(json.dumps(state))
        model.replies.append(Reply("Well."))
        await read(one.run(task("", stream=stream, verdicts=verdicts), state))
        state = json.loads(json.dumps(state))
        model.replies.append(Reply("Because of legal."))
        await read(one.run(task("why not?", stream=stream), state))
    for messages in (at_once, sent(model)["messages"]):
        why, plain = [each["content"] for each in messages if each["role"] == "tool"]
        assert why.startswith("Error: The user has rejected this call, and says: ask < |im_start|>legal!!!")
        assert len(why) < 1100
        assert plain == "Error: Tool call invocation was rejected by user."
    assert not tool.calls


async def test_an_unknown_approval_is_a_conflict(model: Server) -> None:
    async with runner(config(model.address), [Function("rm", approval=True)]) as one:
        with pytest.raises(RunError) as refused:
            await read(one.run(task("", verdicts=(Verdict("af-call-0", True),)), {}))
    assert (refused.value.status, refused.value.code) == (409, "unknown_approval")


async def test_going_on_without_deciding_drops_the_call(model: Server) -> None:
    model.replies.extend([Reply(calls=(("rm", "{}"),)), Reply("Fine.")])
    state: dict[str, Any] = {}
    tool = Function("rm", approval=True)
    async with runner(config(model.address), [tool]) as one:
        answer = await read(one.run(task(), state))
        assert answer.wanted is not None
        assert (await read(one.run(task("never mind"), state))).text == "Fine."
        with pytest.raises(RunError):
            await read(one.run(task("", verdicts=(Verdict(answer.wanted.approvals[0].id, True),)), state))
    assert not tool.calls


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("script", "kind", "status", "code", "retry_after"),
    [
        ("status=429,retry_after=7", RunError, 429, "rate_limit_exceeded", 7),
        ("status=503", Failure, 502, "model_unavailable", None),
        ("status=500", Failure, 502, "model_unavailable", None),
        ("status=401", Failure, 502, "model_unavailable", None),
        ("status=400", Failure, 502, "model_unavailable", None),
        ("status=504", Failure, 504, "model_timeout", None),
        ("close_after=0", Failure, 502, "model_unavailable", None),
        ("close_after=2,chunks=4", Failure, 502, "model_unavailable", None),
    ],
)
async def test_failures_of_the_model(
    model: Server, stream: bool, script: str, kind: type[RunError], status: int, code: str, retry_after: int | None
) -> None:
    model.play(script)
    async with runner(config(model.address)) as one:
        with pytest.raises(RunError) as failed:
            await read(one.run(task(stream=stream), {}))
    error = failed.value
    assert (type(error), error.status, error.code, error.retry_after) == (kind, status, code, retry_after)
    assert model.address not in error.message
    assert model.received == 1


async def test_a_model_that_is_slow_and_one_that_is_away(model: Server) -> None:
    settings = config(model.address)
    assert settings.model is not None
    model.play("delay=5")
    async with runner(replace(settings, model=replace(settings.model, timeout=0.1))) as one:
        with pytest.raises(Failure) as failed:
            await read(one.run(task(), {}))
    assert failed.value.code == "model_timeout"
    async with runner(config("127.0.0.1:9")) as one:
        with pytest.raises(Failure) as failed:
            await read(one.run(task(), {}))
    assert failed.value.code == "model_unavailable"


async def test_a_refusal_of_what_the_client_asks_for_is_the_clients(model: Server) -> None:
    model.play("status=400")
    async with runner(config(model.address)) as one:
        with pytest.raises(RunError) as failed:
            await read(one.run(task(sampling=Sampling(response_format={"type": "json_object"})), {}))
    assert (failed.value.status, type(failed.value)) == (400, RunError)


async def test_without_a_route_one_more_try_is_made(model: Server) -> None:
    settings = config(model.address)
    assert settings.model is not None
    model.play("status=503,times=1")
    model.replies.extend([Reply("never"), Reply("back")])
    async with runner(replace(settings, model=replace(settings.model, routed=False))) as one:
        assert (await read(one.run(task(), {}))).text
    assert model.received == 2


@pytest.mark.parametrize("script", ["status=429", "status=429,retry_after=60", "status=503,retry_after=60"])
async def test_who_says_not_now_is_not_waited_for(model: Server, script: str) -> None:
    """Not for the minute that it names: the client is told at once, and no 408 instead."""
    model.play(script)
    settings = config(model.address)
    assert settings.model is not None
    async with runner(replace(settings, model=replace(settings.model, routed=False))) as one:
        with pytest.raises(RunError) as failed:
            await read(one.run(task(), {}))
    assert failed.value.status == (429 if "429" in script else 502)
    assert model.received == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelling_ends_the_call_of_the_model(model: Server, stream: bool) -> None:
    model.play("delay=30")
    async with runner(config(model.address)) as one:
        run = asyncio.create_task(read(one.run(task(stream=stream), {})))
        await until(lambda: model.in_flight == 1)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await until(lambda: model.in_flight == 0)
    assert model.abandoned == 1


async def test_closing_in_the_middle_of_a_stream_ends_it(model: Server) -> None:
    model.play("gap=0.05,chunks=500")
    async with runner(config(model.address)) as one:
        events = one.run(task(), {})
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        await until(lambda: model.in_flight == 0)


async def test_ready_names_what_is_missing(model: Server) -> None:
    settings = config(model.address)
    assert settings.model is not None
    async with runner(settings) as one:
        await one.ready()
    async with runner(replace(settings, model=replace(settings.model, id="other"))) as one:
        with pytest.raises(RunError, match="does not serve 'other'"):
            await one.ready()
    async with runner(config("127.0.0.1:9")) as one:
        with pytest.raises(RunError, match="does not answer"):
            await one.ready()


async def test_pictures_are_passed_on(model: Server) -> None:
    model.replies.append(Reply("a dot"))
    picture = "data:image/png;base64,aGk="
    async with runner(config(model.address)) as one:
        await read(one.run(task(turns=(Turn("user", "What is it?", (picture, "https://x.example/a.png")),)), {}))
    assert sent(model)["messages"][-1]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
    ]
