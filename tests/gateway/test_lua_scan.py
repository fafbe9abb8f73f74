"""`scan` in a real HAProxy reads requests exactly as request.py does, or refuses them with the same word."""

import random
from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentfleet.gateway.request import Refusal, read, text
from agentfleet.gateway.types import Endpoint, Match, Policy, Rule, Target
from tests.gateway.lua import bodies
from tests.gateway.lua.gateway import BUFFER, Gateway, running

TARGET = Target("t0", "small", "ModelServer", "small-1", ("model/small",))
POLICY = Policy("team", "chat", ("auto",), (TARGET,), rules=(Rule("all", Match(), ("t0",), strategy="PrefixAware"),))
ENDPOINTS: tuple[Endpoint, ...] = ("chat/completions", "completions", "embeddings", "responses")
USER = b'{"role":"user","content":'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("scan"), POLICY) as found:
        yield found


def expected(body: bytes, endpoint: Endpoint, headers: dict[str, str]) -> dict[str, Any]:
    request = read(endpoint, headers, body, caller=headers.get("x-test-caller", ""))
    if isinstance(request, Refusal):
        return {"problem": request.problem}
    return {
        "problem": "",
        "model": request.model.encode(),
        "readable": str(int(request.readable)),
        "tokens": str(request.prompt_tokens),
        "tools": str(int(request.tools)),
        "vision": str(int(request.vision)),
        "last": request.last,
        "turns": str(request.turns),
        "seed": request.first,
        "second": request.second,
        "who": request.who,
        "conversation": str(request.conversation),
        "prefix_hash": str(request.prefix),
    }


def check(gateway: Gateway, body: bytes, endpoint: Endpoint = "chat/completions", **headers: str) -> dict[str, Any]:
    """What the gateway has found, once it is what request.py finds."""
    found = gateway.scan(body, endpoint, **headers)
    wanted = expected(body, endpoint, {name.replace("_", "-"): value for name, value in headers.items()})
    assert {name: found[name] for name in wanted} == wanted, body[:300]
    if not found["problem"] and b"\\" in body:
        assert found["text"] == text(body), body[:300]
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(bodies.REQUESTS, min_size=5, max_size=5), st.integers(0, 2**32), st.sampled_from(ENDPOINTS))
def test_generated_requests(gateway: Gateway, values: list[Any], seed: int, endpoint: Endpoint) -> None:
    rng = random.Random(seed)  # noqa: S311 - a test's choices
    for value in values:
        body = bodies.written(value, rng).encode()
        check(gateway, body, endpoint)
        for _ in range(3):
            check(gateway, bodies.damaged(body, rng), endpoint)


@pytest.mark.parametrize("hostile", bodies.HOSTILE, ids=repr)
def test_hostile_bytes_everywhere(gateway: Gateway, hostile: bytes) -> None:
    whole = b'{"a":[1,"x"],"model":"auto","messages":[{"role":"user","content":"hi"}]}'
    for at in range(len(whole) + 1):
        check(gateway, whole[:at] + hostile + whole[at:])


def test_every_truncation(gateway: Gateway) -> None:
    whole = (
        b'{"messages": [{"role":"system","content":"be \\"brief\\""}, {"role":"user","content":[{"type":"text",'
        b'"text":"\\ud83d\\ude00"},{"type":"image_url","image_url":{"url":"x"}}]}],\n"model":"auto","t":-1.5e-3,"n":null}'
    )
    for end in range(len(whole)):
        assert check(gateway, whole[:end])["problem"] == "invalid_json"
    assert check(gateway, whole)["last"] == "😀".encode()


def test_every_byte_in_a_text(gateway: Gateway) -> None:
    for byte in range(256):
        check(gateway, b'{"model":"auto","messages":[{"role":"user","content":"a%cb"}]}' % byte)
        check(gateway, b'{"model":"auto","messages":[{"role":"user","content":"a\\%cb"}]}' % byte)
        check(gateway, b'{"model":"auto",%c"messages":[]}' % byte)


def test_every_utf16_unit(gateway: Gateway) -> None:
    edges = (0, 0x1F, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xFFFF)
    units = [f"\\u{unit:04x}" for unit in edges]
    for one in units:
        for other in units:
            check(gateway, f'{{"model":"auto","messages":[{{"role":"user","content":"{one}{other}x"}}]}}'.encode())


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_depth(gateway: Gateway, opening: bytes) -> None:
    levels = len(opening.replace(b'"a":', b""))
    closing = opening.replace(b'"a":', b"")[::-1].translate(bytes.maketrans(b"[{", b"]}"))
    problems = {
        depth: check(gateway, b'{"model":"auto","x":' + opening * depth + b"1" + closing * depth + b"}")["problem"]
        for depth in range(28, 80)
    }
    assert [depth for depth, problem in problems.items() if not problem][-1] == 63 // levels
    check(gateway, b'{"model":"auto","x":' + opening * 40_000)


