"""Names, labels and owner references of an Agent's children. Pure.

Service NAME-agent              clients and gateways; so are called its Deployment, account, policy and budget
Service NAME-agent-pods         headless: the pods that serve
ConfigMap NAME-agent-REVISION   what pods run with
PersistentVolumeClaim NAME-agent-sessions
"""

from typing import Any

from agentfleet.manifests.names import owned_by
from agentfleet.objects import AGENT_LABEL, FIELD_MANAGER, MANAGED_BY, Manifest
from agentfleet.resources.agent import Agent

AGENT_PORT = 8080
"""What pods listen on; with spec.tls for probes and metrics alone."""

AGENT_TLS_PORT = 8443
"""What they take requests on then."""

HTTPS_PORT = "https"
"""Its name."""

ROLE_LABEL = "agentfleet.dev/role"
"""Label of pods: spec.role."""

COMPONENT = {"app.kubernetes.io/component": "agent", MANAGED_BY: FIELD_MANAGER}
"""Labels that pods of all Agents have."""


def agent_name(name: str) -> str:
    """The Service that clients use, and most other children, of the Agent `name`."""
    return f"{name}-agent"


def headless_agent_name(agent: Agent) -> str:
    """The headless Service whose DNS answer lists the pods that serve."""
    return f"{agent.name}-agent-pods"


def agent_config_name(agent: Agent, revision: str) -> str:
    """The ConfigMap of one revision."""
    return f"{agent.name}-agent-{revision}"


def sessions_claim_name(agent: Agent) -> str:
    """The claim of session.store PersistentVolume."""
    return f"{agent.name}-agent-sessions"


def agent_address(name: str, namespace: str, cluster_domain: str, *, tls: bool) -> str:
    """Where an Agent is reached inside the cluster, without a slash at the end."""
    return f"{'https' if tls else 'http'}://{agent_name(name)}.{namespace}.svc.{cluster_domain}"


def request_port(agent: Agent) -> int:
    """Where its pods take requests."""
    return AGENT_TLS_PORT if agent.spec.tls else AGENT_PORT


def agent_labels(agent: Agent) -> dict[str, str]:
    """Labels on every child, pods included."""
    return COMPONENT | {"app.kubernetes.io/instance": agent.name, AGENT_LABEL: agent.name}


def agent_child(
    agent: Agent, api_version: str, kind: str, name: str, labels: dict[str, str] | None = None, **body: Any
) -> Manifest:
    """A child of `agent` with labels, owner and the digest of all that it is."""
    return owned_by(agent, "Agent", api_version, kind, name, agent_labels(agent) | (labels or {}), **body)
