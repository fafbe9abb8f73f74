"""The workloads of an AgentRoute's gateways. Pure.

Several gateways are a StatefulSet, for names that stay: a gateway is a peer of the others by its name, and owns counts
by its number. Pods start side by side (Parallel), so that one that cannot start holds up no other, and a bad
configuration is left again without a hand; they are replaced one by one.

One that is alone, for the route or at its site, is a Deployment: its successor serves before it begins to go.
"""

from typing import Any

from agentfleet.manifests.gateway_names import GATEWAY_LABEL, Member, gateways_name, route_child
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import AGENT_ROUTE_LABEL, Manifest
from agentfleet.resources.agentroute import AgentRoute


def gateway_workload(route: AgentRoute, member: Member, replicas: int, template: dict[str, Any]) -> Manifest:
    """The workload that `member` is of."""
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {AGENT_ROUTE_LABEL: route.name, GATEWAY_LABEL: member.workload}},
        "template": template,
        **(_deployment() if member.alone else _stateful_set(route)),
    }
    labels = {REVISION_LABEL: template["metadata"]["labels"][REVISION_LABEL]}
    kind = "Deployment" if member.alone else "StatefulSet"
    return route_child(route, "apps/v1", kind, member.workload, labels=labels, spec=spec)


def _deployment() -> dict[str, Any]:
    return {
        # The ConfigMaps of former revisions are gone: there is nothing to roll back to.
        "revisionHistoryLimit": 0,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    }


def _stateful_set(route: AgentRoute) -> dict[str, Any]:
    return {
        "podManagementPolicy": "Parallel",
        "serviceName": gateways_name(route),
        "updateStrategy": {"type": "RollingUpdate"},
    }
