"""Where the pods of an Agent may run: everything of them that the scheduler reads. Pure."""

from typing import Any

from agentfleet.manifests.affinity import narrowed
from agentfleet.manifests.agent_names import COMPONENT
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.manifests.topology import lost_node_tolerations
from agentfleet.objects import AGENT_LABEL
from agentfleet.resources.agent import Agent
from agentfleet.resources.pods import Placement
from agentfleet.settings import Settings

_HOSTNAME = "kubernetes.io/hostname"
_MORE_NODES = 1_000_000
"""More than there ever are: with fewer, the least that a node has counts as none, and skew is the number on a node."""


def agent_placement(agent: Agent, settings: Settings) -> dict[str, Any]:
    """The fields of a pod's spec; those that nobody asks for are left out."""
    placement = agent.spec.placement or Placement()
    must = {"key": settings.site_label, "operator": "In", "values": sorted(placement.sites)}
    tolerations = [toleration.dump() for toleration in placement.tolerations]
    fields = {
        "affinity": _near_or_apart(
            agent, placement, narrowed(dict(placement.affinity or {}), [must] if placement.sites else [])
        ),
        "nodeSelector": dict(placement.node_selector or {}),
        "priorityClassName": placement.priority_class_name,
        "schedulerName": placement.scheduler_name,
        "tolerations": tolerations + lost_node_tolerations(placement),
        "topologySpreadConstraints": [*_cap(settings.agents_per_node), *_spread(agent, placement, settings)],
    }
    return {name: value for name, value in fields.items() if value}


def _near_or_apart(agent: Agent, placement: Placement, affinity: dict[str, Any]) -> dict[str, Any]:
    term: dict[str, Any] = {"labelSelector": {"matchLabels": {AGENT_LABEL: agent.name}}, "topologyKey": _HOSTNAME}
    kind = "podAffinity" if placement.mode == "Pack" else "podAntiAffinity"
    if kind == "podAntiAffinity":
        # The old pods of a rollout are about to leave and must not push new ones together.
        term["matchLabelKeys"] = [REVISION_LABEL]
    pods = dict(affinity.get(kind) or {})
    name = "preferredDuringSchedulingIgnoredDuringExecution"
    pods[name] = [*(pods.get(name) or ()), {"podAffinityTerm": term, "weight": 100}]
    return affinity | {kind: pods}


def _cap(most: int) -> list[dict[str, Any]]:
    """No node gets more pods of Agents than the setting says; the scheduler counts those of one namespace."""
    if not most:
        return []
    return [
        {
            "labelSelector": {"matchLabels": COMPONENT},
            "maxSkew": most,
            "minDomains": _MORE_NODES,
            "topologyKey": _HOSTNAME,
            "whenUnsatisfiable": "DoNotSchedule",
        }
    ]


def _spread(agent: Agent, placement: Placement, settings: Settings) -> list[dict[str, Any]]:
    if placement.mode == "Pack":
        return []
    return [
        {
            "labelSelector": {"matchLabels": {AGENT_LABEL: agent.name}},
            "matchLabelKeys": [REVISION_LABEL],
            "maxSkew": 1,
            "topologyKey": settings.site_label,
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ]
