"""What the parts of the toolbox tell each other, and what the audit is told. Pure data.

A Source (mcp.py, http.py, agents.py) offers tools and carries calls out; pipeline.py stands between it and the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agentfleet.runtime.config_tools import ToolEntry
from agentfleet.runtime.types import Task, ToolError

Outcome = Literal["ok", "error", "timeout", "cancelled", "refused", "queued", "sent"]
"""`refused`: group, limit, arguments or unknown, no tool was called.
`queued`: kept while offline; `sent`: delivered later."""


@dataclass(frozen=True)
class ToolRecord:
    """One call, for audit and metrics. No content: lengths only."""

    task: Task
    tool: str
    """As the model knows it."""
    source: str
    """Entry of spec.tools."""
    outcome: Outcome
    reason: str = ""
    """Why it was refused or failed, in a word or two: group, limit, arguments, unreached…"""
    seconds: float = 0.0
    input_length: int = 0
    """Characters of the arguments as JSON."""
    output_length: int = 0
    """Characters of the result as it came, before it was cut."""


class ToolAudit(Protocol):
    """Whoever keeps the records: audit trail, metrics. Must not raise, nor block for long."""

    def tool(self, record: ToolRecord) -> None:
        """A call ended, or was refused."""


@dataclass(frozen=True)
class Offer:
    """A tool as its source has it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of an object."""


@dataclass(frozen=True)
class Invocation:
    """A call on its way to a source."""

    tool: str
    """As its source has it."""
    arguments: Mapping[str, Any]
    task: Task
    """The run it is part of; for a call that is sent later, its id, caller and headers alone."""
    key: str
    """Names this call for ever: the same after a restart, so that a server can tell a repetition."""


class Source(Protocol):
    """One entry of spec.tools."""

    entry: ToolEntry

    async def start(self) -> None:
        """Begin to connect; returns at once."""

    async def close(self) -> None:
        """Give connections back."""

    def missing(self) -> str | None:
        """Why this source cannot be used now, for the readiness; None while it can."""
        ...

    def problems(self) -> tuple[str, ...]:
        """What its owner should know, though the rest works."""
        ...

    def offers(self) -> tuple[Offer, ...]:
        """What it has now, after include and exclude."""
        ...

    def secrets(self) -> tuple[str, ...]:
        """Texts that must not reach the model: values of headers."""
        ...

    def address(self) -> str:
        """What no error may name. Results may: they are full of links."""
        ...

    async def call(self, invocation: Invocation) -> str:
        """The result as it came. Unreached, Busy, or another ToolError; cancellation ends the call for real."""
        ...


class Unreached(ToolError):
    """No connection was made: the call did surely not happen."""


class Busy(ToolError):
    """The server answered that it takes nothing now (429, 503): the call did not happen."""


MAX_BODY = 4 * 1024 * 1024
"""Bytes of one answer that are read at all. What the model gets of it is limits.tool_output, far less."""

PASSED_ON = ("traceparent", "tracestate", "x-request-id")
"""Headers of the request to the agent that every tool gets."""


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of `headers` that tools get."""
    return {name: value for name, value in headers.items() if name.lower() in PASSED_ON}
