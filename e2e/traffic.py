"""Steady traffic on a model server, and what became of every request: whole, failed or truncated.

Open loop: requests begin at a fixed rate, whatever has become of those before, each over a connection of its own and
never tried again, as the strictest of clients would. It speaks plain HTTP, because a client library hides what is to be
seen here: whether an answer ended as it should. Nothing here knows Kubernetes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from e2e.chat import QUESTION

Kind = Literal["stream", "short"]
Fate = Literal["whole", "failed", "truncated"]

PATIENCE = 60.0
"""Seconds without a byte after which a client gives up."""
# Deterministic, and as long as was asked for: a model with random weights says one token over and over, which Ollama
# takes for a fault (it breaks off after 30), and may end at any moment. Ollama does not know ignore_eos and needs none.
_SAMPLING = {"temperature": 0, "frequency_penalty": 1.0, "ignore_eos": True}
_CONNECT = 10.0
_PERIOD = 0.1
_REPOSITORY = Path(__file__).resolve().parents[1]


class Broken(Exception):
    """An answer that is not as it should be."""


@dataclass(frozen=True)
class Rate:
    """What is asked for: streams and short requests per second, and tokens of each."""

    streams: float = 1.0
    stream_tokens: int = 32
    shorts: float = 1.0
    short_tokens: int = 2


@dataclass(frozen=True)
class Request:
    """One request and its fate: `failed` before the first byte of an answer, `truncated` after it."""

    kind: Kind
    phase: str
    began: float
    """Seconds since the traffic began."""
    seconds: float
    first_byte: float | None
    """Seconds until the answer began."""
    fate: Fate
    reason: str = ""
    first_token: float | None = None
    """Seconds until a whole stream's first token."""

    def __str__(self) -> str:
        when = f"{self.kind} of {self.began:.1f} s ({self.phase})"
        return f"{when}: {self.fate} after {self.seconds:.1f} s: {self.reason}"


