"""Requests as request.py reads them. tests/gateway/test_lua_scan.py holds it against the gateway itself."""

import json
from typing import Any

import pytest

from agentfleet.gateway.request import Refusal, read, text
from agentfleet.gateway.types import Endpoint, Request


def body(**members: Any) -> bytes:
    return json.dumps({"model": "auto", **members}).encode()


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def request(raw: bytes, endpoint: Endpoint = "chat/completions", caller: str = "", **headers: str) -> Request:
    found = read(endpoint, {name.replace("_", "-"): value for name, value in headers.items()}, raw, caller=caller)
    assert isinstance(found, Request), found
    return found


def test_a_chat() -> None:
    raw = body(messages=[{"role": "system", "content": "s"}, user("one"), user("two")], tools=[{}])
    found = request(raw)
    assert (found.model, found.last, found.tools, found.vision, found.readable) == ("auto", b"two", True, False, True)
    assert found.prompt_tokens * 4 - len(raw) in range(4)


@pytest.mark.parametrize(
    ("messages", "last"),
    [
        ([], b""),
        ([{"role": "assistant", "content": "x"}], b""),
        ([user("a"), {"role": "assistant", "content": "x"}], b"a"),
        ([user(None)], b""),
        (
            [user([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "é"}])],
            "a\né".encode(),
        ),
        ([user("a" * 9000)], b"a" * 8192),
        ([user("\ud800!")], "\ufffd!".encode()),
        ("no list", b"no list"),
        ([7, None, ["x"]], b""),
    ],
)
def test_the_last_text_of_the_user(messages: Any, last: bytes) -> None:
    assert request(body(messages=messages)).last == last


@pytest.mark.parametrize(
    ("endpoint", "members", "last"),
    [
        ("completions", {"prompt": "once"}, b"once"),
        ("completions", {"prompt": ["a", "b"]}, b"b"),
        ("completions", {"prompt": [1, 2]}, b""),
        ("embeddings", {"input": ["a", "b"]}, b"b"),
        ("responses", {"input": "hi"}, b"hi"),
        ("responses", {"input": [user([{"type": "input_text", "text": "hi"}])]}, b"hi"),
        ("responses", {"messages": [user("elsewhere")]}, b""),
    ],
)
def test_other_endpoints(endpoint: Endpoint, members: dict[str, Any], last: bytes) -> None:
    assert request(body(**members), endpoint).last == last


def test_pictures_and_tools() -> None:
    assert request(body(messages=[user([{"type": "image_url", "image_url": {}}])])).vision
    assert request(body(input=[user([{"type": "input_image"}])]), "responses").vision
    assert not request(body(messages=[user("image_url")])).vision
    assert request(body(messages=[], functions=[{}])).tools
    assert not request(body(messages=[], tools=[])).tools


def test_conversations() -> None:
    first = request(body(messages=[user("hi")]), caller="kim")
    assert first.conversation == request(body(messages=[user("hi"), user("more")]), caller="kim").conversation
    assert first.conversation != request(body(messages=[user("hi")]), caller="lee").conversation
    assert first.conversation != request(body(messages=[user("hi")], model="other"), caller="kim").conversation
    assert first.conversation != request(body(messages=[user("hi")], user="a"), caller="kim").conversation
    assert first.conversation != request(body(messages=[user("hi")], prompt_cache_key="a"), caller="kim").conversation
    named = request(body(messages=[user("hi")]), caller="kim", x_session_id="1")
    assert named.conversation == request(body(messages=[user("else")]), caller="kim", x_session_id="1").conversation


def test_a_photo_is_a_thousand_tokens() -> None:
    photo = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + "A" * 93_000}}
    found = request(body(messages=[user([{"type": "text", "text": "what is this?"}, photo])]))
    assert found.vision
    assert 1000 < found.prompt_tokens < 1100


def test_turns() -> None:
    found = request(body(messages=[user("a"), {"role": "assistant", "content": "x"}, user("b" * 300), user("c")]))
    assert (found.turns, found.first, found.second, found.last) == (3, b"a", b"b" * 256, b"c")
    assert request(body(messages=[])).turns == 0


def test_prefixes_are_of_all_messages() -> None:
    system = {"role": "system", "content": "s" * 600}
    assert request(body(messages=[system, user("a")])).prefix == request(body(messages=[system, user("b")])).prefix
    assert request(body(messages=[user("a")])).prefix != request(body(messages=[user("b")])).prefix


def test_bodies_over_the_buffer() -> None:
    long = request(body(messages=[user("x" * 300_000)]))
    assert (long.model, long.readable, long.last, long.prompt_tokens > 75_000) == ("auto", False, b"", True)
    late = json.dumps({"messages": [user("x" * 300_000)], "model": "auto"}).encode()
    assert read("chat/completions", {}, late) == Refusal("no_model")
    assert request(late, x_gateway_model_name="given").model == "given"
    assert request(b'{"model":"a","x":' + b"[" * 400_000).model == "a"


@pytest.mark.parametrize(
    ("raw", "problem", "message"),
    [
        (b"", "invalid_json", "not valid JSON"),
        (b"{" + b'"a":[' * 50_000, "invalid_json", "not valid JSON"),
        (b'{"model":NaN}', "invalid_json", "not valid JSON"),
        (b'{"model":"\xff"}', "invalid_utf8", "UTF-8"),
        (b"[]", "not_an_object", "object"),
        (b'{"model":"a","mod\\u0065l":"b"}', "duplicate_model", "more than once"),
        (b'{"model":"a","MODEL":"b"}', "duplicate_model", "another case"),
        (b'{"Model":"a"}', "duplicate_model", "another case"),
        (b'{"model":""}', "no_model", "'model'"),
        (b'{"model":"' + b"a" * 254 + b'"}', "no_model", "1 to 253 bytes"),
    ],
)
def test_refusals(raw: bytes, problem: str, message: str) -> None:
    found = read("chat/completions", {}, raw)
    assert isinstance(found, Refusal)
    assert found.problem == problem
    assert message in found.message


def test_text_resolves_escapes_and_leaves_the_rest() -> None:
    assert text(b'{"a":"x"}') == b'{"a":"x"}'
    assert text(b'["a\\n\\"\\\\n\\/\\u0041\\u00e9\\ud83d\\ude00\\ud83d"]') == '["a\n"\\n/Aé😀\ufffd"]'.encode()
