"""One agent behind all its protocols: real runs, the real framework, a scripted model, one session."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from a2a.helpers import get_artifact_text
from a2a.types import TaskState
from google.protobuf.json_format import MessageToDict
from openai import AsyncOpenAI
from starlette.requests import Request

from agentfleet.runtime import hitl, wire_chat, wire_responses
from agentfleet.runtime.a2a_server import A2A
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.members import Remote, Thread, client
from agentfleet.runtime.proof import signed
from agentfleet.runtime.types import Delta, Done, Verdict, Wanted
from e2e.support.answers import Reply
from e2e.support.scripted import Server, serving
from tests.runtime.parts import CALLER, Bench, Function, config, runner, task
from tests.runtime.served import served
from tests.runtime.test_a2a import sdk_client, send, whole

SESSION = "conv-1"


@pytest.fixture
def model() -> Iterator[Server]:
    with serving() as server:
        yield server


async def alice(_: Request) -> Any:
    return CALLER


@asynccontextmanager
async def agent_served(model: Server, *tools: Function) -> AsyncIterator[tuple[str, Bench]]:
    settings: AgentConfig = config(model.address, url="http://agents.example/support")
    async with AsyncExitStack() as stack:
        bench = Bench(await stack.enter_async_context(runner(settings, tools)), settings)
        a2a = A2A(settings, bench.runs.run, alice, lambda: tools)
        routes = [*a2a.routes(), *wire_responses.routes(settings, bench.runs.run, alice)]
        routes += wire_chat.routes(settings, bench.runs.run, alice)
        url = await stack.enter_async_context(served(routes))
        stack.push_async_callback(a2a.close)
        yield url, bench


def openai_client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=60)


async def test_all_protocols_are_one_conversation(model: Server) -> None:
    model.replies += [Reply(text="first"), Reply(text="second"), Reply(text="third")]
    async with agent_served(model) as (url, _), openai_client(url) as openai:
        message: Any = {"role": "user", "content": "over chat"}
        headers = {"x-session-id": SESSION}
        await openai.chat.completions.create(model="desk", messages=[message], extra_headers=headers)
        async with sdk_client(url, streaming=False) as a2a:
            answer = whole(await send(a2a, "over A2A", context=SESSION))
        last = await openai.responses.create(model="desk", input="over responses", conversation=SESSION)
    assert get_artifact_text(answer.artifacts[0]) == "second"
    assert last.output_text == "third"
    said = [each["content"] for each in json.loads(model.body)["messages"]]
    assert said == ["You help.", "over chat", "first", "over A2A", "second", "over responses"]


async def test_an_approval_wanted_over_a2a_is_given_over_responses(model: Server) -> None:
    """The state of the run is in the session, which every protocol and every replica shares."""
    tool = Function(approval=True)
    model.replies += [Reply(calls=(("add", '{"a": 1}'),)), Reply(text="done")]
    async with agent_served(model, tool) as (url, _), sdk_client(url, streaming=False) as a2a:
        paused = whole(await send(a2a, "add it", context=SESSION))
        (approval,) = hitl.approvals({hitl.URI: _payload(paused)})
        assert not tool.calls
        answer: Any = [{"type": "mcp_approval_response", "approval_request_id": approval.id, "approve": True}]
        async with openai_client(url) as openai:
            done = await openai.responses.create(model="desk", input=answer, conversation=SESSION)
        decision = hitl.response([Verdict(approval.id, True)])
        late = whole(await send(a2a, context=SESSION, task=paused.id, payload=decision))
    assert done.output_text == "done"
    assert [call.arguments for call in tool.calls] == [{"a": 1}]
    assert late.status.state == TaskState.TASK_STATE_FAILED, "decided already: it waits for nothing any more"


@pytest.mark.parametrize("approved", [True, False])
async def test_an_approval_over_a2a_with_the_real_framework(model: Server, approved: bool) -> None:
    tool = Function(approval=True)
    model.replies += [Reply(calls=(("add", '{"a": 1}'),)), Reply(text="done")]
    async with agent_served(model, tool) as (url, bench), sdk_client(url, streaming=True) as a2a:
        paused = (await send(a2a, "add it", context=SESSION))[-1].status_update
        assert paused.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        (approval,) = bench.audit.asked[0]
        decision = hitl.response([Verdict(approval.id, approved)])
        events = await send(a2a, context=SESSION, task=paused.task_id, payload=decision)
    texts = [get_artifact_text(each.artifact_update.artifact) for each in events if each.HasField("artifact_update")]
    assert "".join(texts) == "done"
    assert len(tool.calls) == approved


async def test_an_agent_asks_an_agent_with_the_real_framework(model: Server) -> None:
    tool = Function(approval=True)
    model.replies += [Reply(calls=(("add", "{}"),), tokens=(5, 2)), Reply(text="well done", tokens=(9, 4))]
    async with agent_served(model, tool) as (url, _), client(5) as http:
        remote, thread = Remote("desk", url, http, signed(None), "shop/front"), Thread(SESSION)
        paused = [event async for event in remote.ask("add it", task(), thread)]
        assert isinstance(paused[0], Wanted)
        verdicts = [Verdict(each.id, True) for each in paused[0].approvals]
        resumed = [event async for event in remote.ask("", task(), thread, verdicts=verdicts)]
    assert "".join(event.text for event in resumed if isinstance(event, Delta)) == "well done"
    assert isinstance(resumed[-1], Done)
    assert (resumed[-1].usage.input, resumed[-1].usage.output) == (9, 4)
    assert len(tool.calls) == 1


async def test_a_model_that_fails_is_the_fallback_over_every_protocol(model: Server) -> None:
    model.play("status=500")
    async with agent_served(model) as (url, _), openai_client(url) as openai:
        response = await openai.responses.create(model="desk", input="hello")
        async with sdk_client(url, streaming=False) as a2a:
            answer = whole(await send(a2a, "hello"))
    assert response.output_text.startswith("I'm experiencing technical difficulties")
    assert response.metadata == {"agentfleet_finish": "fallback"}
    assert get_artifact_text(answer.artifacts[0]) == response.output_text
    assert answer.metadata["agentfleet.dev/finish"] == "fallback"


async def test_a_schema_over_responses_reaches_the_model(model: Server) -> None:
    model.replies.append(Reply(text='{"total": 7}'))
    form: Any = {"type": "json_schema", "name": "invoice", "schema": {"type": "object"}, "strict": True}
    async with agent_served(model) as (url, _), openai_client(url) as openai:
        response = await openai.responses.create(model="desk", input="extract", text={"format": form})
    assert json.loads(response.output_text) == {"total": 7}
    asked = json.loads(model.body)["response_format"]
    assert asked["json_schema"]["schema"] == {"type": "object"}


def _payload(paused: Any) -> Any:
    return MessageToDict(paused.status.message.metadata)[hitl.URI]
