"""The one way of each call: may it be made, is it well formed, how long may it take, what comes back, who is told.

Between the model (through the framework) and a Source. Whatever a tool does, what leaves here is text of bounded
length that is marked as data, a ToolError, or the cancellation of the run; and one audit record.
"""

import asyncio
import json
import logging
import time
import uuid
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agentfleet.runtime.config import Limits
from agentfleet.runtime.config_tools import ToolEntry
from agentfleet.runtime.tools import contain, offline
from agentfleet.runtime.tools.records import Invocation, Offer, Outcome, Source, ToolAudit, ToolRecord, Unreached
from agentfleet.runtime.tools.schema import Check
from agentfleet.runtime.types import Task, ToolCall, ToolError

_LOG = logging.getLogger(__name__)
_LONGEST_ERROR = 1000

Keep = Callable[[offline.Kept], Awaitable[None]]


class Counts:
    """How many calls each run has made. By the Task itself: its id is the client's word, and may come twice."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}

    def next(self, task: Task) -> int:
        """The number of the call that begins now, from 1."""
        key = id(task)
        if key not in self._calls:
            weakref.finalize(task, self._calls.pop, key, None).atexit = False
        self._calls[key] = self._calls.get(key, 0) + 1
        return self._calls[key]


@dataclass(frozen=True)
class Rules:
    """What holds for every tool of an agent."""

    limits: Limits
    audit: ToolAudit
    counts: Counts


class BoundTool:
    """A types.Tool: an offer of a source, under the agent's rules."""

    def __init__(
        self, name: str, offer: Offer, source: Source, *, approval: bool, rules: Rules, check: Check, keep: Keep | None
    ) -> None:
        entry = source.entry
        self.name = name
        self.description = offer.description
        self.parameters: Mapping[str, Any] = offer.parameters
        self.source = entry.name
        self.approval = approval
        self._own_name = offer.name
        self._from = source
        self._rules = rules
        self._check = check
        self._keep = keep
        self._timeout = timeout_of(entry, rules.limits)

    async def call(self, call: ToolCall) -> str:
        """The result, marked as data; ToolError with a text for the model."""
        began = time.monotonic()
        written = json.dumps(dict(call.arguments), ensure_ascii=False, default=str)

        def tell(outcome: Outcome, reason: str = "", output: int = 0) -> None:
            seconds = time.monotonic() - began
            self._rules.audit.tool(
                ToolRecord(call.task, self.name, self.source, outcome, reason, seconds, len(written), output)
            )

        if refusal := self._refusal(call):
            reason, text = refusal
            tell("refused", reason)
            raise ToolError(text)
        invocation = Invocation(self._own_name, call.arguments, call.task, uuid.uuid4().hex)
        try:
            async with asyncio.timeout(self._timeout):
                result = await self._from.call(invocation)
        except asyncio.CancelledError:
            tell("cancelled")
            raise
        except TimeoutError as error:
            tell("timeout")
            raise ToolError(f"{self.name} did not answer within {self._timeout:g} s; it may still be done") from error
        except Unreached as error:
            if self._keep is None:
                tell("error", "unreached")
                raise self._failed(str(error)) from error
            return await self._queued(invocation, tell)
        except ToolError as error:
            tell("error", "tool", len(str(error)))
            raise self._failed(str(error)) from error
        except Exception as error:
            # a bug of ours or of a library: its text may hold anything, so only its kind is told
            _LOG.error("request %s: tool %s: %s", call.task.id, self.name, type(error).__name__)
            tell("error", type(error).__name__)
            raise ToolError(f"{self.name} failed") from error
        tell("ok", output=len(result))
        return contain.contain(result, self.name, self._rules.limits.tool_output, self._from.secrets())

    def _refusal(self, call: ToolCall) -> tuple[str, str] | None:
        """Why the call is not made: for the audit, and for the model."""
        groups = self._from.entry.allowed_groups
        if groups and not call.task.caller.groups & set(groups):
            return "group", f"{self.name} is not allowed for whoever is asking; do not try it again, say so"
        most = self._rules.limits.max_tool_calls
        if self._rules.counts.next(call.task) > most:
            return "limit", f"{self.name} was not called: {most} calls of tools were made, answer with what is known"
        if wrong := self._check(call.arguments):
            return "arguments", f"{self.name} was not called, its arguments do not fit: {wrong}"
        return None

    async def _queued(self, invocation: Invocation, tell: Callable[[Outcome, str], None]) -> str:
        assert self._keep is not None  # noqa: S101  for mypy: the caller has looked
        task = invocation.task
        kept = offline.Kept(
            invocation.key,
            self._own_name,
            self.name,
            dict(invocation.arguments),
            task.id,
            task.caller,
            dict(task.headers),
        )
        try:
            await self._keep(kept)
        except ToolError as error:
            tell("error", "queue")
            raise self._failed(str(error)) from error
        tell("queued", "unreached")
        return f"There is no connection now. Queued as {kept.key}: it will be sent when the connection is back."

    def _failed(self, text: str) -> ToolError:
        """Texts of failures come from servers, too."""
        address = self._from.address()
        secrets = (*self._from.secrets(), address, urlsplit(address).netloc)
        return ToolError(contain.contain(f"failed: {text}", self.name, _LONGEST_ERROR, secrets))


def timeout_of(entry: ToolEntry, limits: Limits) -> float:
    """Seconds of one call: the entry's own where it has one."""
    return getattr(entry.use, "timeout", None) or limits.tool_timeout


def task_of(kept: offline.Kept) -> Task:
    """What is left of the run whose call is sent later."""
    return Task(id=kept.request, caller=kept.caller, turns=(), headers=kept.headers)
