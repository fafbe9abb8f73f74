"""Where the gateways of an AgentRoute may run: everything of their pods that the scheduler reads. Pure."""

from typing import Any

from agentfleet.manifests.gateway_names import Member
from agentfleet.objects import AGENT_ROUTE_LABEL
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.route_gateway import GatewayPlacement

_HOSTNAME = "kubernetes.io/hostname"
_LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def gateway_placement(route: AgentRoute, member: Member, site_label: str) -> dict[str, Any]:
    """The fields of a pod's spec; those that nobody asks for are left out."""
    gateway = route.spec.gateway
    placement = (gateway and gateway.placement) or GatewayPlacement()
    fields = {
        "affinity": _affinity(route, member, placement, site_label),
        "nodeSelector": dict(placement.node_selector or {}),
        "priorityClassName": placement.priority_class_name,
        "tolerations": _tolerations(member, placement),
        "topologySpreadConstraints": [] if member.site is not None else [_spread(route, site_label)],
    }
    return {name: value for name, value in fields.items() if value}


def _affinity(route: AgentRoute, member: Member, placement: GatewayPlacement, site_label: str) -> dict[str, Any]:
    apart = {
        "podAffinityTerm": {
            "labelSelector": {"matchLabels": {AGENT_ROUTE_LABEL: route.name}},
            "topologyKey": _HOSTNAME,
        },
        "weight": 100,
    }
    affinity: dict[str, Any] = {}
    if member.site is None:
        affinity["podAntiAffinity"] = {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}
    sites = [member.site] if member.site is not None else sorted(placement.sites)
    if sites:
        must = {"key": site_label, "operator": "In", "values": sites}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [must]}]}
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    return affinity


def _tolerations(member: Member, placement: GatewayPlacement) -> list[dict[str, Any]]:
    """A site that is cut off keeps its gateway: it has no better place, and goes on serving the site."""
    lost = _LOST_NODE_TAINTS if member.site is not None else ()
    own = [toleration.dump() for toleration in placement.tolerations]
    return own + [{"key": key, "operator": "Exists", "effect": "NoExecute"} for key in lost]


def _spread(route: AgentRoute, site_label: str) -> dict[str, Any]:
    return {
        "labelSelector": {"matchLabels": {AGENT_ROUTE_LABEL: route.name}},
        "maxSkew": 1,
        "topologyKey": site_label,
        "whenUnsatisfiable": "ScheduleAnyway",
    }
