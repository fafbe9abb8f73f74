"""What OpenAI's API answers, whole and streamed: the forms that clients check, around a few words that mean nothing.

Pure, and of the standard library alone: `scripted.py` sends this, also from a pod that has these two files only.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

KINDS = ("chat/completions", "completions", "embeddings", "responses")
_DIMENSIONS = 64
_DEFAULT_TOKENS = 4
_MOST_TOKENS = 100_000

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What is said where the text matters: as the message of a chat, whole or in words."""

    text: str = ""
    """{result} stands for what the last tool has answered, which a model repeats in its own words."""
    calls: tuple[tuple[str, str], ...] = ()
    """Tools that are called: name and arguments, as the JSON text that the model would write, sound or not."""
    finish: str = ""
    """The finish_reason; "" is `tool_calls` with calls, else `stop`."""
    tokens: tuple[int, int] | None = None
    """prompt and completion tokens of the usage, where they matter."""

    @classmethod
    def of(cls, told: Json) -> Reply:
        """As JSON: {"text": …, "calls": [[name, arguments], …], "finish": …, "tokens": [7, 3]}."""
        tokens = told.get("tokens")
        return cls(
            text=str(told.get("text", "")),
            calls=tuple((str(name), str(arguments)) for name, arguments in told.get("calls", ())),
            finish=str(told.get("finish", "")),
            tokens=(int(tokens[0]), int(tokens[1])) if tokens else None,
        )

    def to(self, body: Json) -> Reply:
        """What is said to a request."""
        results = [str(each.get("content")) for each in body.get("messages", ()) if each.get("role") == "tool"]
        return replace(self, text=self.text.replace("{result}", results[-1])) if results else self


