"""What a run asks of the parts around it: guardrails, sessions, access and audit. Protocols only.

runs.py calls them in this order: gate, input guardrails, session, Runner, output guardrails, session saved, audit.
Implementations: guardrails.py, sessions.py, access.py, audit.py; main.py puts them together.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agentfleet.runtime.types import Approval, Caller, Task, Usage, Verdict

Outcome = Literal["ok", "approval", "fallback", "filtered", "refused", "timeout", "overload", "cancelled", "error"]
"""How a run ended: `refused` is the caller's fault, `filtered` a guardrail's, `overload` gate, memory or shedding."""


class Rejected(Exception):
    """A guardrail says that this answer must not go out; the message names the guardrail and no content."""


class OutputFilter(Protocol):
    """The output guardrails of one answer. May hold text back until it can be judged."""

    cut: bool
    """MaxLength has ended the answer early: nothing more comes out, the finish is `length`."""

    def feed(self, text: str) -> str:
        """What may go out now; Rejected ends the answer with finish `content_filter`."""
        ...

    def end(self) -> str:
        """What was held back; Rejected as above. Called once, also when nothing was fed."""
        ...

    def close(self) -> None:
        """The answer is over, at its end or before: what was found in what went out is written down."""


class Guards(Protocol):
    """Guardrails. They fail closed: a check that itself fails rejects."""

    def input(self, task: Task) -> Task:
        """`task` with its turns masked where that was asked for; RunError(400, "content_filter", …) rejects it."""
        ...

    def output(self, task: Task) -> OutputFilter:
        """A new filter for the answer to `task`."""
        ...


class Session(Protocol):
    """One conversation, locked for the time of a turn."""

    id: str
    """Hash of caller and session id, for logs and audit."""
    state: dict[str, Any]
    """JSON-like; the Runner reads it and changes it in place. Empty for a new session."""

    async def save(self) -> None:
        """Keep `state`, compacted; RunError(503, …) where the store is away."""


class Sessions(Protocol):
    """Where conversations last."""

    def open(self, caller: Caller, session: str) -> AbstractAsyncContextManager[Session]:
        """The session of `caller` with that id, new or kept; entering waits for its turn.

        Nothing is saved unless `save` is called. RunError(503, …) where the store is away.
        """
        ...

    async def ready(self) -> None:
        """RunError names what is missing."""

    async def close(self) -> None:
        """Give connections back."""


class Access(Protocol):
    """Who is calling, and whether they may."""

    async def caller(self, headers: Mapping[str, str], request: str) -> Caller:
        """Headers by their names in small letters; `request` is its id.

        RunError 401, 403, or 503 where it cannot be told now. It writes the audit line of a refusal itself.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True)
class RunRecord:
    """How a run went, for audit and metrics."""

    outcome: Outcome
    status: int
    """HTTP status that tells it: 200, or the RunError's."""
    duration: float
    """Seconds, the wait for a place counted."""
    waited: float = 0.0
    """Seconds of it in the queue."""
    usage: Usage = Usage()
    input_characters: int = 0
    output_characters: int = 0
    session: str | None = None
    """Session.id."""
    reason: str = ""
    """Code of the error, or name of the guardrail."""
    answer: str = ""
    """Text that went out; the audit decides whether it may keep any of it."""


@dataclass(frozen=True)
class GuardrailRecord:
    """A guardrail that has found something and let the text pass, for the audit. No content."""

    side: Literal["input", "output"]
    index: int
    """Its place in the list, from 1 on."""
    kind: str
    action: Literal["Mask", "Warn"]
    found: str
    texts: int = 1
    """In how many messages of the request."""


class Audit(Protocol):
    """One JSON line for each thing that was done or refused. None of them may raise or block for long."""

    def run(self, task: Task, record: RunRecord) -> None:
        """A run ended."""

    def guardrail(self, task: Task, record: GuardrailRecord) -> None:
        """A guardrail has masked, or warns. Also called from another thread than the loop's."""

    def wanted(self, task: Task, approvals: Sequence[Approval]) -> None:
        """Calls of tools wait for a person."""

    def decided(self, task: Task, decisions: Sequence[tuple[Approval, Verdict]]) -> None:
        """Somebody who may has decided; told before the calls are made."""
