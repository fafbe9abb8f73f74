"""What the routing policy works with: the compiled policy, one request, the load of targets, and the decision.

A `Policy` is plain data: `to_json` is the file route.json that every gateway loads, and `policy.py` and
`agentroute.lua` are two interpreters of it. All numbers are integers (milliseconds, bytes, percent), all choices are
words, so that both come to the same result.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Tier = Literal["Lightweight", "Balanced", "Capable"]
Location = Literal["Edge", "Cluster", "Cloud"]
Complexity = Literal["Simple", "Moderate", "Complex"]
Sensitivity = Literal["Public", "Internal", "Confidential", "Restricted"]
Strategy = Literal["LeastLoaded", "Weighted", "RoundRobin", "Sticky", "PrefixAware"]
Cause = Literal["NoEndpoint", "ColdStart", "Saturated", "Timeout", "RateLimited", "ServerError"]
Endpoint = Literal["chat/completions", "completions", "embeddings", "responses"]
Reason = Literal[
    "Named", "Rule", "Escalated", "Canary", "Task", "Primary", "Default", "Tier", "Spill",
    "ModelNotFound", "PrivacyDenied", "QueueFull",
]  # fmt: skip
"""Why a target: it was asked for by its own id; a rule, its escalation or its canary; its tasks; it is primary; it is
among default.targets; its tier fits; the first choice was full or away. Why none: nobody has this model id; privacy
left no target; too many wait already."""
PrivacyMode = Literal["Standard", "Private", "Offline"]

SENSITIVITIES: tuple[Sensitivity, ...] = ("Public", "Internal", "Confidential", "Restricted")
"""From least to most."""
TIERS: dict[Complexity, Tier] = {"Simple": "Lightweight", "Moderate": "Balanced", "Complex": "Capable"}
LONG_CONTEXT = 8_000
"""Tokens above which a request needs LongContext."""
CODE_INTENTS = ("code", "coding")
"""Intents, in lower case, that need Code."""
EVERY_CAUSE: tuple[Cause, ...] = ("NoEndpoint", "Saturated", "Timeout", "RateLimited", "ServerError")
"""What a fallback is for where nothing is said: everything but ColdStart."""
ANSWERED: tuple[Cause, ...] = ("Timeout", "RateLimited", "ServerError")
"""Causes that show only after a request was sent."""
UNCAPPED = 10
"""Requests for each pod by which the load of targets without capacity is compared with others'."""


@dataclass(frozen=True)
class Target:
    """One target, resolved."""

    id: str
    """t0, t1, …, by its place in spec.targets: its name inside HAProxy."""
    name: str
    kind: Literal["Agent", "ModelServer", "External"]
    model: str
    """The model id that is sent to it."""
    names: tuple[str, ...]
    """Model ids by which clients ask for it alone: agent/NAME, model/NAME, target/NAME."""
    tier: Tier = "Balanced"
    location: Location = "Cluster"
    region: str | None = None
    capabilities: tuple[str, ...] = ()
    weight: int = 1
    capacity: int | None = None
    """Requests at once for each ready pod; None is no limit."""
    primary: bool = False
    tasks: tuple[str, ...] = ()
    side_effects: bool = False
    scales_to_zero: bool = False
    """Without pods it is asleep, not broken."""
    identified: bool = True
    """It can be told who asks, and how privately; not so an agent of another namespace, which has another key."""


@dataclass(frozen=True)
class Header:
    """A header that must be there; its name in lower case."""

    name: str
    value: str | None = None


@dataclass(frozen=True)
class Match:
    """Empty and None match everything."""

    intents: tuple[str, ...] = ()
    complexity: tuple[Complexity, ...] = ()
    models: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    capabilities: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    min_tokens: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Escalate:
    """Larger targets first, when one of these holds."""

    targets: tuple[str, ...]
    complexity: tuple[Complexity, ...] = ()
    queue_depth: int | None = None
    no_endpoint: bool = False
    latency_ms: int | None = None
    max_percent: int = 100


@dataclass(frozen=True)
class Rule:
    """One rule; targets are ids."""

    name: str
    match: Match
    targets: tuple[str, ...]
    strategy: Strategy = "LeastLoaded"
    fallback: tuple[str, ...] = ()
    when: tuple[Cause, ...] = EVERY_CAUSE
    max_attempts: int = 3
    escalate: Escalate | None = None
    canary: str | None = None
    canary_percent: int = 0
    request_ms: int = 600_000
    first_byte_ms: int | None = None
    side_effects: bool | None = None
    """None: as each target says."""


