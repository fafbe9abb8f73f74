"""The agent over A2A, asked by the a2a-sdk's own client and by our client for members."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import httpx
import pytest
from a2a.client import A2ACardResolver, Client, ClientCallContext, ClientConfig, ClientFactory
from a2a.helpers import get_artifact_text, get_message_text, new_text_message
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    SendMessageRequest,
    StreamResponse,
    TaskState,
)
from a2a.types import Role as A2ARole
from a2a.types import Task as A2ATask
from a2a.utils.errors import TaskNotFoundError
from google.protobuf.json_format import MessageToDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentfleet.runtime import hitl, identity
from agentfleet.runtime.a2a_server import A2A
from agentfleet.runtime.card import card
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.members import HOPS, LoopError, MemberError, Remote, Thread, onward
from agentfleet.runtime.proof import signed
from agentfleet.runtime.types import (
    Approval,
    Caller,
    Delta,
    Done,
    Event,
    RunError,
    Task,
    Turn,
    Usage,
    Verdict,
    Wanted,
)
from tests.runtime.served import served

OPEN = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)


class Agent:
    """What stands behind the protocol in these tests: it keeps the tasks, and answers as it is told to."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.waiting: dict[str, tuple[Approval, ...]] = {}
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self, task: Task) -> AsyncGenerator[Event, None]:
        self.tasks.append(task)
        self.started.set()
        word = task.turns[-1].text if task.turns else ""
        if task.verdicts:
            yield self._resumed(task)
        elif word == "delete it":
            self.waiting[task.session or ""] = (Approval("call-1", "delete", '{"id": 7}'),)
            yield Delta("Let me see.")
            yield Wanted(self.waiting[task.session or ""])
            yield Done("approval", Usage(5, 1, 1))
            return
        elif word == "hang":
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        elif word == "busy":
            raise RunError(429, "queue_full", "The agent is busy.", retry_after=3)
        elif word == "crash":
            raise KeyError("secret-of-the-inside")
        else:
            for piece in ("You said:", " ", word):
                yield Delta(piece)
        yield Done("stop", Usage(7, 3, 1))

    def _resumed(self, task: Task) -> Delta:
        if not self.waiting.pop(task.session or "", None):
            raise RunError(409, "no_approval", "Nothing waits for a decision here.")
        verdict = task.verdicts[0]
        return Delta("deleted" if verdict.approved else f"kept: {verdict.reason}")


async def caller(request: Request) -> Caller:
    if "x-test-user" not in request.headers:
        raise RunError(401, "unauthenticated", "Show a token.")
    return Caller(request.headers["x-test-user"], frozenset({"staff"}))


CONFIG = AgentConfig(
    "support", "shop", "http://agents.example/support", "rev-1", "Helps customers", role="customer-service"
)


@asynccontextmanager
async def agent_served(agent: Agent, config: AgentConfig = CONFIG) -> AsyncIterator[str]:
    a2a = A2A(config, agent.run, caller)
    async with served(a2a.routes()) as url:
        try:
            yield url
        finally:
            await a2a.close()


@asynccontextmanager
async def sdk_client(
    url: str, *, streaming: bool, user: str | None = "ann", version: str = "1.0"
) -> AsyncIterator[Client]:
    """The SDK's client as its users make it, from the card."""
    headers = {"x-test-user": user} if user else {}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        for each in card.supported_interfaces:  # the card tells the address of a gateway
            each.url = each.url.replace(CONFIG.url, url)
        kept = [each for each in card.supported_interfaces if each.protocol_version == version]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(kept)
        yield ClientFactory(ClientConfig(httpx_client=http, streaming=streaming)).create(card)


async def send(
    client: Client, text: str = "decided", context: str = "", task: str = "", payload: dict[str, object] | None = None
) -> list[StreamResponse]:
    message = new_text_message(text, context_id=context or None, task_id=task or None, role=A2ARole.ROLE_USER)
    message.metadata.update(payload or {})
    request = SendMessageRequest(message=message)
    extensions = ClientCallContext(service_parameters={"A2A-Extensions": hitl.URI})
    return [response async for response in client.send_message(request, context=extensions)]


def whole(responses: list[StreamResponse]) -> A2ATask:
    assert len(responses) == 1
    return responses[0].task


async def test_the_card_tells_who_it_is_and_how_to_ask() -> None:
    async with agent_served(Agent()) as url, httpx.AsyncClient(trust_env=False) as http:
        told = (await http.get(f"{url}/.well-known/agent-card.json")).json()
    assert told["name"] == "support"
    assert told["version"] == "rev-1"
    assert [(each["url"], each["protocolVersion"]) for each in told["supportedInterfaces"]] == [
        ("http://agents.example/support/a2a", "1.0"),
        ("http://agents.example/support/a2a", "0.3"),
    ]
    assert told["capabilities"]["streaming"] is True
    assert told["capabilities"]["extensions"][0]["uri"] == hitl.URI
    assert told["skills"][0]["id"] == "customer-service"
    assert told["securitySchemes"]["serviceAccountToken"]["httpAuthSecurityScheme"]["scheme"] == "Bearer"


