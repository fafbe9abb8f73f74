"""Tools of a real MCP server, and an approval over A2A, asked by the a2a-sdk's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from a2a.client import A2ACardResolver, Client, ClientCallContext, ClientConfig, ClientFactory
from a2a.helpers import get_artifact_text, new_text_message
from a2a.types import AgentCard, Role, SendMessageRequest, StreamResponse, Task, TaskState
from google.protobuf.json_format import MessageToDict

from e2e.scenarios import agents
from e2e.scenarios.agent.world import QUESTION, World

_APPROVALS = "https://kagent.dev/extensions/hitl/v1"
_FIND = {"calls": [["find_ticket", '{"ticket": 7}']]}
_JUNK = (
    *(["find_ticket", arguments] for arguments in ('{"ticket": "sev', '{"ticket": "seven"}', "null", "2222", "")),
    ["drop_tables", "{}"],
)
_DELETE = {"calls": [["delete_ticket", '{"ticket": 8}']]}


def its_tools_are_those_of_the_servers(world: World) -> None:
    assert agents.condition(world.scenario, "desk", "ToolsReady")["status"] == "True"
    found = {(tool["name"], tool["source"]) for tool in agents.status(world.scenario, "desk")["tools"]}
    assert found == {("find_ticket", "tickets"), ("delete_ticket", "tickets"), ("export_all", "rest")}
    world.says({"text": "Hello."})
    with world.client("desk") as client:
        client.chat.completions.create(model="desk", messages=[QUESTION])
    offered = {tool["function"]["name"]: tool["function"] for tool in world.heard()["tools"]}
    assert offered.keys() == {"find_ticket", "delete_ticket", "export_all"}
    assert offered["find_ticket"]["description"] == "Says how a ticket stands."
    assert offered["find_ticket"]["parameters"]["properties"]["ticket"]["type"] == "integer"


def a_tool_is_called_and_its_result_told(world: World) -> None:
    world.says(_FIND, {"text": "It is open."})
    with world.client("desk") as client:
        answer = client.chat.completions.create(model="desk", messages=[QUESTION])
    assert answer.choices[0].message.content == "It is open."
    told = [message["content"] for message in world.heard()["messages"] if message["role"] == "tool"]
    assert len(told) == 1
    assert "Ticket 7 is open." in told[0]


def junk_of_the_model_is_told_to_it(world: World) -> None:
    """Arguments that are none, a tool that it was not given: no call is made, and the client gets an answer."""
    for call in _JUNK:
        world.says({"calls": [call]}, {"text": "I cannot tell."})
        with world.client("desk") as client:
            answer = client.chat.completions.create(model="desk", messages=[QUESTION])
        assert answer.choices[0].message.content == "I cannot tell."
        told = [message["content"] for message in world.heard()["messages"] if message["role"] == "tool"]
        assert told, call
        assert "Ticket" not in told[-1]
    refused = {("find_ticket", "arguments"), ("drop_tables", "unknown")}
    world.scenario.until(lambda: refused <= _refused(world), "the audit knows what was refused, and why")


def _refused(world: World) -> set[tuple[str, str]]:
    lines = agents.audit(world.scenario, "desk")
    return {(line["tool"], line["reason"]) for line in lines if (line["kind"], line["decision"]) == ("tool", "refused")}


def an_a2a_client_is_answered(world: World) -> None:
    asyncio.run(_sends(world))


async def _sends(world: World) -> None:
    (first, _) = world.replicas("desk")
    async with _client(world, first, streaming=False) as (card, client):
        inside = f"http://desk-agent.{world.scenario.namespace}.svc.cluster.local/a2a"
        assert card.name == "desk"
        assert card.capabilities.streaming
        assert {"tool:find_ticket", "tool:delete_ticket", "tool:export_all"} <= {skill.id for skill in card.skills}
        assert inside == agents.status(world.scenario, "desk")["a2aUrl"]
        world.says({"text": "We are open."})
        task = (await _send(client, "Hello"))[-1].task
        assert task.status.state == TaskState.TASK_STATE_COMPLETED
        assert _text(task) == "We are open."


def an_a2a_client_streams(world: World) -> None:
    asyncio.run(_streams(world))


async def _streams(world: World) -> None:
    (_, second) = world.replicas("desk")
    async with _client(world, second, streaming=True) as (_, client):
        world.says({"text": "We are open all day."})
        told = await _send(client, "Hello")
    pieces = [get_artifact_text(each.artifact_update.artifact) for each in told if each.HasField("artifact_update")]
    assert len(pieces) > 1
    assert "".join(pieces) == "We are open all day."
    assert told[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED


def an_approval_is_resumed_by_the_other_replica(world: World) -> None:
    asyncio.run(_approves(world))


async def _approves(world: World) -> None:
    first, second = world.replicas("desk")
    world.says(_DELETE, {"text": "It is gone."})
    async with _client(world, first, streaming=False) as (_, client):
        paused = (await _send(client, "Delete ticket 8", context="shift-1"))[-1].task
    assert paused.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    wanted = MessageToDict(paused.status.message.metadata)[_APPROVALS]
    assert [(tool["name"], tool["args"]) for tool in wanted["tools"]] == [("delete_ticket", {"ticket": 8})]

    decided = {
        "type": "tool_approval_response",
        "approvals": [{"id": tool["id"], "approved": True} for tool in wanted["tools"]],
    }
    async with _client(world, second, streaming=False) as (_, client):
        done = (await _send(client, "decided", context="shift-1", payload={_APPROVALS: decided}))[-1].task
    assert done.status.state == TaskState.TASK_STATE_COMPLETED
    assert _text(done) == "It is gone."
    (told,) = [message["content"] for message in world.heard()["messages"] if message["role"] == "tool"]
    assert "Ticket 8 is deleted." in told


@asynccontextmanager
async def _client(world: World, address: str, *, streaming: bool) -> AsyncIterator[tuple[AgentCard, Client]]:
    """The SDK's client of one pod, as its users make it from the card. The card's address is one for pods, whose DNS
    is not to be had here."""
    bearer = {"Authorization": f"Bearer {world.token}"}
    async with httpx.AsyncClient(headers=bearer, trust_env=False, timeout=60) as http:
        card = await A2ACardResolver(http, f"http://{address}").get_agent_card()
        for each in card.supported_interfaces:
            each.url = f"http://{address}/{each.url.rpartition('/')[2]}"
        yield card, ClientFactory(ClientConfig(httpx_client=http, streaming=streaming)).create(card)


async def _send(
    client: Client, text: str, context: str = "", payload: dict[str, Any] | None = None
) -> list[StreamResponse]:
    message = new_text_message(text, context_id=context or None, role=Role.ROLE_USER)
    message.metadata.update(payload or {})
    asking = ClientCallContext(service_parameters={"A2A-Extensions": _APPROVALS})
    return [told async for told in client.send_message(SendMessageRequest(message=message), context=asking)]


def _text(task: Task) -> str:
    return "".join(get_artifact_text(each) for each in task.artifacts)


CHECKS = (
    its_tools_are_those_of_the_servers,
    a_tool_is_called_and_its_result_told,
    junk_of_the_model_is_told_to_it,
    an_a2a_client_is_answered,
    an_a2a_client_streams,
    an_approval_is_resumed_by_the_other_replica,
)
