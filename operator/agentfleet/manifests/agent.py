"""The children of an Agent but its NetworkPolicy: account, Services, ConfigMap, claim, budget, Deployment. Pure."""

from typing import Any

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.agent_names import (
    HTTPS_PORT,
    agent_child,
    agent_config_name,
    agent_name,
    headless_agent_name,
    request_port,
    sessions_claim_name,
)
from agentfleet.manifests.agent_volumes import has_claim, is_shared
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.manifests.service import HTTP_PORT
from agentfleet.objects import AGENT_LABEL, Manifest
from agentfleet.resources.agent import Agent
from agentfleet.resources.agent_guards import Volume
from agentfleet.settings import Settings

_MOST_BYTES = 2**20
"""What the API server takes as data of one ConfigMap."""
_START_SECONDS = 300


def service_account(agent: Agent) -> Manifest | None:
    """The account that pods run as, with no right of its own; None where spec names another one."""
    if agent.spec.runtime and agent.spec.runtime.service_account_name:
        return None
    return agent_child(agent, "v1", "ServiceAccount", agent_name(agent.name), automountServiceAccountToken=False)


def agent_services(agent: Agent) -> list[Manifest]:
    """The Service for clients (port 80, with spec.tls 443) and the headless one (the pods' own port) for gateways."""
    selector = {AGENT_LABEL: agent.name}
    port = {"name": HTTP_PORT, "port": 80, "protocol": "TCP", "targetPort": HTTP_PORT}
    if agent.spec.tls:
        port = {"name": HTTPS_PORT, "port": 443, "protocol": "TCP", "targetPort": HTTPS_PORT}
    clients = {"type": "ClusterIP", "selector": selector, "ports": [port]}
    pods = {"clusterIP": "None", "selector": selector, "ports": [port | {"port": request_port(agent)}]}
    return [
        agent_child(agent, "v1", "Service", agent_name(agent.name), spec=clients),
        agent_child(agent, "v1", "Service", headless_agent_name(agent), spec=pods),
    ]


def agent_config_map(agent: Agent, revision: str, content: str) -> Manifest:
    """The ConfigMap of one revision; InvalidSpec where the configuration is more than one can hold."""
    if len(content.encode()) > _MOST_BYTES:
        message = f"The configuration is {len(content.encode())} bytes; a ConfigMap holds {_MOST_BYTES} (1Mi)."
        raise InvalidSpec("TooLarge", message)
    return agent_child(
        agent,
        "v1",
        "ConfigMap",
        agent_config_name(agent, revision),
        {REVISION_LABEL: revision},
        data={"agent.json": content},
        immutable=True,
    )


def sessions_claim(agent: Agent) -> Manifest | None:
    """The claim of session.store PersistentVolume, which goes with the Agent; None for other stores."""
    if not has_claim(agent):
        return None
    volume = (agent.spec.session and agent.spec.session.volume) or Volume()
    spec = {
        "accessModes": [volume.access_mode or "ReadWriteOnce"],
        "resources": {"requests": {"storage": volume.size or "1Gi"}},
        "storageClassName": volume.storage_class_name,
    }
    kept = {name: value for name, value in spec.items() if value is not None}
    return agent_child(agent, "v1", "PersistentVolumeClaim", sessions_claim_name(agent), spec=kept)


def agent_budget(agent: Agent, replicas: int) -> Manifest | None:
    """The PodDisruptionBudget: of two and more replicas, one may be evicted at a time. None for one alone, which would
    hold up every drain of its node."""
    if replicas < 2:
        return None
    spec = {
        "minAvailable": replicas - 1,
        "selector": {"matchLabels": {AGENT_LABEL: agent.name}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return agent_child(agent, "policy/v1", "PodDisruptionBudget", agent_name(agent.name), spec=spec)


def agent_deployment(agent: Agent, template: dict[str, Any], replicas: int, settings: Settings) -> Manifest:
    """The Deployment; `replicas` is no part of what it is called applied by, and is changed through /scale."""
    spec = {
        "progressDeadlineSeconds": _START_SECONDS,
        # The ConfigMaps of former revisions are gone: there is nothing to roll back to.
        "revisionHistoryLimit": 0,
        "selector": {"matchLabels": {AGENT_LABEL: agent.name}},
        "strategy": _strategy(agent, settings),
        "template": template,
    }
    labels = {REVISION_LABEL: template["metadata"]["labels"][REVISION_LABEL]}
    manifest = agent_child(agent, "apps/v1", "Deployment", agent_name(agent.name), labels, spec=spec)
    manifest["spec"]["replicas"] = replicas
    return manifest


def _strategy(agent: Agent, settings: Settings) -> dict[str, Any]:
    if has_claim(agent) and not is_shared(agent):
        # One pod at a time may write the volume, and on another node it could not even mount it.
        return {"type": "Recreate"}
    # Where nodes take a number of agents, the successor may find no place before the former pod goes.
    surge = 0 if settings.agents_per_node else 1
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 1 - surge}}
