"""The document's service: one message to an agent, by HTTP. Each call goes back through HAProxy's loopback port as the
same caller, so that everything that holds for chat completions holds here too.
"""

import asyncio
import json
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import aiohttp

from agentfleet.decider.agents import model_of
from agentfleet.decider.questions import Question
from agentfleet.gateway.types import Policy

WORKERS = 64
"""Calls at once. Waiting for an engine is HAProxy's business; this only bounds what the decider has to hold."""
MINUTE = 60.0

DECISION = "x-agentroute-decision"
_COMPLEXITY = "x-agentroute-complexity"
"""HAProxy takes it from the decider, whatever classifies the requests of others."""
_DECIDER = "x-af-decider"
_TARGET = re.compile(r"(?:^|;)\s*target=([^;\s]+)")
_ALWAYS_FORWARDED = ("authorization", "x-agentfleet-identity", "x-session-id", "x-agentroute-tier")


@dataclass(frozen=True)
class Answer:
    """What a message came to. `status` is HTTP's; `error` is empty where it is 200."""

    status: int
    agent: str
    response: str = ""
    error: str = ""
    code: str = ""
    """Of the error, as OpenAI's API has it."""
    retry_after: str | None = None
    seconds: float = 0.0
    decision: str = ""
    """What the route says of it; empty where it was not asked."""


class Tally:
    """Numbers of the service since it started."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends: deque[float] = deque(maxlen=100_000)
        self.ok = 0
        self.failed = 0
        self.seconds = 0.0
        self.by_agent: Counter[str] = Counter()

    def count(self, answer: Answer, known: frozenset[str]) -> None:
        """Adds an answer. Agents that the route does not name are counted together."""
        self.ok += answer.status == 200
        self.failed += answer.status != 200
        self.seconds += answer.seconds
        self.by_agent[answer.agent if answer.agent in known else "other"] += 1
        self._ends.append(self._clock())

    @property
    def total(self) -> int:
        """All of them."""
        return self.ok + self.failed

    @property
    def per_minute(self) -> int:
        """Answers of the last minute."""
        since = self._clock() - MINUTE
        while self._ends and self._ends[0] < since:
            self._ends.popleft()
        return len(self._ends)


class Chat:
    """Asks the route."""

    def __init__(
        self,
        policy: Policy,
        session: aiohttp.ClientSession,
        loopback: str,
        password: str,
        *,
        workers: int = WORKERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`loopback` is HAProxy's address inside the pod, such as http://127.0.0.1:8080; by `password` it knows us."""
        self._policy = policy
        self._session = session
        self._url = f"{loopback}/v1/chat/completions"
        self._password = password
        self._clock = clock
        self._places = asyncio.Semaphore(workers)
        self._known = frozenset(target.name for target in policy.targets)
        self._forwarded = frozenset(_forwarded(policy))
        self.workers = workers
        self.waiting = 0
        """Messages that wait for one of the workers."""
        self.tally = Tally(clock)

    async def ask(self, question: Question, headers: Mapping[str, str]) -> Answer:
        """The agent's answer, as the caller whose headers these are. Never raises for what goes wrong on the way."""
        model = model_of(self._policy, question.agent_type)
        start = self._clock()
        try:
            async with asyncio.timeout(question.timeout):
                answer = await self._wait_and_call(question, model, headers)
        except TimeoutError:
            message = f"no answer within {question.timeout:g} s; ask again, or with a longer timeout"
            answer = Answer(408, model, error=message, code="timeout")
        except (aiohttp.ClientError, OSError) as error:
            answer = Answer(503, model, error=f"the gateway gave no answer: {error}", code="service_unavailable")
        answer = replace(answer, seconds=self._clock() - start)
        self.tally.count(answer, self._known)
        return answer

    async def _wait_and_call(self, question: Question, model: str, headers: Mapping[str, str]) -> Answer:
        if self._places.locked() and self.waiting >= self._policy.queue_max:
            message = f"{self.waiting} messages wait already; try again later"
            return Answer(429, model, error=message, code="queue_full", retry_after="1")
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        try:
            return await self._call(question, model, headers)
        finally:
            self._places.release()

    async def _call(self, question: Question, model: str, headers: Mapping[str, str]) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": question.message}]}
        own = self._headers(question, headers)
        async with self._session.post(self._url, json=body, headers=own, allow_redirects=False) as answer:
            text = await answer.text(errors="replace")
            decision = answer.headers.get(DECISION, "")
            found = _TARGET.search(decision)
            agent = found[1] if found else model
            if answer.status == 200:
                return replace(_completion(text, agent), decision=decision)
            message, code = _error(text, answer.status)
            after = answer.headers.get("Retry-After")
            return Answer(answer.status, agent, error=message, code=code, retry_after=after, decision=decision)

    def _headers(self, question: Question, headers: Mapping[str, str]) -> dict[str, str]:
        policy, kept = self._policy, dict[str, str]()
        for name, value in ((name.lower(), value) for name, value in headers.items()):
            if name == policy.sensitivity_header:
                # Each of them counts, and so does what is no class: nothing of it may get lost on the way.
                said = value.encode("ascii", errors="replace").decode()
                kept[name] = f"{kept[name]},{said}" if name in kept else said
            elif name in self._forwarded and value.isascii():  # else it means nothing to the route
                kept[name] = value
        kept[policy.priority_header] = question.priority
        kept[_DECIDER] = self._password
        if question.complexity:
            for name in filter(None, (_COMPLEXITY, policy.complexity_header)):
                kept[name] = question.complexity.capitalize()
        return kept


def _forwarded(policy: Policy) -> set[str]:
    """Headers, in lower case, that may decide what happens to a message."""
    matched = {header.name for rule in policy.rules for header in rule.match.headers}
    return (matched | {*_ALWAYS_FORWARDED, *filter(None, [policy.complexity_header])}) - {
        policy.priority_header,
        _COMPLEXITY,
    }


def _completion(text: str, agent: str) -> Answer:
    try:
        response = json.loads(text)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return Answer(502, agent, error="the agent answered no chat completion", code="bad_gateway")
    return Answer(200, agent, response=str(response or ""))


def _error(text: str, status: int) -> tuple[str, str]:
    """Message and code of an error in OpenAI's form; of another one only its status."""
    try:
        error = json.loads(text)["error"]
        return str(error["message"]), str(error.get("code") or "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"the agent answered with status {status}", ""