@dataclass
class Traffic:
    """Traffic on its way; written by its own thread, read by the test's."""

    name: str
    rate: Rate = field(default_factory=Rate)
    """What is asked for from now on; another one may be set at any time."""
    started: int = 0
    requests: list[Request] = field(default_factory=list)
    phase: str = "steady"
    """What happens to the cluster meanwhile; a request counts for the phase in which it began."""
    since: float = field(default_factory=time.monotonic)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self, address: str, model: str, key: str | None = None) -> None:
        """Start to send, with an API key where one is wanted."""
        client = _Client(address, model, self, {"Authorization": f"Bearer {key}"} if key else {})
        self._thread = threading.Thread(target=lambda: asyncio.run(client.run(self._ended)), name=f"to {self.name}")
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._ended.set()

    def end(self) -> None:
        """The same, and wait for the answers that are still due: only then is nothing lost that is not counted."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    @property
    def now(self) -> float:
        """Seconds since the traffic began."""
        return time.monotonic() - self.since

    @property
    def losses(self) -> list[Request]:
        """Every request that was not answered in full."""
        return [request for request in list(self.requests) if request.fate != "whole"]

    def whole(self, kind: Kind = "stream", *, after: float = 0.0) -> int:
        """How many requests that began `after` so many seconds were answered in full."""
        return sum(each.fate == "whole" and each.kind == kind and each.began >= after for each in list(self.requests))

    def assert_nothing_lost(self) -> None:
        """Fail with what was lost, unless there was traffic and all of it was answered in full."""
        assert self.whole("stream"), f"{self.name}: no stream was answered, so nothing is shown"
        lost = self.losses
        assert not lost, f"{self.name}: {len(lost)} of {len(self.requests)} requests were lost:\n" + "\n".join(
            map(str, lost[:10])
        )


def table(*traffics: Traffic) -> str:
    """The counts by server, phase and kind of request, for humans."""
    counted = f"{'sent':>6}{'whole':>7}{'failed':>8}{'truncated':>11}{'median':>9}{'slowest':>9}"
    lines = [f"{'':<12}{'phase':<30}{'kind':<8}{counted}"]
    for traffic in traffics:
        requests = list(traffic.requests)
        for phase in dict.fromkeys(request.phase for request in requests):
            for kind in ("stream", "short"):
                of_kind = [each for each in requests if (each.phase, each.kind) == (phase, kind)]
                if of_kind:
                    lines.append(f"{traffic.name:<12}{phase:<30}{kind:<8}{_counts(of_kind)}")
        lines.append(f"{traffic.name:<12}{'all':<30}{'':<8}{_counts(requests)}")
    return "\n".join(lines)


def _counts(requests: list[Request]) -> str:
    fates = [sum(each.fate == fate for each in requests) for fate in ("whole", "failed", "truncated")]
    seconds = sorted(each.seconds for each in requests) or [0.0]
    whole, failed, truncated = fates
    times = f"{seconds[len(seconds) // 2]:>7.1f} s{seconds[-1]:>7.1f} s"
    return f"{len(requests):>6}{whole:>7}{failed:>8}{truncated:>11}{times}"


@contextmanager
def traffic(
    address: str, model: str, rate: Rate = Rate(), *, name: str = "", key: str | None = None
) -> Iterator[Traffic]:
    """Traffic on ``host:port`` for the time of the block, whose end waits for the answers that are still due."""
    seen = Traffic(name or model, rate)
    seen.begin(address, model, key)
    try:
        yield seen
    finally:
        seen.end()


@contextmanager
def traffic_from(
    enter: Callable[[list[str]], list[str]], address: str, model: str, rate: Rate = Rate(), *, name: str = ""
) -> Iterator[Traffic]:
    """The same from elsewhere: a process whose command line ``enter`` makes; what became of it is known at the end."""
    seen = Traffic(name or model, rate)
    argv = enter([sys.executable, "-m", "e2e.traffic", address, model, json.dumps(asdict(rate))])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_REPOSITORY, text=True) as process:
        try:
            yield seen
        finally:
            told = json.loads(process.communicate(timeout=PATIENCE + _CONNECT)[0])
            seen.since = told["since"]
            seen.requests += [Request(**each) for each in told["requests"]]


def main() -> None:
    """Traffic until standard input ends; then what became of it, as JSON."""
    address, model, rate = sys.argv[1:]
    with traffic(address, model, Rate(**json.loads(rate))) as seen:
        sys.stdin.read()
    print(json.dumps({"since": seen.since, "requests": [asdict(each) for each in seen.requests]}))


class _Client:
    """Sends what the rate says, from one thread."""

    def __init__(self, address: str, model: str, seen: Traffic, headers: dict[str, str]) -> None:
        self._address = address
        self._headers = headers
        self._model = model
        self._seen = seen

    async def run(self, ended: threading.Event) -> None:
        # Nothing is kept alive: a connection that is used again would hide that new ones are refused.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        timeout = httpx.Timeout(PATIENCE, connect=_CONNECT)
        url = f"http://{self._address}/v1/"
        async with (
            httpx.AsyncClient(
                base_url=url, headers=self._headers, trust_env=False, limits=limits, timeout=timeout
            ) as http,
            asyncio.TaskGroup() as requests,
        ):
            owed: dict[Kind, float] = {"stream": 1.0, "short": 1.0}
            until = self._seen.now
            while not ended.is_set():
                # What a late wake-up has missed is made up for: the loop is open.
                elapsed, until, rate = self._seen.now - until, self._seen.now, self._seen.rate
                wanted: dict[Kind, float] = {"stream": rate.streams, "short": rate.shorts}
                for kind, per_second in wanted.items():
                    owed[kind] += elapsed * per_second
                    while per_second and owed[kind] >= 1:
                        owed[kind] -= 1
                        self._seen.started += 1
                        requests.create_task(self._one(http, kind, rate))
                await asyncio.sleep(_PERIOD)

    async def _one(self, http: httpx.AsyncClient, kind: Kind, rate: Rate) -> None:
        phase, began, first_byte = self._seen.phase, self._seen.now, None
        tokens = rate.stream_tokens if kind == "stream" else rate.short_tokens
        fate: Fate = "whole"
        reason, first_token = "", None
        try:
            async with http.stream("POST", "chat/completions", json=self._body(kind, tokens)) as response:
                if response.is_error:
                    raise Broken(f"{response.status_code} {(await response.aread()).decode(errors='replace')[:200]}")
                first_byte = self._seen.now - began
                if kind == "stream":
                    first_token = await _check_stream(response, tokens) - self._seen.since - began
                else:
                    await _check_short(response, tokens)
        except (Broken, httpx.HTTPError) as error:
            fate = "failed" if first_byte is None else "truncated"
            reason = repr(error)
        seconds = self._seen.now - began
        self._seen.requests.append(Request(kind, phase, began, seconds, first_byte, fate, reason, first_token))

    def _body(self, kind: Kind, tokens: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": tokens,
            **_SAMPLING,
        }
        return body | {"stream": True, "stream_options": {"include_usage": True}} if kind == "stream" else body


async def _check_short(response: httpx.Response, wanted: int) -> None:
    answer = _parsed((await response.aread()).decode(errors="replace"))
    finish = next((each.get("finish_reason") for each in answer["choices"]), None)
    _check(finish, (answer.get("usage") or {}).get("completion_tokens"), wanted)


async def _check_stream(response: httpx.Response, wanted: int) -> float:
    """Returns when the first piece came, by time.monotonic(): engines send it with the first token."""
    finish = tokens = first = None
    done = False
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if done and data:
            raise Broken(f"more after [DONE]: {data[:200]}")
        if not data or line.startswith(":"):
            continue
        if data == "[DONE]":
            done = True
            continue
        chunk = _parsed(data)
        finish = next((each["finish_reason"] for each in chunk["choices"] if each.get("finish_reason")), finish)
        tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        first = first or (time.monotonic() if chunk["choices"] else None)
    if not done:
        raise Broken(f"no [DONE] (finish_reason {finish}, {tokens} tokens)")
    _check(finish, tokens, wanted)
    return first or time.monotonic()


def _check(finish: str | None, tokens: int | None, wanted: int) -> None:
    """The models of the tests never end by themselves, so every answer has as many tokens as were allowed."""
    if finish != "length" or tokens != wanted:
        raise Broken(f"finish_reason {finish} after {tokens} of {wanted} tokens")


def _parsed(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError as error:
        raise Broken(f"no JSON: {data[:200]}") from error
    if not isinstance(chunk, dict) or "error" in chunk or "choices" not in chunk:
        raise Broken(f"no answer: {data[:200]}")
    return chunk


if __name__ == "__main__":
    main()
