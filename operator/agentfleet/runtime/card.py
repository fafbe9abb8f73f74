"""The agent's A2A card: what it is called, what it can do, where and how it is asked. Pure."""

from collections.abc import Sequence

from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)

from agentfleet.runtime import hitl
from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.types import Tool

PATH = "/a2a"
"""Of the JSON-RPC endpoint, below the agent's address."""
VERSIONS = ("1.0", "0.3")
"""Of the protocol, preferred first; the SDK answers both at one address."""
_SCHEME = "serviceAccountToken"
_TEXT = ["text/plain"]


def card(config: AgentConfig, tools: Sequence[Tool] = ()) -> AgentCard:
    """The card; `tools` become skills besides the agent's own."""
    told = AgentCard(
        name=config.name,
        description=config.description or f"Agent {config.name}",
        version=config.revision,
        supported_interfaces=[
            AgentInterface(url=config.url + PATH, protocol_binding="JSONRPC", protocol_version=version)
            for version in VERSIONS
        ],
        capabilities=AgentCapabilities(
            streaming=True,
            push_notifications=False,
            extensions=[AgentExtension(uri=hitl.URI, description=hitl.DESCRIPTION, required=False)],
        ),
        default_input_modes=[*_TEXT, "image/*"],
        default_output_modes=_TEXT,
        skills=[_own_skill(config), *(_tool_skill(tool) for tool in tools)],
    )
    if config.access.token_review:
        told.security_schemes[_SCHEME].CopyFrom(_token_scheme(config))
        told.security_requirements.append(SecurityRequirement(schemes={_SCHEME: StringList()}))
    return told


def _own_skill(config: AgentConfig) -> AgentSkill:
    return AgentSkill(
        id=config.role or config.name,
        name=config.role or config.name,
        description=config.description or f"Ask {config.name}",
        tags=[config.role or "agent"],
    )


def _tool_skill(tool: Tool) -> AgentSkill:
    return AgentSkill(
        id=f"tool:{tool.name}", name=tool.name, description=tool.description or tool.name, tags=["tool", tool.source]
    )


def _token_scheme(config: AgentConfig) -> SecurityScheme:
    """What a direct caller shows; through a gateway it is the gateway that says who is calling."""
    description = f"Token of a Kubernetes service account, audience {config.access.audience}"
    return SecurityScheme(http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="Bearer", description=description))