@pytest.mark.parametrize("version", ["1.0", "0.3"])
async def test_a_message_is_answered(version: str) -> None:
    agent = Agent()
    async with agent_served(agent) as url, sdk_client(url, streaming=False, version=version) as client:
        task = whole(await send(client, "hello", context="ctx-1"))
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    assert [get_artifact_text(each) for each in task.artifacts] == ["You said: hello"]
    assert MessageToDict(task.metadata)["agentfleet.dev/usage"] == {"input": 7, "output": 3, "calls": 1}
    asked = agent.tasks[0]
    assert (asked.session, asked.turns) == ("ctx-1", (Turn("user", "hello"),))
    assert asked.caller == Caller("ann", frozenset({"staff"}))


@pytest.mark.parametrize("version", ["1.0", "0.3"])
async def test_a_stream_brings_the_pieces_and_the_stored_task_the_whole(version: str) -> None:
    async with agent_served(Agent()) as url, sdk_client(url, streaming=True, version=version) as client:
        responses = await send(client, "hello")
        updates = [each.artifact_update for each in responses if each.HasField("artifact_update")]
        task = await client.get_task(GetTaskRequest(id=updates[0].task_id))
        listed = await client.list_tasks(ListTasksRequest()) if version == "1.0" else None
    assert [get_artifact_text(each.artifact) for each in updates] == ["You said:", " ", "hello"]
    assert [each.append for each in updates] == [False, True, True]
    assert responses[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
    assert [part.text for part in task.artifacts[0].parts] == ["You said: hello"]
    assert listed is None or [each.id for each in listed.tasks] == [task.id]


async def test_a_client_that_does_not_wait_asks_for_the_task_later() -> None:
    async with agent_served(Agent()) as url, sdk_client(url, streaming=False) as client:
        request = SendMessageRequest(message=new_text_message("hello", role=A2ARole.ROLE_USER))
        request.configuration.return_immediately = True
        begun = whole([response async for response in client.send_message(request)])
        async with asyncio.timeout(30):
            while (task := await client.get_task(GetTaskRequest(id=begun.id))).status.state in OPEN:
                continue
    assert begun.status.state in OPEN
    assert get_artifact_text(task.artifacts[0]) == "You said: hello"


async def test_tasks_belong_to_their_caller() -> None:
    async with agent_served(Agent()) as url, sdk_client(url, streaming=False) as ann:
        task = whole(await send(ann, "hello"))
        async with sdk_client(url, streaming=False, user="bob") as bob:
            with pytest.raises(TaskNotFoundError):
                await bob.get_task(GetTaskRequest(id=task.id))
            with pytest.raises(TaskNotFoundError):
                await bob.cancel_task(CancelTaskRequest(id=task.id))


async def test_cancelling_a_task_cancels_its_run() -> None:
    agent = Agent()
    async with agent_served(agent) as url, sdk_client(url, streaming=True) as client:
        running = asyncio.create_task(send(client, "hang"))
        await agent.started.wait()
        listed = await client.list_tasks(ListTasksRequest())
        task = await client.cancel_task(CancelTaskRequest(id=listed.tasks[0].id))
        async with asyncio.timeout(30):
            await agent.cancelled.wait()
            await running
    assert task.status.state == TaskState.TASK_STATE_CANCELED


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_approval_pauses_the_task_and_a_decision_resumes_it(streaming: bool) -> None:
    agent = Agent()
    async with agent_served(agent) as url, sdk_client(url, streaming=streaming) as client:
        responses = await send(client, "delete it", context="ctx-1")
        last = responses[-1]
        status = last.status_update.status if streaming else last.task.status
        task_id = last.status_update.task_id if streaming else last.task.id
        assert status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert list(status.message.extensions) == [hitl.URI]
        assert MessageToDict(status.message.metadata)[hitl.URI] == {
            "type": "tool_approval_request",
            "hint": "Approve the call of delete?",
            "tools": [{"id": "call-1", "call_id": "call-1", "name": "delete", "args": {"id": 7}}],
        }
        decision = hitl.response([Verdict("call-1", False, "it is still needed")])
        after = (await send(client, context="ctx-1", task=task_id, payload=decision))[-1]
        stored = await client.get_task(GetTaskRequest(id=task_id))
    assert agent.tasks[-1].verdicts == (Verdict("call-1", False, "it is still needed"),)
    assert (after.status_update if streaming else after.task).status.state == TaskState.TASK_STATE_COMPLETED
    assert [get_artifact_text(each) for each in stored.artifacts] == ["Let me see.", "kept: it is still needed"]


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({}, "not decided: call-1"),
        (hitl.response([Verdict("other", True)]), "not decided: call-1; not waiting: other"),
        ({hitl.URI: {"type": "tool_approval_response", "approvals": [{"id": "call-1"}]}}, "must be true or false"),
        ({hitl.URI: "yes"}, "type must be tool_approval_response"),
    ],
)
async def test_a_wrong_decision_leaves_the_task_paused(payload: dict[str, object], problem: str) -> None:
    agent = Agent()
    async with agent_served(agent) as url, sdk_client(url, streaming=False) as client:
        paused = whole(await send(client, "delete it", context="ctx-1"))
        still = whole(await send(client, "yes, do it", context="ctx-1", task=paused.id, payload=payload))
        assert still.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert problem in get_message_text(still.status.message)
        assert len(agent.tasks) == 1
        decision = hitl.response([Verdict("call-1", True)])
        done = whole(await send(client, context="ctx-1", task=paused.id, payload=decision))
    assert done.status.state == TaskState.TASK_STATE_COMPLETED


