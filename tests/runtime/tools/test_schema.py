"""Which schemas are used, and what is said of arguments that do not fit. Schemas may be anybody's."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.runtime.tools import schema

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 9}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ("text", "no object but str"),
        ({"type": "string"}, "describes 'string'"),
        ({}, "describes 'anything'"),
        ({"type": "object", "properties": {"a": {"type": "intger"}}}, "no JSON Schema"),
        ({"type": "object", "description": "x" * 100_000}, "at most 65536"),
    ],
)
def test_unusable(parameters: Any, why: str) -> None:
    assert why in (schema.unusable(parameters) or "")


def test_arguments_are_checked() -> None:
    check = schema.checker(CITY)
    assert schema.unusable(CITY) is None
    assert check({"city": "Rome"}) is None
    assert check({}) == "'city' is a required property"
    assert check({"city": 5}) == "city: 5 is not of type 'string'"
    assert "maximum" in (check({"city": "Rome", "days": 12}) or "")
    assert "unexpected" in (check({"city": "Rome", "x": 1}) or "")
    assert "more than" in (check({"city": "x" * 300_000}) or "")


def test_no_pattern_of_a_server_is_run() -> None:
    hostile = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}},
        "patternProperties": {"^(b+)+$": {"type": "integer"}},
        "additionalProperties": False,
    }
    assert schema.unusable(hostile) is None
    began = time.monotonic()
    assert schema.checker(hostile)({"a": "a" * 40 + "!", "b" * 40 + "!": 1}) is None
    assert time.monotonic() - began < 30


def test_nothing_is_fetched_for_a_reference() -> None:
    assert schema.checker({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}})({"a": 1}) is None


def test_references_without_end_end() -> None:
    loop = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/x"}}}
    assert schema.checker(loop)({"a": 1}) is None
    doubling: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    doubling["d60"] = {}
    began = time.monotonic()
    assert (
        schema.checker({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": doubling})({"a": 1})
        is None
    )
    assert time.monotonic() - began < 30


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["type", "properties", "required", "items", "allOf", "$ref", "enum", "not"]),
            inner | st.lists(inner, max_size=3),
            max_size=4,
        ),
        max_leaves=10,
    )
)
def test_no_schema_brings_it_down(parameters: Any) -> None:
    """Either it is left out with a reason, or its check gives an answer."""
    if schema.unusable(parameters) is None:
        schema.checker(parameters)({"a": 1})
