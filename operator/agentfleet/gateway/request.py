"""Reads OpenAI requests as the gateway does: the Python twin of agentroute_scan.lua, for explain, dry runs and tests.

    path, headers, body ─ read ─▶ Request | Refusal ─▶ policy.py

Strict on purpose: what two JSON readers could understand differently is refused. Pure; classifies nothing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal
from zlib import crc32

from agentfleet.gateway.types import Endpoint, Request

Problem = Literal["invalid_utf8", "invalid_json", "not_an_object", "duplicate_model", "no_model"]

MODEL_HEADER = "x-gateway-model-name"
"""Where a body-based router of the Gateway API has put the model id; it wins over the body's."""
SESSION_HEADER = "x-session-id"
BUFFER = 256 * 1024
"""Bytes of a body that are read, where the layout does not say otherwise."""

_LAST_BYTES = 8192
_SEED_BYTES = 256
_MODEL_BYTES = 253
"""Of the longest model id of the contract. Longer ones are nobody's, and have no place in a log."""
_PREFIX_BYTES = 512
_FILE_BYTES = 4096
_FILE_TOKENS = 1000
"""A picture of usual size. What it really was is told by the target's usage."""
_MAX_DEPTH = 64
_CONVERSATIONS: dict[Endpoint, str] = {
    "chat/completions": "messages",
    "completions": "prompt",
    "embeddings": "input",
    "responses": "input",
}
_PICTURES = ("image_url", "input_image")
_WHO = ("user", "prompt_cache_key")
_MESSAGES: dict[Problem, str] = {
    "invalid_utf8": "The request body is not valid UTF-8",
    "invalid_json": "The request body is not valid JSON",
    "not_an_object": "The request body must be a JSON object",
    "duplicate_model": "The request body has the member 'model' more than once, or in another case",
    "no_model": f"The request body must have the member 'model', a string of 1 to {_MODEL_BYTES} bytes",
}
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
_OPENING = re.compile(r"[ \t\r\n]*\{[ \t\r\n]*")
_KEY = re.compile(r'("(?:[^"\\]|\\.)*+")[ \t\r\n]*:[ \t\r\n]*')
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_ESCAPE = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.")
_FILE = re.compile(rb'"data:[A-Za-z0-9/+.;=-]*;base64,([A-Za-z0-9+/=\\]*)"')
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Refusal:
    """A request that no model gets: HTTP 400."""

    problem: Problem

    @property
    def message(self) -> str:
        return _MESSAGES[self.problem]


@dataclass(frozen=True)
class _Object:
    """A JSON object, its members in order, doubles included."""

    members: tuple[tuple[str, Any], ...]


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=lambda pairs: _Object(tuple(pairs)),
    parse_int=lambda _: 0,  # no number matters here, and long ones would be slow
    parse_float=lambda _: 0.0,
    parse_constant=_no_number,
)


class _Conversation:
    """What is said in a request. Where a member comes twice the last one counts, as for other readers."""

    def __init__(self, value: Any) -> None:
        self.vision = False
        self.everything: list[str] = []
        self.by_user: list[str] = []
        for message in value if isinstance(value, list) else [value]:
            self._take(message)

    def _take(self, message: Any) -> None:
        by_user, text = isinstance(message, str), message
        if isinstance(message, _Object):
            text = ""
            for name, value in message.members:
                if name == "role":
                    by_user = value == "user"
                elif name == "content":
                    text = self._text(value)
        if isinstance(text, str):
            self.everything.append(text)
            if by_user:
                self.by_user.append(text)

    def _text(self, content: Any) -> str:
        if isinstance(content, list):
            parts = [self._part(part) for part in content]
            return "\n".join(part for part in parts if part is not None)
        return content if isinstance(content, str) else ""

    def _part(self, part: Any) -> str | None:
        text = part
        if isinstance(part, _Object):
            text = None
            for name, value in part.members:
                if name == "text":
                    text = value
                elif name == "type":
                    self.vision |= value in _PICTURES
        return text if isinstance(text, str) else None