@dataclass(frozen=True)
class Answer:
    """The answer to one request."""

    kind: str
    """One of KINDS."""
    number: int
    """Tells answers apart, in their ids."""
    created: int
    """When, in seconds of the epoch."""
    body: Json
    """Of the request."""
    size: int
    """Of the request, in bytes."""
    about: Json
    """Stands in the answer as `scripted`."""
    wanted_tokens: int = 0
    """0: as many as the request allows."""
    calls_tool: bool = False
    reply: Reply | None = None
    """Said instead of words without meaning, in a chat."""

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def is_stream(self) -> bool:
        return self.kind != "embeddings" and bool(self.body.get("stream"))

    @cached_property
    def words(self) -> list[str]:
        """The answer's text, a token each."""
        if self.reply is not None:
            return re.findall(r"\s*\S+\s*?|\s+", self.reply.text) or [""]
        names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
        allowed = next((self.body[name] for name in names if isinstance(self.body.get(name), int)), _DEFAULT_TOKENS)
        return [f"w{index} " for index in range(max(1, min(self.wanted_tokens or allowed, _MOST_TOKENS)))]

    @property
    def calls(self) -> tuple[tuple[str, str], ...]:
        """Tools that a chat calls, and their arguments."""
        if self.reply is not None:
            return self.reply.calls
        return ((self.tool, "{}"),) if self.tool else ()

    @property
    def tool(self) -> str | None:
        """The first tool of a chat's request, where one is to be called."""
        tools = self.body.get("tools") if self.calls_tool and self.kind == "chat/completions" else None
        return str(tools[0]["function"]["name"]) if tools else None

    def whole(self) -> Json:
        """Not streamed."""
        forms = {
            "chat/completions": self._chat,
            "completions": self._completion,
            "embeddings": self._embeddings,
            "responses": self._response,
        }
        return {**forms[self.kind](), "scripted": self.about}

    def pieces(self) -> list[str]:
        """Streamed: what is sent with each token. Before the first and after the last one comes what is no token."""
        first, tokens, last = self._response_events() if self.kind == "responses" else self._chunks()
        tokens[0] = first + tokens[0]
        tokens[-1] += last
        return tokens

    def _head(self, *, chunk: bool = False) -> Json:
        prefix, name = (
            ("chatcmpl", "chat.completion") if self.kind == "chat/completions" else ("cmpl", "text_completion")
        )
        if chunk and self.kind == "chat/completions":
            name += ".chunk"
        return {"id": f"{prefix}-{self.number}", "object": name, "created": self.created, "model": self.model}

    def _usage(self) -> Json:
        prompt, completion = -(-self.size // 4), len(self.words)
        if self.reply is not None and self.reply.tokens is not None:
            prompt, completion = self.reply.tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _finish(self) -> str:
        if self.reply is not None and self.reply.finish:
            return self.reply.finish
        return "tool_calls" if self.calls else "length" if self.reply is None else "stop"

    def _tool_calls(self, *, streamed: bool = False) -> list[Json]:
        return [
            {
                **({"index": index} if streamed else {}),
                "id": f"call_{self.number}_{index}" if index else f"call_{self.number}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for index, (name, arguments) in enumerate(self.calls)
        ]

    def _chat(self) -> Json:
        message: Json = {"role": "assistant", "content": "".join(self.words)}
        if self.calls:
            said = self.reply.text if self.reply is not None and self.reply.text else None
            message = {"role": "assistant", "content": said, "tool_calls": self._tool_calls()}
        choice = {"index": 0, "message": message, "finish_reason": self._finish(), "logprobs": None}
        return {**self._head(), "choices": [choice], "usage": self._usage()}

    def _completion(self) -> Json:
        choice = {"index": 0, "text": "".join(self.words), "finish_reason": self._finish(), "logprobs": None}
        return {**self._head(), "choices": [choice], "usage": self._usage()}

    def _chunks(self) -> tuple[str, list[str], str]:
        chunks = [self._chunk(token) for token in self._tokens()]
        chunks[0]["scripted"] = self.about
        last = [self._chunk({"text": ""} if self.kind == "completions" else {"delta": {}}, self._finish())]
        if (self.body.get("stream_options") or {}).get("include_usage"):
            last.append({**self._head(chunk=True), "choices": [], "usage": self._usage()})
        return "", [_event(chunk) for chunk in chunks], "".join(map(_event, last)) + "data: [DONE]\n\n"

    def _tokens(self) -> list[Json]:
        if self.kind == "completions":
            return [{"text": word} for word in self.words]
        deltas: list[Json] = [{"content": word} for word in self.words]
        if self.calls:
            said = deltas if self.reply is not None and self.reply.text else []
            deltas = [*said, {"tool_calls": self._tool_calls(streamed=True)}]
        deltas[0]["role"] = "assistant"
        return [{"delta": delta} for delta in deltas]

    def _chunk(self, content: Json, finish: str | None = None) -> Json:
        return {**self._head(chunk=True), "choices": [{"index": 0, **content, "finish_reason": finish}]}

    def _response(self, status: str = "completed") -> Json:
        usage = self._usage()
        text = {"type": "output_text", "text": "".join(self.words), "annotations": []}
        message = {"id": "msg_0", "type": "message", "role": "assistant", "status": status, "content": [text]}
        return {
            "id": f"resp_{self.number}",
            "object": "response",
            "created_at": self.created,
            "model": self.model,
            "status": status,
            "output": [message] if status == "completed" else [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": self.body.get("tools") or [],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
            },
        }

    def _response_events(self) -> tuple[str, list[str], str]:
        delta: Json = {"item_id": "msg_0", "output_index": 0, "content_index": 0, "logprobs": []}
        told: list[tuple[str, Json]] = [
            ("response.created", {"response": {**self._response("in_progress"), "scripted": self.about}}),
            *(("response.output_text.delta", {**delta, "delta": word}) for word in self.words),
            ("response.completed", {"response": self.whole()}),
        ]
        first, *tokens, last = [
            _event({"type": name, "sequence_number": number, **content}, name)
            for number, (name, content) in enumerate(told)
        ]
        return first, tokens, last

    def _embeddings(self) -> Json:
        given = self.body.get("input")
        texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
        encode = _encoded if self.body.get("encoding_format") == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": encode(_vector(str(text)))}
            for index, text in enumerate(texts)
        ]
        usage = {name: self._usage()["prompt_tokens"] for name in ("prompt_tokens", "total_tokens")}
        return {"object": "list", "model": self.model, "data": data, "usage": usage}


def error(status: int, message: str) -> Json:
    """An error in OpenAI's form."""
    types = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    return {"error": {"message": message, "type": types.get(status, "server_error"), "param": None, "code": status}}


def models(names: list[str]) -> Json:
    """The list of models."""
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "scripted"} for name in names],
    }


def _event(content: Json, name: str = "") -> str:
    """A server-sent event."""
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(content)}\n\n"


def _vector(text: str) -> list[float]:
    """The words of a text, thrown into a few bins: texts that share words lie close together, as with real models."""
    bins = [0.0] * _DIMENSIONS
    for word in text.lower().split():
        bins[zlib.crc32(word.encode()) % _DIMENSIONS] += 1.0
    length = sum(each * each for each in bins) ** 0.5
    return [each / length for each in bins] if length else bins


def _encoded(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
