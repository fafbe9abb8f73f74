"""What an Agent uses, as its references turned out: plain data between planning/agent_uses.py, which looks them up, and
the configuration, volumes and policies that are made of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentfleet.manifests.egress import Rule
from agentfleet.resources.conditions import ConditionStatus


@dataclass(frozen=True)
class ModelUse:
    """The model."""

    url: str
    """Base address of its OpenAI API, /v1 included."""
    id: str
    """Model id that is sent there."""
    routed: bool = False
    """An AgentRoute is asked."""
    key_secret: str | None = None
    """Secret whose key apiKey is sent."""
    ca_config_map: str | None = None
    """ConfigMap whose key ca.crt the certificate is checked against."""
    ready: ConditionStatus = "Unknown"
    """Whether the object serves; Unknown for what is outside."""
    message: str = ""


@dataclass(frozen=True)
class ToolUse:
    """One entry of spec.tools, or a member of an orchestration."""

    url: str
    description: str = ""
    ca_config_map: str | None = None
    """As of a ModelUse; of an agent."""


@dataclass(frozen=True)
class Uses:
    """All references of one Agent."""

    model: ModelUse | None = None
    tools: Mapping[str, ToolUse] = field(default_factory=dict)
    """By name, but for Python functions, which are in the pod."""
    members: tuple[tuple[str, ToolUse], ...] = ()
    """Of the orchestration, in order."""
    egress: tuple[Rule, ...] = ()
    """To all that is outside the pod."""
    judges_tokens: bool = False
    """The API server is asked about tokens of callers."""