@dataclass(frozen=True)
class Policy:
    """One AgentRoute, compiled."""

    namespace: str
    name: str
    aliases: tuple[str, ...]
    """Model ids that ask for the route's choice, route/NAME included."""
    targets: tuple[Target, ...]
    rules: tuple[Rule, ...] = ()
    default: tuple[str, ...] = ()
    """Ids of default.targets; empty where tiers decide."""
    deny_cloud_from: Sensitivity | None = None
    """The lowest class that Cloud targets never get."""
    regions: tuple[str, ...] = ()
    default_complexity: Complexity = "Moderate"
    default_intent: str | None = None
    intents: tuple[str, ...] = ()
    default_sensitivity: Sensitivity = "Public"
    complexity_header: str | None = None
    """In lower case; None where clients do not say it."""
    sensitivity_header: str = "x-agentroute-sensitivity"
    priority_header: str = "x-agentroute-priority"
    queue_max: int = 1000
    queue_ms: int = 30_000

    def target(self, name: str) -> Target:
        """The target with the id `name`."""
        return {target.id: target for target in self.targets}[name]

    def to_json(self) -> str:
        """The file route.json: keys sorted, ASCII only, so that equal policies are equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """The policy that `to_json` wrote."""
        data = _tuples(json.loads(text))
        targets = tuple(Target(**each) for each in data.pop("targets"))
        rules = tuple(_rule(each) for each in data.pop("rules"))
        return cls(targets=targets, rules=rules, **data)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(each) for each in value)
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return value


def _rule(data: dict[str, Any]) -> Rule:
    match = data.pop("match")
    headers = tuple(Header(**each) for each in match.pop("headers"))
    escalate = data.pop("escalate")
    return Rule(match=Match(headers=headers, **match), escalate=Escalate(**escalate) if escalate else None, **data)


@dataclass(frozen=True)
class Request:
    """One request, read (request.py); what a request cannot know is given by the gateway."""

    model: str
    endpoint: Endpoint = "chat/completions"
    readable: bool = True
    """The whole body was there and was JSON; False for bodies over the buffer."""
    tools: bool = False
    vision: bool = False
    prompt_tokens: int = 0
    """Bytes of the body by four, rounded up; a file in it (a data: URL) counts as 1,000."""
    last: bytes = b""
    """Text of the last user message, at most 8,192 bytes."""
    first: bytes = b""
    """Text of the first one, at most 256 bytes."""
    second: bytes = b""
    """Text of the second one, at most 256 bytes: with the first it tells conversations apart that begin alike."""
    turns: int = 0
    """Messages of the user."""
    who: bytes = b""
    """`user` and `prompt_cache_key` of the body, where either is there."""
    complexity: Complexity | None = None
    """What the heuristic, a header or a model says; None where they are unsure."""
    sensitivity: Sensitivity = "Public"
    """The highest class whose pattern is in the text."""
    intent: str | None = None
    caller: str = ""
    """Key id or subject; empty without auth."""
    groups: tuple[str, ...] = ()
    privacy_mode: PrivacyMode = "Standard"
    """Of the calling agent, from its signed identity."""
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case. Of one that comes several times the last value; of the sensitivity header all of them,
    joined by commas."""
    conversation: int = 0
    """Hash of the conversation, 32 bits: caller, model, `first` and `who`; or caller and x-session-id."""
    prefix: int = 0
    """Hash of the first 512 bytes of all messages' text, 32 bits."""
    draw: int = 0
    """A random number below 1,000,000, for weights."""
    turn: int = 0
    """A number that grows by one with each request, for round robin."""
    escalated: dict[str, int] = field(default_factory=dict)
    """Rule → percent of its requests that were escalated in the last minute."""
    smaller_tier: bool = False
    """A budget with SmallerTier is spent."""
    local_only: bool = False
    """A budget with LocalOnly is spent."""


@dataclass(frozen=True)
class Load:
    """One target, as this gateway sees it now."""

    ready: int = 1
    """Pods that answer; of an external endpoint 1 or 0."""
    active: int = 0
    """Requests there or waiting for it."""
    waiting: int = 0
    """Of these the ones that wait."""
    latency_ms: int = 0
    """Mean time to the first byte over its last requests; 0 is unknown."""


@dataclass(frozen=True)
class Decision:
    """What shall be done with a request."""

    status: int
    """200, or the HTTP status of the refusal."""
    reason: Reason
    """Why this target, or why none."""
    rule: str = ""
    plan: tuple[str, ...] = ()
    """Ids of targets in the order in which they are tried; empty for a refusal."""
    hold: bool = False
    """The first has no ready pod: the request waits for one."""
    retries: tuple[Cause, ...] = ()
    """Causes, shown by the target itself, for which the next of the plan is tried; Saturated shows before a request is
    sent, by the gateway that owns the target's count."""
    intent: str = ""
    complexity: Complexity = "Moderate"
    sensitivity: Sensitivity = "Public"
    denied: tuple[str, ...] = ()
    """Names of targets that the privacy filter took away."""
    request_ms: int = 600_000
    first_byte_ms: int = 0
    """0: as request_ms."""
