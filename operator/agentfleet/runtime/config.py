"""What one agent's process is told: the file agent.json, which the operator writes. Pure data.

It holds no secret: keys and headers come from mounted files, which are named here. Everything is resolved: defaults,
references, scenarios of privacy and compliance are settled by the operator, so that the file says what is done.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from agentfleet.runtime.config_tools import ToolEntry
from agentfleet.runtime.types import Mode

Builtin = Literal["Email", "Phone", "CreditCard", "SSN"]
Pattern = Literal["Sequential", "Concurrent", "GroupChat", "Handoff", "Intent"]


@dataclass(frozen=True)
class ModelEndpoint:
    """The model, by its OpenAI API."""

    url: str
    """Base address, /v1 included, without a slash at the end."""
    id: str
    """Model id that is sent there."""
    key_file: str | None = None
    """Mounted API key; None where none is asked for."""
    routed: bool = False
    """An AgentRoute is asked: it retries, so this process does not; and it takes x-agentroute-tier."""
    timeout: float = 600.0
    """Seconds for one answer of the model, if the run's own limit is longer."""
    ca_file: str | None = None
    """Mounted certificates (PEM) that the model's is checked against; None: the public ones."""


@dataclass(frozen=True)
class SamplingDefaults:
    """Where the client says nothing. The client's max_tokens never goes above this one."""

    temperature: float | None = 0.1
    max_tokens: int | None = 512
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Bounds of one run."""

    timeout: float = 30.0
    """Seconds, the wait for a place not counted; then 408."""
    max_iterations: int = 10
    """Answers of the model in one run."""
    max_tool_calls: int = 20
    tool_timeout: float = 30.0
    tool_output: int = 16_384
    """Characters of one tool's result that the model gets; the rest is cut, and said so."""


@dataclass(frozen=True)
class Concurrency:
    """Runs at once in this process."""

    max: int = 10
    queue: int = 20
    queue_timeout: float = 10.0


@dataclass(frozen=True)
class Grant:
    """Who may ask the agent: any of these groups, or these service accounts (NAMESPACE:NAME)."""

    groups: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    default: Literal["Deny", "Allow"] = "Deny"
    allow: tuple[Grant, ...] = ()
    identity_key_file: str | None = None
    """The namespace's key, with which gateways sign who is calling; None: no gateway is believed."""
    token_review: bool = True
    """Direct callers show a token of a service account, which the API server judges."""
    audience: str = "agentfleet"


@dataclass(frozen=True)
class SessionStore:
    """Where conversations last."""

    store: Literal["Memory", "PersistentVolume", "Redis"] = "Memory"
    folder: str | None = None
    redis_url: str | None = None
    redis_password_file: str | None = None
    ttl: float = 3600.0
    """Seconds after the last turn."""
    max: int = 1000
    """Sessions; the one that was used longest ago goes first."""
    compaction: Literal["None", "Sliding", "Summarize"] = "Sliding"
    compaction_tokens: int = 4096
    """Estimated tokens of history above which it is compacted."""


@dataclass(frozen=True)
class Guardrail:
    """One check of texts."""

    type: Literal["Regex", "MaxLength", "JSONSchema", "PII"]
    action: Literal["Reject", "Mask", "Warn"]
    pattern: str | None = None
    """Regex: what must not occur."""
    max_length: int | None = None
    json_schema: dict[str, Any] | None = None
    builtins: tuple[Builtin, ...] = ()
    """PII: what is looked for."""


@dataclass(frozen=True)
class Guardrails:
    """Checks of what goes in and out."""

    input: tuple[Guardrail, ...] = ()
    output: tuple[Guardrail, ...] = ()


@dataclass(frozen=True)
class Protocols:
    """What is served."""

    openai: bool = True
    responses: bool = True
    a2a: bool = True
    mcp: bool = False


@dataclass(frozen=True)
class Privacy:
    """What is kept from whom."""

    mode: Mode = "Standard"
    redact_logs: bool = True
    audit_content: bool = False
    """Texts in audit lines; never in Private and Offline."""


@dataclass(frozen=True)
class Member:
    """A remote agent that takes part."""

    name: str
    url: str
    description: str = ""
    ca_file: str | None = None
    """As of an AgentTool."""


@dataclass(frozen=True)
class Orchestration:
    """Several agents behind this one."""

    pattern: Pattern
    members: tuple[Member, ...]
    max_rounds: int = 10


@dataclass(frozen=True)
class Tls:
    """The mounted certificate and key (PEM) of a port with HTTPS."""

    cert_file: str
    key_file: str
    port: int = 8443


@dataclass(frozen=True)
class Alert:
    """A threshold, and what is done while it is passed."""

    metric: Literal["ResponseTime", "ErrorRate", "Memory", "CPU", "QueueDepth"]
    threshold: float
    """Seconds, percent or a count, by the metric."""
    action: Literal["SmallerTier", "Shed"] | None = None
    for_seconds: float = 60.0


@dataclass(frozen=True)
class Monitoring:
    """What is watched."""

    alerts: tuple[Alert, ...] = ()
    otlp_endpoint: str | None = None
    capture_content: bool = False
    memory_soft_limit_percent: int = 80
    """Of the container's memory: above it new runs are refused."""


@dataclass(frozen=True)
class AgentConfig:
    """One agent."""

    name: str
    namespace: str
    url: str
    """Where clients reach the agent: for its A2A card."""
    revision: str
    description: str = ""
    role: str = ""
    """Such as customer-service: before the instructions, and the name of the card's first skill."""
    instructions: str = ""
    instructions_file: str | None = None
    """Mounted instructions, which win."""
    model: ModelEndpoint | None = None
    """None only for an orchestration that needs none."""
    sampling: SamplingDefaults = SamplingDefaults()
    limits: Limits = Limits()
    concurrency: Concurrency = Concurrency()
    tools: tuple[ToolEntry, ...] = ()
    access: Access = Access()
    session: SessionStore = SessionStore()
    protocols: Protocols = Protocols()
    privacy: Privacy = Privacy()
    guardrails: Guardrails = Guardrails()
    fallback_reply: str = "I'm experiencing technical difficulties. Please try again."
    orchestration: Orchestration | None = None
    monitoring: Monitoring = Monitoring()
    tls: Tls | None = None
    """None: plain HTTP."""
    data_folder: str = "/var/lib/agent"
    """Queued calls, the local history of metrics, sessions on a volume."""
    environment_folder: str = "/var/run/agentfleet/environment"
    """Files of the variables that come from Secrets and ConfigMaps, which follow these; it may be missing."""
    drain_timeout: float = 120.0
    """Seconds that runs in flight may take once the process is told to stop; clients know by then that it goes."""

    def to_json(self) -> str:
        """The file agent.json; equal configurations are equal bytes."""
        return _ADAPTER.dump_json(self, indent=None).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> "AgentConfig":
        """The configuration that `to_json` wrote; pydantic's ValidationError for anything else."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(AgentConfig)
