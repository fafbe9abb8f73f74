"""Requests as clients write them, and as nobody should: JSON written in many ways, then damaged."""

import json
import random
from typing import Any

from hypothesis import strategies as st


class _Object(list[tuple[str, Any]]):
    """A JSON object, its members in order; one may come twice."""


WORDS = st.sampled_from(["user", "system", "assistant", "text", "image_url", "input_image", "input_text", "auto", ""])
CHARACTERS = st.sampled_from(["😀", "\x00", "\x7f", 'say "hi"', "a\\b", "a/b", "\n\t\r", "é" * 300])
TEXTS = WORDS | st.text(max_size=40) | CHARACTERS
NAMES = st.sampled_from(
    [
        *("model", "Model", "messages", "prompt", "input", "stream", "tools", "functions", "role", "content", "type"),
        *("text", "user", "prompt_cache_key"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(NAMES | TEXTS, inner), max_size=4).map(_Object),
    max_leaves=12,
)


def _objects(*members: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[_Object]:
    return st.tuples(*members).flatmap(st.permutations).map(_Object)


def _member(name: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.tuples(st.just(name), value)


PARTS = _objects(_member("type", WORDS), _member("text", TEXTS | VALUES)) | VALUES
MESSAGES = (
    _objects(_member("role", WORDS), _member("content", TEXTS | st.lists(PARTS, max_size=4)), st.tuples(NAMES, VALUES))
    | VALUES
)
REQUESTS = (
    _objects(
        _member("model", st.just("auto") | VALUES),
        _member("messages", st.lists(MESSAGES, max_size=4)),
        _member("tools", st.lists(VALUES, max_size=2)),
        st.tuples(NAMES | TEXTS, VALUES),
    )
    | _objects(
        _member("model", TEXTS),
        _member("prompt", TEXTS | st.lists(TEXTS, max_size=3)),
        _member("input", TEXTS | st.lists(MESSAGES, max_size=3)),
    )
    | VALUES
)


def written(value: Any, rng: random.Random) -> str:
    """`value` as JSON, with white space and escapes by chance."""
    if isinstance(value, _Object):
        members = (_around(written(name, rng), rng) + ":" + _around(written(each, rng), rng) for name, each in value)
        return "{" + ",".join(members) + _space(rng) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_around(written(each, rng), rng) for each in value) + _space(rng) + "]"
    if isinstance(value, str):
        return '"' + "".join(_character(each, rng) for each in value) + '"'
    return json.dumps(value)


def _space(rng: random.Random) -> str:
    return rng.choice([" ", "\n", "\r\n\t", "  "]) if rng.random() < 0.1 else ""


def _around(text: str, rng: random.Random) -> str:
    return _space(rng) + text + _space(rng)


def _character(character: str, rng: random.Random) -> str:
    escaped = json.dumps(character)[1:-1]
    if escaped == character and rng.random() > 0.1:
        return character
    if rng.random() < 0.3:
        units = character.encode("utf-16-be", "surrogatepass")
        digits = (units[at : at + 2].hex() for at in range(0, len(units), 2))
        return "".join("\\u" + rng.choice([each, each.upper()]) for each in digits)
    if character == "/":
        return "\\/"
    return character if character > "\x7f" else escaped


HOSTILE = [
    b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\n", b"\t", b"\x1f", b"\x7f", b"\xff", b"\xc0\xaf",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\u", b"\\ud83d", b"\\ude00", b"\\u00zz", b"\\x", b"NaN",
    b"-", b"01", b"1.", b".5", b"1e", b"1E+", b"Infinity", b"-Infinity", b"tru", b"nulll", b"'", b"//", b"\x0b",
    b"\x0c", b'"model":"b",', b'"mod\\u0065l":"c",', b'"MODEL":"d",', b'"user":"e",',
    b"[" * 70, b'{"a":' * 70, b"\\\\", b'\\"', b'\\\\"',
]  # fmt: skip


def damaged(body: bytes, rng: random.Random) -> bytes:
    """`body` cut off, with a part taken out, or with something in it that does not belong there."""
    at = rng.randrange(len(body) + 1)
    return rng.choice(
        [
            body[:at],
            body[:at] + body[at + rng.randrange(1, 4) :],
            body[:at] + rng.choice(HOSTILE) + body[at:],
            body + rng.choice(HOSTILE),
            rng.choice(HOSTILE) + body,
        ]
    )
