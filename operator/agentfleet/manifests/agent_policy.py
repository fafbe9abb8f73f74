"""Who may reach an Agent's pods, and what they may reach. Pure.

    in    clients and gateways of the allowed namespaces, the operator and monitoring
    out   DNS, the model, tools, other agents, the store of sessions, the collector of traces; the API server, where
          tokens of callers are judged

In privacy mode Offline all of these are pods of the cluster, named by their labels (planning/agent_uses.py sees to it),
DNS included: port 53 of any address would be a way out.
"""

from agentfleet.manifests.agent_names import AGENT_PORT, agent_child, agent_name, request_port
from agentfleet.manifests.agent_uses import Uses
from agentfleet.manifests.egress import DNS, Rule, cluster_dns
from agentfleet.manifests.policy import from_namespaces, peer_of, tcp
from agentfleet.objects import AGENT_LABEL, Manifest
from agentfleet.resources.agent import Agent
from agentfleet.resources.compliance import privacy_in_force
from agentfleet.settings import Settings


def agent_policy(agent: Agent, uses: Uses, settings: Settings) -> Manifest | None:
    """The NetworkPolicy NAME-agent; None where the operator makes none."""
    if not settings.network_policies:
        return None
    watchers = {settings.namespace, *settings.monitoring_namespaces}
    clients: Rule = {"from": [peer_of(agent.spec.allowed_namespaces)], "ports": [tcp(request_port(agent))]}
    offline = privacy_in_force(agent.spec).mode == "Offline"
    dns = cluster_dns(settings.agents_dns_cidrs) if offline else DNS
    spec = {
        "podSelector": {"matchLabels": {AGENT_LABEL: agent.name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [clients, from_namespaces(watchers, AGENT_PORT)],
        "egress": [dns, *uses.egress],
    }
    return agent_child(agent, "networking.k8s.io/v1", "NetworkPolicy", agent_name(agent.name), spec=spec)
