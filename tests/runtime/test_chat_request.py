"""A body becomes a Task or an error that names a field; nothing that a client sends is a bug."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.runtime import chat_request
from agentfleet.runtime.chat_request import ChatRequest
from agentfleet.runtime.types import Turn, Verdict
from agentfleet.runtime.wire_errors import BadRequest
from tests.runtime.parts import CALLER

USER = {"role": "user", "content": "hi"}


def read(body: Any, session: str | None = None) -> ChatRequest:
    return chat_request.read(json.dumps(body).encode(), CALLER, {}, "r", session)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["messages", *chat_request._Request.model_fields]
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"])},
    optional={"content": JSON | st.text(), "tool_call_id": st.text(max_size=5) | st.just("run-" + "0" * 32 + ":x")},
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
    st.lists(MESSAGE, max_size=4) | st.just([USER]),
    st.sampled_from([None, "s"]),
)
def test_whatever_is_sent(fields: dict[str, Any], messages: list[Any], session: str | None) -> None:
    try:
        read({**fields, "messages": messages} if "messages" not in fields else fields, session)
    except BadRequest as error:
        assert error.message
        assert error.status == 400


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(BadRequest):
        chat_request.read(body, CALLER, {}, "r", None)


def test_numbers_may_be_whole_and_nulls_are_nothing() -> None:
    sampling = read({"messages": [USER], "temperature": 0, "top_p": 1, "max_tokens": None, "stop": None}).task.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.stop) == (0, 1, None, ())


@pytest.mark.parametrize(
    ("tier", "priority"), [("priority", "high"), ("flex", "low"), ("auto", "normal"), (None, "normal")]
)
def test_priority_is_the_service_tier(tier: str | None, priority: str) -> None:
    assert read({"messages": [USER], "service_tier": tier}).task.priority == priority


def test_only_the_last_tool_messages_are_verdicts() -> None:
    body = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None},
            {"role": "tool", "tool_call_id": "old", "content": "not one of ours"},
            {"role": "assistant", "content": "b"},
            {"role": "tool", "tool_call_id": "new", "content": '{"approved": false, "reason": "no"}'},
            {"role": "user", "content": "and now?"},
        ]
    }
    task = read(body, "s").task
    assert task.verdicts == (Verdict("new", False, "no"),)
    assert task.turns == (Turn("user", "and now?"),)


def test_without_a_session_the_id_of_the_call_names_one() -> None:
    name = "run-" + "a" * 32
    verdict = {"role": "tool", "tool_call_id": f"{name}:call-1", "content": '{"approved": true}'}
    task = read({"messages": [USER, {"role": "assistant", "tool_calls": []}, verdict]}).task
    assert (task.session, task.verdicts, task.turns) == (name, (Verdict("call-1", True),), ())
