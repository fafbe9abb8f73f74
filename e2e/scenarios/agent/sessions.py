"""A conversation that goes from one replica to the other by way of a Redis."""

from __future__ import annotations

from openai import OpenAI

from e2e.scenarios import agents
from e2e.scenarios.agent.world import World

_HERE = ("x-session-id", "visit-1")


def a_conversation_goes_on_at_the_other_replica(world: World) -> None:
    first, second = world.replicas("porter")
    world.says({"text": "Good evening, Ann."}, {"text": "You are Ann."}, {"text": "Room 7."})
    for address, text in ((first, "I am Ann."), (second, "Who am I?"), (first, "And where do I sleep?")):
        with agents.client(address, world.token, headers=[_HERE]) as client:
            _ask(client, text)
    said = [(each["role"], each["content"]) for each in world.heard()["messages"]]
    assert said == [
        ("system", "You are a porter."),
        ("user", "I am Ann."),
        ("assistant", "Good evening, Ann."),
        ("user", "Who am I?"),
        ("assistant", "You are Ann."),
        ("user", "And where do I sleep?"),
    ]


def the_same_id_is_another_conversation_of_somebody_else(world: World) -> None:
    stranger = agents.token(world.scenario, "porter-agent")
    world.says({"text": "I do not know you."})
    (_, second) = world.replicas("porter")
    with agents.client(second, stranger, headers=[_HERE]) as client:
        _ask(client, "Who am I?")
    assert [each["content"] for each in world.heard()["messages"]] == ["You are a porter.", "Who am I?"]


def _ask(client: OpenAI, text: str) -> None:
    answer = client.chat.completions.create(model="porter", messages=[{"role": "user", "content": text}])
    assert answer.choices[0].message.content


CHECKS = (
    a_conversation_goes_on_at_the_other_replica,
    the_same_id_is_another_conversation_of_somebody_else,
)