async def test_another_replica_resumes_on_the_context_alone() -> None:
    """It does not know the task, but it shares the session."""
    agent = Agent()
    async with agent_served(agent) as one, agent_served(agent) as other:
        async with sdk_client(one, streaming=False) as client:
            whole(await send(client, "delete it", context="ctx-1"))
        async with sdk_client(other, streaming=False) as client:
            decision = hitl.response([Verdict("call-1", True)])
            done = whole(await send(client, context="ctx-1", payload=decision))
    assert get_artifact_text(done.artifacts[0]) == "deleted"


async def test_overload_is_a_rejected_task_and_a_crash_a_failed_one_that_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with agent_served(Agent()) as url, sdk_client(url, streaming=False) as client:
        busy = whole(await send(client, "busy"))
        crashed = whole(await send(client, "crash"))
    assert busy.status.state == TaskState.TASK_STATE_REJECTED
    assert get_message_text(busy.status.message) == "The agent is busy."
    assert MessageToDict(busy.metadata)["agentfleet.dev/retryAfter"] == 3
    assert crashed.status.state == TaskState.TASK_STATE_FAILED
    assert "secret-of-the-inside" not in str(crashed)
    assert "secret-of-the-inside" in caplog.text


async def test_who_may_not_ask_gets_a_json_rpc_error_with_the_status_of_http() -> None:
    agent = Agent()
    request = {"jsonrpc": "2.0", "id": 9, "method": "SendMessage", "params": {}}
    async with agent_served(agent) as url, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{url}/a2a", json=request)
        junk = await http.post(f"{url}/a2a", content=b"{", headers={"x-test-user": "ann"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (answer.json()["id"], answer.json()["error"]["message"]) == (9, "Show a token.")
    assert junk.json()["error"]["code"] == -32700
    assert not agent.tasks


async def ask(remote: Remote, text: str, thread: Thread, task: Task | None = None, **more: object) -> list[Event]:
    task = task or Task("req-1", Caller("ann"), ())
    async with aclosing(remote.ask(text, task, thread, **more)) as events:  # type: ignore[arg-type]
        return [event async for event in events]


@asynccontextmanager
async def remote_of(url: str) -> AsyncIterator[Remote]:
    async with httpx.AsyncClient(headers={"x-test-user": "proxy"}, trust_env=False) as http:
        remote = Remote("support", url, http, signed(lambda asker: f"signed:{asker.subject}"), "shop/front", timeout=60)
        yield remote
        await remote.close()


async def test_a_member_answers_in_events_of_ours() -> None:
    agent = Agent()
    async with agent_served(agent) as url, remote_of(url) as remote:
        task = Task("req-1", Caller("ann"), (), headers={"x-request-id": "req-1", HOPS: "shop/first"})
        events = await ask(remote, "hello", Thread("ctx-9"), task)
        whole_answer = await ask(remote, "hello", Thread("ctx-9"), task, stream=False)
    assert events == [Delta("You said:"), Delta(" "), Delta("hello"), Done("stop", Usage(7, 3, 1))]
    assert agent.tasks[0].session == "ctx-9"
    assert whole_answer == [Delta("You said: hello"), Done("stop", Usage(7, 3, 1))]
    assert [each.stream for each in agent.tasks] == [True, False]
    assert agent.tasks[0].headers == {"x-request-id": "req-1", HOPS: "shop/first,shop/front"}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_members_approval_is_handed_on_and_the_decision_back(stream: bool) -> None:
    agent, thread = Agent(), Thread("ctx-9")
    async with agent_served(agent) as url, remote_of(url) as remote:
        paused = await ask(remote, "delete it", thread, stream=stream)
        assert paused[1] == Wanted((Approval("call-1", "delete", json.dumps({"id": 7.0})),))
        assert thread.task
        resumed = await ask(remote, "", thread, verdicts=[Verdict("call-1", True)], stream=stream)
    assert resumed == [Delta("deleted"), Done("stop", Usage(7, 3, 1))]
    assert thread.task is None


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_a_members_answer_cancels_its_run(stream: bool) -> None:
    agent = Agent()
    async with agent_served(agent) as url, remote_of(url) as remote:
        asking = asyncio.create_task(ask(remote, "hang", Thread("ctx-9"), stream=stream))
        await agent.started.wait()
        asking.cancel()
        async with asyncio.timeout(30):
            await agent.cancelled.wait()


async def test_a_member_that_fails_is_told_without_its_address() -> None:
    async with agent_served(Agent()) as url, remote_of(url) as remote:
        with pytest.raises(MemberError, match=r"^agent support refused the request$") as busy:
            await ask(remote, "busy", Thread("ctx-9"))
    assert busy.value.words == "The agent is busy."
    async with remote_of(url) as remote:
        with pytest.raises(MemberError, match="agent support could not be reached") as refused:
            await ask(remote, "hello", Thread("ctx-9"))
    assert not refused.value.reached


JUNK = [
    b"",
    b"<html>",
    b"[1]",
    b'{"jsonrpc": "2.0", "id": 1}',
    b'{"jsonrpc": "2.0", "id": 1, "result": 7}',
    b'{"jsonrpc": "2.0", "id": 1, "result": {"task": {"id": 7, "status": "x"}}}',
    b'{"jsonrpc": "2.0", "id": 1, "error": "x"}',
    b"[" * 100_000,
    b"data: [1]\n\n",
    b'data: {"jsonrpc": "2.0", "id": 1, "result": {"statusUpdate": 7}}\n\n',
    b'data: {"jsonrpc": "2.0", "id": 1, "result": {}}\n\n',
    b"\xff\xfe",
]


@pytest.mark.parametrize("junk", JUNK)
async def test_junk_from_a_member_is_an_error_of_that_member(junk: bytes) -> None:
    async def answer(_: Request) -> Response:
        kind = "text/event-stream" if junk.startswith(b"data:") else "application/json"
        return Response(junk, media_type=kind)

    async def own_card(_: Request) -> Response:
        return JSONResponse(agent_card_to_dict(card(CONFIG)))

    routes = [Route("/a2a", answer, methods=["POST"]), Route("/.well-known/agent-card.json", own_card)]
    async with served(routes) as url, remote_of(url) as remote:
        with pytest.raises(MemberError, match="agent support"):
            await ask(remote, "hello", Thread("ctx-9"))
    cards = [Route("/.well-known/agent-card.json", answer)]
    async with served(cards) as url, remote_of(url) as remote:
        with pytest.raises(MemberError, match="agent support"):
            await ask(remote, "hello", Thread("ctx-9"))


@pytest.mark.parametrize("status", [302, 401, 500])
async def test_a_status_from_a_member_is_told(status: int) -> None:
    async def answer(_: Request) -> Response:
        return Response(status_code=status, headers={"location": "http://127.0.0.1:9/"})

    async with served([Route("/.well-known/agent-card.json", answer)]) as url, remote_of(url) as remote:
        with pytest.raises(MemberError, match=f"agent support answered with status {status}"):
            await remote.ready()


async def test_a_member_that_is_silent_is_given_up() -> None:
    async def silent(_: Request) -> Response:
        await asyncio.sleep(1)
        return Response()

    async with served([Route("/.well-known/agent-card.json", silent)]) as url, httpx.AsyncClient() as http:
        with pytest.raises(MemberError, match="did not answer in time"):
            await ask(Remote("support", url, http, signed(None), "a/b", timeout=0.1), "hello", Thread("ctx-9"))


def test_hops_end_circles_and_long_chains() -> None:
    assert onward("", "a/b") == "a/b"
    assert onward("a/b, c/d", "e/f") == "a/b,c/d,e/f"
    with pytest.raises(LoopError, match="a/b -> c/d -> a/b"):
        onward("a/b,c/d", "a/b")
    with pytest.raises(LoopError, match="8"):
        onward(",".join(f"a/{n}" for n in range(8)), "e/f")


def test_identity_header_is_the_one_of_the_contract() -> None:
    assert identity.HEADER == "x-agentfleet-identity"
    assert Message().role == A2ARole.ROLE_UNSPECIFIED
