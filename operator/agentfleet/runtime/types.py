"""What the parts of an agent's process tell each other. Pure data: no framework, no HTTP, no clock.

Where it stands: protocols (chat, responses, A2A) read a request into a Task; runs.py puts it through gate, guardrails
and sessions; a Runner (framework.py, or orchestration.py) turns it into Events; the protocol writes them out.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Mode = Literal["Standard", "Private", "Offline"]
Role = Literal["system", "user", "assistant"]
Priority = Literal["high", "normal", "low"]
Finish = Literal["stop", "length", "content_filter", "approval", "fallback"]


@dataclass(frozen=True)
class Caller:
    """Who asks, as it was proved: by the gateway's signature, or by a service account's token."""

    subject: str
    """Id of an API key, jwt:SUB, or system:serviceaccount:NAMESPACE:NAME."""
    groups: frozenset[str] = frozenset()
    mode: Mode = "Standard"
    """Privacy mode of the calling agent; an agent takes the stricter of this and its own."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Role
    text: str
    images: tuple[str, ...] = ()
    """URLs, most often data: URLs."""


@dataclass(frozen=True)
class Sampling:
    """How the model samples; None where nothing is said."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    response_format: Mapping[str, Any] | None = None
    """As in OpenAI's API: {"type": "json_schema", "json_schema": {…}}."""
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of one of the agent's tools, for the first answer of the model."""


@dataclass(frozen=True)
class Approval:
    """A call of a tool that waits for a person's word."""

    id: str
    tool: str
    arguments: str
    """JSON text."""


@dataclass(frozen=True)
class Verdict:
    """That word."""

    id: str
    approved: bool
    reason: str = ""


@dataclass(frozen=True)
class Task:
    """One request to the agent."""

    id: str
    """The request id: in the answer, the audit lines and the logs."""
    caller: Caller
    turns: tuple[Turn, ...]
    """What the client sent: with a session only what is new, else the whole conversation."""
    session: str | None = None
    """Session id of the client; the session itself belongs to caller.subject and this."""
    sampling: Sampling = Sampling()
    verdicts: tuple[Verdict, ...] = ()
    timeout: float | None = None
    """Seconds that the client gives it; the agent's limits.timeout bounds it."""
    priority: Priority = "normal"
    stream: bool = True
    """Whether somebody reads the answer while it is made. If not, the model is asked for the whole: a tenth of the
    CPU, and a route may try it again elsewhere up to the end."""
    user: str | None = None
    """What the client calls its own user: for the audit alone."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """To be passed on to model, tools and other agents: traceparent, x-request-id, x-agentfleet-hops."""


@dataclass(frozen=True)
class Usage:
    """Tokens of all calls of the model in one run."""

    input: int = 0
    output: int = 0
    calls: int = 0
    """Calls of the model."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.input + other.input, self.output + other.output, self.calls + other.calls)


@dataclass(frozen=True)
class Delta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class Wanted:
    """The run rests until these are decided; it is resumed by a Task of the same caller and session with verdicts."""

    approvals: tuple[Approval, ...]
    session: str | None = None
    """Where runs.py kept the run for a client without a session: the Task that resumes it names this one."""


@dataclass(frozen=True)
class Done:
    """The end of a run, always the last event."""

    finish: Finish = "stop"
    usage: Usage = Usage()


Event = Delta | Wanted | Done


@dataclass(frozen=True)
class Decided:
    """What a person said of calls that waited for it, told before they are made: for the audit, not for clients."""

    decisions: tuple[tuple[Approval, Verdict], ...]

    @classmethod
    def of(cls, waited: Iterable[Approval], verdicts: Iterable[Verdict]) -> "Decided":
        """The calls that `verdicts` are about; who says two things of one call means the last."""
        said = {verdict.id: verdict for verdict in verdicts}
        return cls(tuple((call, said[call.id]) for call in waited if call.id in said))


Step = Event | Decided
"""What a Runner tells."""


class RunError(Exception):
    """A run that ends without an answer, in the form in which OpenAI's API tells it."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


class Failure(RunError):
    """The agent's own fault, or that of what it stands on: runs.py answers it with the fallback reply.

    Status, code and message are told to the client only where text had gone out already, or where there is no reply.
    """


class Runner(Protocol):
    """What answers: one agent of the framework, or several that are orchestrated."""

    async def ready(self) -> None:
        """Return once model and tools can be used; RunError names what is missing."""

    def run(self, task: Task, state: dict[str, Any]) -> AsyncIterator[Step]:
        """Answer `task`. `state` is the session's, JSON-like; it is read, and changed in place for the next turn.

        Cancelling the iteration cancels the calls of model and tools for real.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True)
class ToolCall:
    """One call of a tool, as the policy, the audit and the tool see it."""

    task: Task
    tool: str
    """The tool's own name, as the model knows it."""
    arguments: Mapping[str, Any]


class Tool(Protocol):
    """Something that the model may call."""

    name: str
    """As the model knows it: letters, digits, _ and -, at most 64."""
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of an object."""
    source: str
    """Name of the entry in spec.tools it comes from."""
    approval: bool
    """Whether each call waits for a person's word."""

    async def call(self, call: ToolCall) -> str:
        """The result as text for the model; ToolError where there is none. Cancellation ends the call for real."""
        ...


class ToolError(Exception):
    """A call that failed: its text is told to the model, so it names no secret and no address."""
