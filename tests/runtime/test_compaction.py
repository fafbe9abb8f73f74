"""Conversations are shortened by whole turns: no call without its result, no approval without what it is about."""

import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.runtime.compaction import RECALL, compactor, cut, tokens, transcript
from agentfleet.runtime.config import SessionStore

Message = dict[str, Any]


def _says(role: str, text: str) -> Message:
    return {"type": "message", "role": role, "contents": [{"type": "text", "text": text}]}


def _calls(number: int, *, asks: bool = False) -> list[Message]:
    """A call of a tool and its result, by way of an approval if `asks`."""
    name = f"call-{number}"
    call = {"type": "function_call", "call_id": name, "id": name, "name": "look", "arguments": "{}"}
    asked = [
        {"role": "assistant", "contents": [{"type": "function_approval_request", "id": name}]},
        {"role": "user", "contents": [{"type": "function_approval_response", "id": name}]},
    ]
    return [
        *(asked if asks else []),
        {"role": "assistant", "contents": [call]},
        {"role": "tool", "contents": [{"type": "function_result", "call_id": name, "result": "found"}]},
    ]


def _state(messages: list[Message]) -> dict[str, Any]:
    return {"session": {"id": "s", "state": {"in_memory": {"messages": messages}, "more": 1}}, "own": 2}


def _left(state: dict[str, Any]) -> list[Message]:
    messages: list[Message] = state["session"]["state"]["in_memory"]["messages"]
    return messages


_TURN = st.tuples(st.integers(0, 400), st.integers(0, 2), st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.lists(_TURN, min_size=1, max_size=12), st.integers(1, 600), st.booleans())
async def test_what_stays_are_the_last_turns_whole(shapes: list[tuple[int, int, bool]], most: int, waits: bool) -> None:
    turns: list[list[Message]] = []
    for length, calls, asks in shapes:
        called = [message for number in range(calls) for message in _calls(len(turns) * 10 + number, asks=asks)]
        turns.append([_says("user", "x" * length), *called, _says("assistant", "y" * length)])
    if waits:
        turns[-1] = [_says("user", "do it"), *_calls(999, asks=True)[:1]]
    messages = [message for turn in turns for message in turn]
    state = _state(messages)
    before = json.dumps(state)
    left = _left(await compactor(SessionStore(compaction_tokens=most))(state))
    beginnings = [[message for turn in turns[index:] for message in turn] for index in range(len(turns))]
    assert left in beginnings
    assert json.dumps(state) == before
    assert tokens(left) <= most or left == beginnings[-1]
    longer = beginnings[: beginnings.index(left)]
    assert all(tokens(each) > most for each in longer)


async def test_a_call_that_waits_keeps_its_turn_though_another_came() -> None:
    messages = [
        _says("user", "x" * 400),
        _says("assistant", "y" * 400),
        _says("user", "do it"),
        *_calls(1, asks=True)[:1],
    ]
    messages += [_says("user", "z" * 400), _says("assistant", "never mind")]
    assert cut(messages, 1) == 2


async def test_nothing_is_done_where_it_is_short_or_not_asked_for() -> None:
    state = _state([_says("user", "x" * 4000), _says("assistant", "y"), _says("user", "z")])
    assert await compactor(SessionStore(compaction="None", compaction_tokens=10))(state) is state
    assert await compactor(SessionStore(compaction_tokens=2000))(state) is state
    assert await compactor(SessionStore(compaction_tokens=10))({"team": [1]}) == {"team": [1]}


async def test_a_summary_stands_for_the_turns_that_go() -> None:
    asked: list[str] = []

    async def summarize(text: str) -> str:
        asked.append(text)
        return "They greeted each other."

    messages = [
        _says("user", "hello " * 50),
        *_calls(1),
        _says("assistant", "hi"),
        _says("user", "now"),
        _says("assistant", "yes"),
    ]
    state = _state(messages)
    changed = await compactor(SessionStore(compaction="Summarize", compaction_tokens=60), summarize)(state)
    assert _left(changed) == [_says("user", RECALL), _says("assistant", "They greeted each other."), *messages[-2:]]
    assert asked == [transcript(messages[:-2])]
    assert "assistant called look({})\nit gave: found\nassistant: hi" in asked[0]
    assert changed["own"] == 2
    assert changed["session"]["state"]["more"] == 1


async def test_a_summary_that_fails_costs_the_turns_and_not_the_conversation(caplog: pytest.LogCaptureFixture) -> None:
    async def summarize(text: str) -> str:
        raise ConnectionError

    messages = [_says("user", "hello " * 50), _says("assistant", "hi"), _says("user", "now")]
    with caplog.at_level(logging.WARNING):
        changed = await compactor(SessionStore(compaction="Summarize", compaction_tokens=20), summarize)(
            _state(messages)
        )
    assert _left(changed) == messages[-1:]
    assert "could not be summarized" in caplog.text
