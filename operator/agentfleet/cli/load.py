"""Sends OpenAI requests to a model and measures their streams: one level of load at a time.

It measures from the client's side, as users see it. aiohttp rather than httpx: at a thousand tokens a second the client
must not be what is measured.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp

from agentfleet.cli.levels import Level, Outcome

_WORDS = ("the", "one", "of", "all", "and", "way", "a", "time", "in", "new", "to", "day", "it", "house", "for", "book")
_TRIAL_WORDS = 16
_CONNECT = 10.0
_MAX_LINE = 1 << 20


class Broken(Exception):
    """An answer that is not as it should be."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What each request asks for."""

    model: str
    chat: bool
    """Chat completions; else plain completions."""
    words: int
    output_tokens: int
    ignore_eos: bool
    """The engine knows how to go on to the wanted length whatever the model says; others may end sooner."""

    @property
    def path(self) -> str:
        return "chat/completions" if self.chat else "completions"

    def body(self, prompt: str) -> dict[str, Any]:
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]} if self.chat else {"prompt": prompt}
        return {
            **asked,
            **({"ignore_eos": True} if self.ignore_eos else {}),
            "model": self.model,
            "max_tokens": self.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


class Load:
    """A client of one address."""

    def __init__(self, http: aiohttp.ClientSession, url: str, timeout: float) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=_CONNECT)
        # what it begins with is new in each run and each request, or a prefix cache would answer for the engine
        self._run = f"{time.time_ns():x}"
        self._requests = count()

    async def request(self, workload: Workload) -> Outcome:
        """One request from start to end; what goes wrong is in its outcome."""
        prompt = _prompt(f"{next(self._requests)}-{self._run}", workload.words)
        reading = _Reading()
        began = time.monotonic()
        try:
            address = f"{self._url}/{workload.path}"
            async with self._http.post(address, json=workload.body(prompt), timeout=self._timeout) as response:
                if response.status >= 400:
                    raise Broken(f"HTTP {response.status}: {(await response.text())[:200].strip()}")
                await reading.read(response.content)
        except (Broken, aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(began, time.monotonic(), error=str(error) or type(error).__name__)
        except TimeoutError:
            return Outcome(began, time.monotonic(), error=f"no end within {self._timeout.total:g} s")
        return Outcome(
            began, reading.last or time.monotonic(), reading.first, reading.prompt_tokens, reading.output_tokens
        )

    async def level(self, workload: Workload, concurrency: int, seconds: float, ramp: float) -> Level:
        """So many requests at once for so long. They begin spread over `ramp` seconds, so as not to march in step."""
        started, cpu = time.monotonic(), time.process_time()
        begin = started + ramp
        end = begin + seconds
        outcomes: list[Outcome] = []

        async def stream(number: int) -> None:
            await asyncio.sleep(ramp * number / concurrency)
            while time.monotonic() < end:
                outcome = await self.request(workload)
                outcomes.append(outcome)
                if outcome.error:
                    await asyncio.sleep(min(1.0, seconds / 10))  # a server that refuses is not to be stormed

        async with asyncio.TaskGroup() as streams:
            for number in range(concurrency):
                streams.create_task(stream(number))
        busy = (time.process_time() - cpu) / (time.monotonic() - started)
        return Level(concurrency, begin, end, tuple(outcomes), busy)

    async def trial(self, workload: Workload) -> Outcome:
        """A first short request: it warms the way, and shows how many tokens the model makes of a word."""
        return await self.request(
            Workload(workload.model, workload.chat, _TRIAL_WORDS, min(workload.output_tokens, 8), workload.ignore_eos)
        )


@asynccontextmanager
async def load(url: str, *, key: str | None, timeout: float, proxies: bool) -> AsyncIterator[Load]:
    """A client of an OpenAI-compatible address for the time of the block; `proxies`: those of the environment count."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # a connection for each request, as from many users; engines that close one after a stream do not all say so
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(
        headers=headers, connector=connector, trust_env=proxies, read_bufsize=_MAX_LINE
    ) as http:
        yield Load(http, url, timeout)


def words_for(prompt_tokens: int, trial: Outcome) -> int:
    """How many words make so many tokens, by what the trial's prompt came to, chat template included."""
    per_word = (trial.prompt_tokens or _TRIAL_WORDS) / _TRIAL_WORDS
    return max(1, round(prompt_tokens / per_word))


def _prompt(name: str, words: int) -> str:
    return " ".join([name, *(_WORDS[index % len(_WORDS)] for index in range(words - 1))])


class _Reading:
    """What came out of one stream."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self.prompt_tokens: int | None = None
        self.output_tokens = 0

    async def read(self, stream: aiohttp.StreamReader) -> None:
        """Read server-sent events to their end; Broken where they end before it."""
        done = False
        async for line in stream:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                done = data == b"[DONE]"
                if not done:
                    self._event(json.loads(data))
        if not done:
            raise Broken("the stream ended before [DONE]")

    def _event(self, event: dict[str, Any]) -> None:
        if "error" in event:
            raise Broken(str(event["error"])[:200])
        if any(map(_has_text, event.get("choices") or ())):
            self.last = time.monotonic()
            self.first = self.first or self.last
            self.output_tokens += 1
        usage = event.get("usage")
        if usage:
            self.prompt_tokens = usage.get("prompt_tokens")
            self.output_tokens = usage.get("completion_tokens") or self.output_tokens


def _has_text(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(choice.get("text") or delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))
