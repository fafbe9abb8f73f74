"""Where the pods of a ModelServer may run and how they share out: everything of a pod that the scheduler reads. Pure.

Spread   over sites, then over nodes, as evenly as can be; a wish and no demand, so that no pod waits for balance
Pack     onto nodes that have pods of the same ModelServer already, so that others stay free
PerNode  a DaemonSet (manifests/kinds.py): every node that fits, so nothing is left to balance
"""

import math
from typing import Any

from agentfleet.durations import parse_duration
from agentfleet.manifests.affinity import node_affinity
from agentfleet.manifests.names import CLAIM_LABEL, REVISION_LABEL, cache_claim_name
from agentfleet.manifests.volumes import binds_to_one_node
from agentfleet.objects import MODEL_SERVER_LABEL
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.pods import Placement

_HOSTNAME = "kubernetes.io/hostname"
_LOST_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def placement_mode(server: ModelServer) -> str:
    """Spread, Pack or PerNode."""
    return (server.spec.placement.mode if server.spec.placement else None) or "Spread"


def pod_placement(server: ModelServer, site_label: str, gpu_resource: str | None) -> dict[str, Any]:
    """The fields of a pod's spec that say where it may run; `gpu_resource` is None for pods without GPUs."""
    placement = server.spec.placement or Placement()
    fields = {
        "affinity": _affinity(server, site_label),
        "nodeSelector": dict(placement.node_selector or {}),
        "priorityClassName": placement.priority_class_name,
        "schedulerName": placement.scheduler_name,
        "tolerations": _tolerations(server, placement, gpu_resource),
        "topologySpreadConstraints": _spread(server, site_label),
    }
    return {name: value for name, value in fields.items() if value}


def _affinity(server: ModelServer, site_label: str) -> dict[str, Any]:
    affinity = node_affinity(server, site_label)
    if binds_to_one_node(server):
        # The first of them is let in anywhere, since it matches itself.
        claim = {"matchLabels": {CLAIM_LABEL: cache_claim_name(server)}}
        together = dict(affinity.get("podAffinity") or {})
        terms = [*(together.get(_REQUIRED) or ()), {"labelSelector": claim, "topologyKey": _HOSTNAME}]
        return affinity | {"podAffinity": together | {_REQUIRED: terms}}
    kind = {"Pack": "podAffinity", "Spread": "podAntiAffinity"}.get(placement_mode(server))
    if kind is None:
        return affinity
    pods = dict(affinity.get(kind) or {})
    term: dict[str, Any] = {
        "labelSelector": {"matchLabels": {MODEL_SERVER_LABEL: server.name}},
        "topologyKey": _HOSTNAME,
    }
    if kind == "podAntiAffinity":
        # The old pods of a rollout are about to leave and must not push new ones together.
        term["matchLabelKeys"] = [REVISION_LABEL]
    pods[_PREFERRED] = [*(pods.get(_PREFERRED) or ()), {"podAffinityTerm": term, "weight": 100}]
    return affinity | {kind: pods}


def _tolerations(server: ModelServer, placement: Placement, gpu_resource: str | None) -> list[dict[str, Any]]:
    tolerations = [toleration.dump() for toleration in placement.tolerations]
    if gpu_resource:
        tolerations.append({"key": gpu_resource, "operator": "Exists", "effect": "NoSchedule"})
    # A DaemonSet's controller lets its pods tolerate a lost node for ever, which is what PerNode promises.
    return tolerations if placement_mode(server) == "PerNode" else tolerations + lost_node_tolerations(placement)


def lost_node_tolerations(placement: Placement) -> list[dict[str, Any]]:
    """How long pods stay where they are while their node cannot be reached."""
    grace = placement.edge.not_ready_grace if placement.edge else None
    if grace is None:
        return []
    seconds = math.ceil(parse_duration(grace))
    return [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        for key in _LOST_NODE_TAINTS
    ]


def _spread(server: ModelServer, site_label: str) -> list[dict[str, Any]]:
    """Over sites, within one revision; over nodes it is a wish for anti-affinity.

    Not both as constraints: the scheduler passes over nodes that lack the label of any of them, and many clusters have
    no zones. It is also the default, since the scheduler's own tolerates a skew of 3 nodes and 5 zones: with two or
    three replicas that is no spreading at all.
    """
    if placement_mode(server) != "Spread" or binds_to_one_node(server):
        return []
    return [
        {
            "labelSelector": {"matchLabels": {MODEL_SERVER_LABEL: server.name}},
            "matchLabelKeys": [REVISION_LABEL],
            "maxSkew": 1,
            "topologyKey": site_label,
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ]
