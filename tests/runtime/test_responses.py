"""/v1/responses, asked by the client that users have."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from starlette.requests import Request

from agentfleet.runtime import responses_request
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.types import (
    Approval,
    Caller,
    Delta,
    Done,
    Event,
    RunError,
    Sampling,
    Task,
    Turn,
    Usage,
    Verdict,
    Wanted,
)
from agentfleet.runtime.wire_errors import BadRequest
from agentfleet.runtime.wire_responses import routes
from tests.runtime.served import served

CONFIG = AgentConfig("support", "shop", "http://support", "1")


class Agent:
    """Answers by the last word of a request, and keeps the tasks."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.left = asyncio.Event()

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        self.tasks.append(task)
        word = task.turns[-1].text if task.turns else ""
        if task.verdicts:
            yield Delta("deleted" if task.verdicts[0].approved else "kept")
        elif word == "delete":
            yield Delta("Let me see.")
            yield Wanted((Approval("call-1", "delete", '{"id": 7}'),), None if task.session else f"run-{'0' * 32}")
            yield Done("approval", Usage(5, 1, 1))
            return
        elif word == "busy":
            raise RunError(429, "queue_full", "The agent is busy.", retry_after=3)
        elif word == "break":
            yield Delta("half of")
            raise RunError(502, "model_failed", "The model failed.")
        elif word == "hang":
            yield Delta("well,")
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        elif word == "empty":
            pass
        elif word in ("length", "content_filter", "fallback"):
            yield Delta("some")
            yield Done(word, Usage(1, 1, 1))  # type: ignore[arg-type]
            return
        else:
            for piece in ("You said", ": ", word):
                yield Delta(piece)
        yield Done("stop", Usage(7, 3, 1))


async def caller(request: Request) -> Caller:
    if request.headers.get("authorization") != "Bearer ann":
        raise RunError(401, "unauthenticated", "Show a token.")
    return Caller("ann")


@asynccontextmanager
async def asked_by_client(agent: Agent, key: str = "ann") -> AsyncIterator[AsyncOpenAI]:
    async with (
        served(routes(CONFIG, agent.run, caller)) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60) as client,
    ):
        yield client


async def test_an_answer_is_one_message_with_usage() -> None:
    agent = Agent()
    async with asked_by_client(agent) as client:
        response = await client.responses.create(model="support", input="hello", temperature=0.5, max_output_tokens=9)
    assert response.output_text == "You said: hello"
    assert (response.status, response.model) == ("completed", "support")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (7, 3, 10)
    assert agent.tasks[0].turns == (Turn("user", "hello"),)
    assert agent.tasks[0].sampling == Sampling(temperature=0.5, max_tokens=9)
    assert agent.tasks[0].session is not None


async def test_a_stream_is_what_the_clients_own_accumulator_takes() -> None:
    async with (
        asked_by_client(Agent()) as client,
        client.responses.stream(model="support", input="hello") as stream,
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert final.output_text == "You said: hello"
    assert final.usage is not None
    assert final.usage.total_tokens == 10
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


async def test_previous_response_id_and_conversation_go_on_in_the_same_session() -> None:
    agent = Agent()
    async with asked_by_client(agent) as client:
        first = await client.responses.create(model="support", input="hello")
        await client.responses.create(model="support", input="again", previous_response_id=first.id)
        named = await client.responses.create(model="support", input="hello", conversation="conv-1")
        headers = {"x-session-id": "conv-1"}
        await client.responses.create(model="support", input="again", extra_headers=headers)
        await client.responses.create(model="support", input="more", previous_response_id=named.id)
        lone = await client.responses.create(model="support", input="hello", store=False)
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="support", input="again", previous_response_id=lone.id)
    sessions = [task.session for task in agent.tasks]
    assert sessions[0] == sessions[1]
    assert sessions[2:] == ["conv-1", "conv-1", "conv-1", None]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_approval_is_asked_for_and_given(stream: bool) -> None:
    agent = Agent()
    async with asked_by_client(agent) as client:
        if stream:
            async with client.responses.stream(model="support", input="delete") as events:
                response: Any = await events.get_final_response()
        else:
            response = await client.responses.create(model="support", input="delete")
        message, wanted = response.output
        answer: Any = [
            {"type": "mcp_approval_response", "approval_request_id": wanted.id, "approve": False, "reason": "no"}
        ]
        after = await client.responses.create(model="support", input=answer, previous_response_id=response.id)
    assert message.content[0].text == "Let me see."
    assert (wanted.type, wanted.name, wanted.server_label) == ("mcp_approval_request", "delete", "support")
    assert json.loads(wanted.arguments) == {"id": 7}
    assert after.output_text == "kept"
    assert agent.tasks[1].verdicts == (Verdict("call-1", False, "no"),)
    assert agent.tasks[1].session == agent.tasks[0].session


