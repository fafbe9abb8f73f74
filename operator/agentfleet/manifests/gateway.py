"""The StatefulSets of an AgentRoute's gateways. Pure.

A StatefulSet for names that stay: a gateway is a peer of the others by its name, and owns counts by its number. Pods
start side by side (Parallel), so that one that cannot start holds up no other, and a bad configuration is left again
without a hand; they are replaced one by one.
"""

from typing import Any

from agentfleet.manifests.gateway_names import GATEWAY_LABEL, Member, gateways_name, route_child
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import AGENT_ROUTE_LABEL, Manifest
from agentfleet.resources.agentroute import AgentRoute


def gateway_set(route: AgentRoute, member: Member, replicas: int, template: dict[str, Any]) -> Manifest:
    """The StatefulSet that `member` is of."""
    spec = {
        "podManagementPolicy": "Parallel",
        "replicas": replicas,
        "selector": {"matchLabels": {AGENT_ROUTE_LABEL: route.name, GATEWAY_LABEL: member.workload}},
        "serviceName": gateways_name(route),
        "template": template,
        "updateStrategy": {"type": "RollingUpdate"},
    }
    revision = template["metadata"]["labels"][REVISION_LABEL]
    return route_child(route, "apps/v1", "StatefulSet", member.workload, labels={REVISION_LABEL: revision}, spec=spec)
