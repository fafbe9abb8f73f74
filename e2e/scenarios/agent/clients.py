"""OpenAI's client, unchanged, of an agent on a real engine: directly with a token, and through a route with a key."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

from e2e.scenarios import agents
from e2e.scenarios.agent.world import ALICE, MALLORY, QUESTION, World

_LABEL = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["order", "refund"]}, "urgent": {"type": "boolean"}},
    "required": ["label", "urgent"],
    "additionalProperties": False,
}


def status_says_where_and_what(world: World) -> None:
    status = agents.status(world.scenario, "clerk")
    inside = f"http://clerk-agent.{world.scenario.namespace}.svc.cluster.local"
    assert (status["url"], status["a2aUrl"]) == (f"{inside}/v1", f"{inside}/a2a")
    assert (status["model"], status["replicas"], status["readyReplicas"]) == ("tiny", 1, 1)
    for kind in ("Ready", "ModelReady"):
        assert agents.condition(world.scenario, "clerk", kind)["status"] == "True", kind


def a_chat_is_answered_and_counted(world: World) -> None:
    with world.client("clerk") as client:
        assert [model.id for model in client.models.list()] == ["clerk"]
        answer = client.chat.completions.create(model="clerk", messages=[QUESTION], temperature=0, max_tokens=16)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= 16


def a_stream_says_the_same_and_is_counted(world: World) -> None:
    with world.client("clerk") as client:
        whole = client.chat.completions.create(model="clerk", messages=[QUESTION], temperature=0, max_tokens=16)
        stream = client.chat.completions.create(
            model="clerk",
            messages=[QUESTION],
            temperature=0,
            max_tokens=16,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert len(pieces) > 1
    assert "".join(pieces) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def noise_is_json_where_a_schema_is_asked_for(world: World) -> None:
    with world.client("clerk") as client:
        answer = client.chat.completions.create(
            model="clerk",
            messages=[QUESTION],
            temperature=0,
            response_format={"type": "json_schema", "json_schema": {"name": "label", "schema": _LABEL, "strict": True}},
        )
    said = json.loads(answer.choices[0].message.content or "")
    assert said.keys() == {"label", "urgent"}
    assert said["label"] in ("order", "refund")


def responses_continue_their_conversation(world: World) -> None:
    with world.client("clerk") as client:
        first = client.responses.create(model="clerk", input="Hello", temperature=0, max_output_tokens=8)
        second = client.responses.create(
            model="clerk", input="And now?", previous_response_id=first.id, temperature=0, max_output_tokens=8
        )
    assert first.output_text
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens


def the_plain_protocol_answers(world: World) -> None:
    with agents.address(world.scenario, "clerk") as address:
        bearer = {"Authorization": f"Bearer {world.token}"}
        asked = {"message": "Hello", "priority": "high", "timeout": 20}
        answer = httpx.post(f"http://{address}/chat", json=asked, headers=bearer, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["response"]
    assert answer.json()["agent_used"] == "clerk"
    assert answer.json()["processing_time"] > 0


def nobody_is_anonymous(world: World) -> None:
    with (
        agents.address(world.scenario, "clerk") as address,
        agents.client(address, "sk-made-up") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="clerk", messages=[QUESTION])


def a_route_brings_callers_with_a_key(world: World) -> None:
    with world.through_route(ALICE) as client:
        for agent in ("clerk", "own"):
            answer = client.chat.completions.create(model=f"agent/{agent}", messages=[QUESTION], max_tokens=8)
            assert answer.usage is not None
            chunks = list(
                client.chat.completions.create(model=f"agent/{agent}", messages=[QUESTION], max_tokens=8, stream=True)
            )
            assert chunks[-1].choices[0].finish_reason
    callers = {"alice", f"system:serviceaccount:{world.scenario.namespace}:default"}
    world.scenario.until(lambda: callers <= _audited(world), "the audit knows who has asked")


def _audited(world: World) -> set[str]:
    return {line["caller"] for line in agents.audit(world.scenario, "clerk") if line["kind"] == "run"}


def a_route_does_not_open_what_access_closes(world: World) -> None:
    with world.through_route(MALLORY) as client, pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="agent/clerk", messages=[QUESTION])
    with world.through_route("sk-made-up") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="agent/clerk", messages=[QUESTION])


def an_image_of_the_users_own_serves_the_same(world: World) -> None:
    (pod,) = agents.children(world.scenario, "Pod", "own")
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "agentfleet/runtime:own"
    assert "args" not in container  # the image says itself what it runs
    with world.client("own") as client:
        answer = client.chat.completions.create(model="own", messages=[QUESTION], temperature=0, max_tokens=8)
    assert answer.choices[0].message.content


CHECKS = (
    status_says_where_and_what,
    a_chat_is_answered_and_counted,
    a_stream_says_the_same_and_is_counted,
    noise_is_json_where_a_schema_is_asked_for,
    responses_continue_their_conversation,
    the_plain_protocol_answers,
    nobody_is_anonymous,
    an_image_of_the_users_own_serves_the_same,
    a_route_brings_callers_with_a_key,
    a_route_does_not_open_what_access_closes,
)