async def test_an_approval_without_a_session_names_where_the_run_rests() -> None:
    agent = Agent()
    async with asked_by_client(agent) as client:
        response = await client.responses.create(model="support", input="delete", store=False)
        wanted: Any = response.output[1]
        history: Any = [
            {"role": "user", "content": "delete"},
            *[item.model_dump(exclude_none=True) for item in response.output],
            {"type": "mcp_approval_response", "approval_request_id": wanted.id, "approve": True},
        ]
        await client.responses.create(model="support", input=history, store=False)
    assert agent.tasks[1].session == f"run-{'0' * 32}"
    assert agent.tasks[1].verdicts == (Verdict("call-1", True),)
    assert agent.tasks[1].turns == ()


@pytest.mark.parametrize(
    ("word", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter"), ("fallback", None)]
)
async def test_why_an_answer_ended(word: str, reason: str | None) -> None:
    async with asked_by_client(Agent()) as client:
        response = await client.responses.create(model="support", input=word, metadata={"own": "kept"})
        async with client.responses.stream(model="support", input=word) as stream:
            last = [event.type async for event in stream][-1]
    assert response.status == ("incomplete" if reason else "completed")
    assert (response.incomplete_details.reason if response.incomplete_details else None) == reason
    assert last == ("response.incomplete" if reason else "response.completed")
    told = {"own": "kept"} | ({"agentfleet_finish": "fallback"} if word == "fallback" else {})
    assert response.metadata == told


async def test_an_empty_answer_is_an_empty_message() -> None:
    async with asked_by_client(Agent()) as client:
        response = await client.responses.create(model="support", input="empty")
        async with client.responses.stream(model="support", input="empty") as stream:
            streamed = await stream.get_final_response()
    assert (response.output_text, streamed.output_text) == ("", "")
    assert (len(response.output), len(streamed.output)) == (1, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_refused_has_a_status_of_its_own(stream: bool) -> None:
    async with asked_by_client(Agent()) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.responses.create(model="support", input="busy", stream=stream)
    assert refused.value.response.headers["retry-after"] == "3"
    async with asked_by_client(Agent(), key="bob") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.responses.create(model="support", input="hello", stream=stream)


async def test_a_stream_that_breaks_ends_with_an_error() -> None:
    async with asked_by_client(Agent()) as client:
        stream = await client.responses.create(model="support", input="break", stream=True)
        seen = []
        with pytest.raises(openai.APIError, match=r"The model failed\."):
            async for event in stream:
                seen.append(event.type)
    assert seen[-1] == "response.failed"


async def test_a_client_that_leaves_ends_the_run() -> None:
    agent = Agent()
    async with asked_by_client(agent) as client:
        stream = await client.responses.create(model="support", input="hang", stream=True)
        await stream.close()
        async with asyncio.timeout(30):
            await agent.left.wait()


def read(session: str | None = None, **body: Any) -> responses_request.ResponsesRequest:
    return responses_request.read(json.dumps({"model": "x", **body}).encode(), Caller("ann"), {}, "req-1", session)


def test_the_forms_of_input() -> None:
    image = "data:image/png;base64,AAAA"
    items: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
        {"type": "reasoning", "id": "r"},
        {"role": "user", "content": [{"type": "input_text", "text": "3"}, {"type": "input_image", "image_url": image}]},
    ]
    instructions = Turn("system", "Kindly.")
    whole = read(input=items, instructions="Kindly.").task.turns
    brief, last = Turn("system", "Be brief."), Turn("user", "3", (image,))
    assert whole == (instructions, brief, Turn("user", "one"), Turn("assistant", "two"), last)
    assert read("ses-1", input=items).task.turns == (brief, last)


def test_a_schema_is_asked_for_as_in_chat_completions() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    asked = read(input="x", text={"format": form}, tool_choice={"type": "function", "name": "find"})
    assert asked.task.sampling.tool_choice == "find"
    assert asked.task.sampling.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "temperature": 9}, "temperature"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "mcp_approval_response", "approval_request_id": "x"}]}, "input[0].approve"),
        ({"input": "x", "text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"input": "x", "conversation": "a b"}, "conversation"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(**body)
    assert refused.value.param == param


def test_ids_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BadRequest, match="name different conversations"):
        read("ses-1", input="x", previous_response_id=responses_request.new_id("ses-2"))
    assert read("ses-1", input="x", previous_response_id=responses_request.new_id("ses-1")).task.session == "ses-1"


@pytest.mark.parametrize("session", ["a", "ses_1-x", "ü" * 50, "conv-1"])
def test_ids_tell_the_session(session: str) -> None:
    assert responses_request.session_of(responses_request.new_id(session)) == session


@pytest.mark.parametrize("response_id", ["resp_1", "x", responses_request.new_id(None), f"resp_{'0' * 16}__w"])
def test_ids_that_tell_none(response_id: str) -> None:
    assert responses_request.session_of(response_id) is None