@pytest.mark.parametrize("many", [b"[],", b'"",', b"{},", b'"\\n",', b'{"a":0},', b"-1.5e+9,"])
def test_long_bodies_of_small_things(gateway: Gateway, many: bytes) -> None:
    """HAProxy interrupts the walk over them again and again: nothing may be lost by that."""
    values = many * (110_000 // len(many))
    assert check(gateway, b'{"x":[' + values + b'0],"model":"auto"}')["model"] == b"auto"
    assert check(gateway, b'{"x":[' + values + b'],"model":"auto"}')["problem"] == "invalid_json"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "invalid_json"),
        (b"null", "not_an_object"),
        (b'[{"model":"auto"}]', "not_an_object"),
        (b"{}", "no_model"),
        (b'{"model":""}', "no_model"),
        (b'{"model":7}', "no_model"),
        (b'{"a":{"model":"auto"}}', "no_model"),
        (b'{"model":"a","model":"a"}', "duplicate_model"),
        (b'{"model":"a","\\u006dodel":"b"}', "duplicate_model"),
        (b'{"model":"a","MODEL":"b"}', "duplicate_model"),
        (b'{"Model":"a"}', "duplicate_model"),
        (b'{"model":"a","x":{"Model":"b"},"Modem":"c","models":[]}', ""),
        (b'{"model":"' + b"a" * 253 + b'"}', ""),
        (b'{"model":"' + b"a" * 254 + b'"}', "no_model"),
        (b'{"model":"' + "é".encode() * 127 + b'"}', "no_model"),
        (b'{"model":"' + b"a" * 100_000 + b'"}', "no_model"),
        (b'{"model":"' + b"\\u0061" * 254 + b'"}', "no_model"),
        (b'{"model":"a"} {"model":"b"}', "invalid_json"),
        (b'{"model":"a",}', "invalid_json"),
        (b'{"model":"a" "b":1}', "invalid_json"),
        (b'{"model":"a\nb"}', "invalid_json"),
        (b'{"model":"\xff"}', "invalid_utf8"),
        (b'\xef\xbb\xbf{"model":"a"}', "invalid_json"),
    ],
)
def test_problems(gateway: Gateway, body: bytes, problem: str) -> None:
    assert check(gateway, body)["problem"] == problem


def test_a_header_names_the_model(gateway: Gateway) -> None:
    found = check(gateway, b'{"messages":[]}', x_gateway_model_name="given")
    assert (found["model"], found["problem"]) == (b"given", "")
    assert check(gateway, b'{"model":"auto"}', x_gateway_model_name="given")["model"] == b"given"
    assert check(gateway, b'{"model":"a","model":"b"}', x_gateway_model_name="given")["problem"] == "duplicate_model"


def test_long_model_ids_are_nobodys(gateway: Gateway) -> None:
    """They would fill the audit line."""
    for body in (b'{"model":"auto"}', b'{"messages":[]}'):
        found = check(gateway, body, x_gateway_model_name="x" * 254)
        assert (found["model"], found["problem"]) == (b"", "no_model")
    assert check(gateway, b'{"model":"auto"}', x_gateway_model_name="x" * 253)["model"] == b"x" * 253
    twice = b'{"model":"a","model":"' + b"x" * 254 + b'"}'
    assert gateway.scan(twice)["model"] == b""


