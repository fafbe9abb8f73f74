"""What one agent's process is told of its tools: the part `tools` of agent.json (config.py). Pure data."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Header:
    """A header whose value is mounted."""

    name: str
    file: str


@dataclass(frozen=True)
class ApprovalRule:
    """Which calls wait for a person."""

    mode: Literal["Never", "Always", "Listed"] = "Never"
    tools: tuple[str, ...] = ()
    """For Listed: names as the tool's server has them."""


@dataclass(frozen=True)
class McpTool:
    """A server of the Model Context Protocol, by streamable HTTP."""

    url: str
    include: tuple[str, ...] = ()
    """Tools that are used; empty: all."""
    exclude: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    kind: Literal["mcp"] = "mcp"


@dataclass(frozen=True)
class HttpTool:
    """One HTTP request."""

    url: str
    """With {name} for arguments that go into the path."""
    description: str = ""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    input_schema: dict[str, Any] | None = None
    """JSON Schema of the arguments. Those that are not in the path go into the query (GET, DELETE) or the JSON body."""
    headers: tuple[Header, ...] = ()
    timeout: float | None = None
    kind: Literal["http"] = "http"


@dataclass(frozen=True)
class AgentTool:
    """Another agent, over A2A."""

    url: str
    """Its address, without a slash at the end."""
    description: str = ""
    timeout: float | None = None
    ca_file: str | None = None
    """Mounted certificates (PEM) that its own is checked against; None: the public ones."""
    token_file: str | None = None
    """For one in another namespace, which does not know our key: a token of this pod's service account."""
    kind: Literal["agent"] = "agent"


@dataclass(frozen=True)
class PythonTool:
    """Functions in a container of their own in this pod, over MCP on the loopback."""

    port: int
    kind: Literal["python"] = "python"


@dataclass(frozen=True)
class ToolEntry:
    """One entry of spec.tools."""

    name: str
    use: McpTool | HttpTool | AgentTool | PythonTool
    approval: ApprovalRule = ApprovalRule()
    allowed_groups: tuple[str, ...] = ()
    """Callers of these groups alone may have it called; empty: all."""
    when_offline: Literal["Fail", "Queue"] = "Fail"
    """Queue: a call that finds no connection is kept, and sent when the connection is back."""
