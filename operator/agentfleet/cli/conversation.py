"""One conversation with an agent, turn by turn, as OpenAI chat completions: the agent keeps it under a session's id.

Text is passed on as it comes. A turn may end with calls of tools that wait for a person: `decide` goes on with them.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agentfleet.errors import AgentfleetError

_CONNECT = 10.0
_MAX_LINE = 1 << 20


class NoAnswer(AgentfleetError):
    """The agent, or what stands before it, refused or broke off."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool that waits for a person."""

    id: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the person decided."""

    id: str
    approved: bool
    reason: str = ""


@dataclass(slots=True)
class Turn:
    """What one request was answered."""

    text: str = ""
    finish: str = ""
    """OpenAI's finish_reason; `fallback` where the agent says that it failed."""
    calls: list[Call] = field(default_factory=list)
    usage: Mapping[str, int] = field(default_factory=dict)
    request: str = ""
    """The request's id, as in log and audit."""


class Conversation:
    """A client of one session."""

    def __init__(self, http: aiohttp.ClientSession, url: str, model: str, said: Callable[[str], None]) -> None:
        """`said` is given each piece of text as it comes."""
        self._http = http
        self._url = url.rstrip("/") + "/chat/completions"
        self._model = model
        self._said = said

    async def ask(self, text: str) -> Turn:
        """A message of the user."""
        return await self._turn([{"role": "user", "content": text}])

    async def decide(self, verdicts: Sequence[Verdict]) -> Turn:
        """What was decided about the calls of the last turn."""
        told = ((each.id, json.dumps(_verdict(each))) for each in verdicts)
        return await self._turn([{"role": "tool", "tool_call_id": call, "content": content} for call, content in told])

    async def _turn(self, messages: list[dict[str, Any]]) -> Turn:
        body = {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            async with self._http.post(self._url, json=body) as response:
                request = response.headers.get("x-request-id", "")
                if response.status >= 400:
                    raise NoAnswer(_refusal(response.status, await response.read(), request))
                return await self._read(response.content, request)
        except TimeoutError as error:
            raise NoAnswer("no answer in time; see limits.timeout, and --timeout here") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(f"the connection broke: {error}") from error

    async def _read(self, stream: aiohttp.StreamReader, request: str) -> Turn:
        turn = Turn(request=request)
        async for line in stream:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                return turn
            try:
                event = json.loads(data)
            except ValueError as error:
                raise NoAnswer(f"not an answer of an agent: {data[:100].decode(errors='replace')}") from error
            if "error" in event:
                raise NoAnswer(_said_error(event["error"], request))
            self._take(turn, event)
        raise NoAnswer("the stream ended before [DONE]")

    def _take(self, turn: Turn, event: Mapping[str, Any]) -> None:
        turn.usage = event.get("usage") or turn.usage
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            text = delta.get("content")
            if text:
                turn.text += text
                self._said(text)
            turn.calls += [_call(each) for each in delta.get("tool_calls") or ()]
            turn.finish = choice.get("finish_reason") or turn.finish
        turn.finish = (event.get("agentfleet") or {}).get("finish") or turn.finish


@asynccontextmanager
async def conversation(
    url: str, *, model: str, session: str, token: str | None, timeout: float, said: Callable[[str], None]
) -> AsyncIterator[Conversation]:
    """A client for the time of the block; `timeout` is how long nothing may come."""
    headers = {"x-session-id": session} | ({"Authorization": f"Bearer {token}"} if token else {})
    waits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=timeout)
    # a person thinks for longer than a server keeps an idle connection
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(
        headers=headers, timeout=waits, connector=connector, read_bufsize=_MAX_LINE
    ) as http:
        yield Conversation(http, url, model, said)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    if verdict.approved:
        return {"approved": True}
    return {"approved": False, "reason": verdict.reason} if verdict.reason else {"approved": False}


def _call(told: Mapping[str, Any]) -> Call:
    function = told.get("function") or {}
    return Call(str(told.get("id", "")), str(function.get("name", "")), str(function.get("arguments", "")))


def _refusal(status: int, data: bytes, request: str) -> str:
    try:
        error = json.loads(data)["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": data[:200].decode(errors="replace").strip() or "no words"}
    return f"HTTP {status}: {_said_error(error, request)}"


def _said_error(error: Any, request: str) -> str:
    told = error if isinstance(error, dict) else {"message": str(error)}
    code = f"{told['code']}: " if told.get("code") else ""
    behind = f" (request {request})" if request else ""
    return f"{code}{told.get('message', 'no words')}{behind}"