@pytest.mark.parametrize(
    ("url", "files"),
    [
        (b"data:image/png;base64," + b"A" * 4096, 1),
        (b"data:image/png;base64," + b"\\/+9=" * 4_000, 1),
        (b"data:application/pdf;name=a.pdf;base64," + b"A" * 5000, 1),
        (b"data:;base64," + b"A" * 4096, 1),
        (b"data:image/png;base64," + b"A" * 4095, 0),
        (b"data:image/png;base64," + b"A" * 4096 + b" ", 0),
        (b"data:text/plain," + b"A" * 5000, 0),
        (b"data:a,;base64," + b"A" * 5000, 0),
        (b"https://" + b"A" * 5000, 0),
    ],
)
def test_files_are_not_as_many_tokens_as_their_letters(gateway: Gateway, url: bytes, files: int) -> None:
    part = b'{"type":"image_url","image_url":{"url":"' + url + b'"}}'
    text = b'{"type":"text","text":"what is this?"}'
    for parts in ([part], [text, part], [part, part, text]):
        body = b'{"model":"auto","messages":[' + USER + b"[" + b",".join(parts) + b"]}]}"
        tokens = int(check(gateway, body)["tokens"])
        count = files * parts.count(part)
        assert tokens >= 1000 * count
        assert (tokens == -(-len(body) // 4)) is (count == 0)


def test_turns_and_who_asks(gateway: Gateway) -> None:
    begin = b'{"model":"auto","messages":[' + USER + b'"one"}'
    second = b',{"role":"assistant","content":"x"},' + USER + b'"t\\u0077o"},' + USER + b'""}]'
    found = check(gateway, begin + second + b',"user":"\\u006bim","prompt_cache_key":"k"}')
    assert (found["turns"], found["seed"], found["second"], found["who"]) == ("3", b"one", b"two", b"kim|k")
    assert check(gateway, begin + b'],"user":"a","user":7}')["who"] == b""
    assert check(gateway, begin + b'],"prompt_cache_key":"k"}')["who"] == b"|k"
    assert check(gateway, begin + b'],"user":"' + b"\\u00e9" * 300 + b'"}')["who"] == "é".encode() * 128 + b"|"
    assert check(gateway, begin + b'],"messages":[]}')["turns"] == "0"
    conversations = {check(gateway, begin + b'],"user":"%d"}' % who)["conversation"] for who in range(3)}
    assert len(conversations) == 3


def test_conversations(gateway: Gateway) -> None:
    first = b'{"model":"auto","messages":[' + USER + b'"hello \\u0000 there"}'
    one = check(gateway, first + b"]}", x_test_caller="kim")
    later = check(gateway, first + b',{"role":"assistant","content":"x"},' + USER + b'"more"}]}', x_test_caller="kim")
    other = check(gateway, first + b"]}", x_test_caller="lee")
    named = check(gateway, first + b"]}", x_test_caller="kim", x_session_id="s-1")
    assert one["conversation"] == later["conversation"] != other["conversation"]
    assert named["conversation"] == str(crc32(b"kim|s|s-1"))


@pytest.mark.parametrize("size", [255, 256, 257, 511, 513, 8191, 8193, 60_000])
@pytest.mark.parametrize("character", ["a", "é", "😀", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\ud83d"])
def test_long_texts_are_cut(gateway: Gateway, size: int, character: str) -> None:
    for shift in ("", "b", "bc", "bcd"):
        content = (shift + character * (size // len(character))).encode()
        found = check(gateway, b'{"model":"auto","messages":[' + USER + b'"' + content + b'"}]}')
        assert len(found["last"]) <= 8192


def _chunks(body: bytes, size: int) -> Iterable[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def test_ten_megabytes_are_not_read(gateway: Gateway) -> None:
    body = b'{"model":"auto","messages":[' + USER + b'"' + b"x" * 10_485_000 + b'"}]}'
    found = check(gateway, body)
    assert (found["readable"], found["model"], found["last"]) == ("0", b"auto", b"")
    late = b'{"messages":[' + USER + b'"' + b"x" * BUFFER + b'"}],"model":"auto"}'
    assert check(gateway, late)["problem"] == "no_model"
    assert check(gateway, late, x_gateway_model_name="auto")["readable"] == "0"
    twice = b'{"model":"auto","model":"b","x":"' + b"x" * BUFFER + b'"}'
    assert check(gateway, twice)["problem"] == "duplicate_model"


@pytest.mark.parametrize("size", [10, 1000, 16_384, 65_536])
def test_chunks_are_a_body_like_any_other(gateway: Gateway, size: int) -> None:
    """Without Content-Length, too, a body that is there whole is read, and one that is not is said to be unread."""
    headers = {"x-test-endpoint": "chat/completions", "transfer-encoding": "chunked"}
    for length, readable in ((100_000, b"readable=1"), (BUFFER - 20_000, b"readable=1"), (BUFFER * 2, b"readable=0")):
        body = b'{"model":"auto","messages":[' + USER + b'"' + b"x" * length + b'"}]}'
        answer = gateway.post("/scan", _chunks(body, size), headers)
        assert b"problem=;" in answer.body
        assert readable in answer.body


def test_a_chunked_body_that_breaks_off_is_refused(gateway: Gateway) -> None:
    headers = {"x-test-endpoint": "chat/completions", "transfer-encoding": "chunked"}
    answer = gateway.post("/scan", [b'{"model":"auto",'], headers)
    assert b"problem=invalid_json;" in answer.body