def read(
    endpoint: Endpoint, headers: Mapping[str, str], body: bytes, *, caller: str = "", buffer: int = BUFFER
) -> Request | Refusal:
    """The request that `body` is; names of `headers` are in lower case. What classifies it, and what is known of its
    caller, is filled in by others."""
    readable = len(body) <= buffer
    document = _whole(body) if readable else _first_part(body[:buffer])
    if not isinstance(document, _Object):
        return Refusal(document)
    models = [value for name, value in document.members if name == "model"]
    if len(models) > 1 or any(name != "model" and name.lower() == "model" for name, _ in document.members):
        return Refusal("duplicate_model")  # servers written in Go take "Model" for "model"
    in_body = _text(models[0]).decode() if models and isinstance(models[0], str) else ""
    model = headers.get(MODEL_HEADER) or in_body
    if not 0 < len(model.encode(errors="surrogateescape")) <= _MODEL_BYTES:
        return Refusal("no_model")
    request = Request(model, endpoint, readable=readable, prompt_tokens=-(-len(body) // 4), headers=dict(headers))
    if readable:
        request = replace(_with_texts(request, document), prompt_tokens=_tokens(body))
    return replace(request, conversation=crc32(conversation_key(request, caller)))


def _with_texts(request: Request, document: _Object) -> Request:
    """The request with what is said in it."""
    said = _Conversation(None)
    for name, value in document.members:
        if name == _CONVERSATIONS[request.endpoint]:
            said = _Conversation(value)
    tools = [value for name, value in document.members if name in ("tools", "functions")]
    return replace(
        request,
        tools=any(isinstance(value, list) and value for value in tools),
        vision=said.vision,
        last=_text(said.by_user[-1])[:_LAST_BYTES] if said.by_user else b"",
        prefix=crc32(_text("\n".join(said.everything))[:_PREFIX_BYTES]),
        first=_text(said.by_user[0])[:_SEED_BYTES] if said.by_user else b"",
        second=_text(said.by_user[1])[:_SEED_BYTES] if len(said.by_user) > 1 else b"",
        turns=len(said.by_user),
        who=_who(document),
    )


def _tokens(body: bytes) -> int:
    """About how many tokens a body is. A file in it, as a data: URL, has nothing to do with its length in base64."""
    files = [size for match in _FILE.finditer(body) if (size := len(match[1])) >= _FILE_BYTES]
    return -(-(len(body) - sum(files)) // 4) + _FILE_TOKENS * len(files)


def _who(document: _Object) -> bytes:
    """Whom an application asks for, as it says itself."""
    members = dict(document.members)
    said = [_text(value)[:_SEED_BYTES] if isinstance(value := members.get(name), str) else b"" for name in _WHO]
    return b"|".join(said) if any(said) else b""


def conversation_key(request: Request, caller: str) -> bytes:
    """What requests of one conversation have in common: the session that the client names, else how it began."""
    if session := request.headers.get(SESSION_HEADER):
        return f"{caller}|s|{session}".encode(errors="surrogateescape")
    return b"|".join((f"{caller}|{request.model}".encode(errors="surrogateescape"), request.first, request.who))


def text(body: bytes) -> bytes:
    """A body with its escapes resolved: what patterns of sensitivity are looked for in. Structure stays as it is."""
    return _ESCAPE.sub(_resolved, body)


def _resolved(escape: re.Match[bytes]) -> bytes:
    return _text(json.loads(f'"{escape[0].decode()}"'))


def _text(value: str) -> bytes:
    """UTF-8. Half of a surrogate pair, which only an escape can make, becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", value).encode()


def _whole(body: bytes) -> _Object | Problem:
    try:
        document = body.decode()
    except UnicodeDecodeError:
        return "invalid_utf8"
    if _depth(body) > _MAX_DEPTH:
        return "invalid_json"
    try:
        value = _DECODER.decode(document)
    except ValueError:
        return "invalid_json"
    return value if isinstance(value, _Object) else "not_an_object"


def _depth(body: bytes) -> int:
    """How deep arrays and objects are nested. Looked at first: the parser would use up its stack."""
    steps = (_STEPS.get(match[0], 0) for match in _BRACKETS.finditer(body))
    return max(accumulate(steps), default=0)


def _first_part(part: bytes) -> _Object:
    """The members that are whole in the first part of a long body."""
    rest = part.decode(errors="replace")
    members: list[tuple[str, Any]] = []
    opening = _OPENING.match(rest)
    at = opening.end() if opening else len(rest)
    try:
        while key := _KEY.match(rest, at):
            name = _DECODER.raw_decode(key[1])[0]
            value, at = _DECODER.raw_decode(rest, key.end())
            members.append((name, value))
            at = comma.end() if (comma := _COMMA.match(rest, at)) else len(rest)
    except (ValueError, RecursionError):
        return _Object(tuple(members))  # the rest is cut off, or is no JSON: whoever gets it will say so
    return _Object(tuple(members))
