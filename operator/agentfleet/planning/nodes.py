"""Nodes as planning sees them, what a pod demands of one, and whether the two match. Pure.

The rules are the scheduler's: labels, node affinity, taints, and requests against what is allocatable. Pod affinity and
topology spread depend on where other pods are at that moment and are left to the scheduler. CPUs are in millicores,
memory in bytes, everything else in units.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentfleet.objects import Manifest
from agentfleet.planning.gpus import gpu_problem
from agentfleet.resources.base import quantity_thousandths, quantity_value

_CONDITIONS = "node.kubernetes.io/"
"""Taints of this group tell a node's passing state: not ready, unreachable, cordoned, under pressure."""

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class NodeView:
    """One node: what it is, what it has and what pods have reserved of it."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    ready: bool = True
    schedulable: bool = True
    taints: tuple[Mapping[str, str], ...] = ()

    def free(self, own: Mapping[str, int] | None = None) -> Mapping[str, int]:
        """What nobody but the holder of `own` has reserved."""
        mine = own or {}
        return {
            # What is known of others' use may be older than what is known of one's own.
            name: min(amount, max(0, amount - self.used.get(name, 0) + mine.get(name, 0)))
            for name, amount in self.allocatable.items()
        }


@dataclass(frozen=True)
class Demand:
    """What one replica needs, and where it may run."""

    gpus: int = 0
    """GPUs of one pod."""
    gpu_resource: str = "nvidia.com/gpu"
    pods: int = 1
    """Pods of one replica: the nodes that it spans."""
    gpu_memory_bytes: int | None = None
    """Least memory of one GPU."""
    cpu_millis: int = 0
    memory_bytes: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    node_terms: tuple[Mapping[str, Any], ...] = ()
    """nodeSelectorTerms of the pod's required node affinity (products and sites included): alternatives."""
    tolerations: tuple[Mapping[str, Any], ...] = ()
    claims: tuple[str, ...] = ()
    """DRA claims of the pod, which nodes do not tell about."""

    @property
    def requests(self) -> Mapping[str, int]:
        """What one pod reserves on its node."""
        wanted = {self.gpu_resource: self.gpus, "cpu": self.cpu_millis, "memory": self.memory_bytes, "pods": 1}
        return {name: amount for name, amount in wanted.items() if amount}


def node_view(node: Manifest, pods: Iterable[Manifest]) -> NodeView:
    """The view of a Node object and of `pods`, those of the whole cluster that are bound to it."""
    status, spec = node.get("status", {}), node.get("spec", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    return NodeView(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        allocatable=amounts(status.get("allocatable") or {}),
        used=total(pod_requests(pod) for pod in pods if pod.get("status", {}).get("phase") not in _ENDED),
        ready=conditions.get("Ready") == "True",
        schedulable=not spec.get("unschedulable", False),
        taints=tuple(spec.get("taints") or ()),
    )


def pod_requests(pod: Manifest) -> Mapping[str, int]:
    """What a pod reserves: its containers and sidecars together, or its largest init container if that is more."""
    spec = pod["spec"]
    inits = spec.get("initContainers") or ()
    sidecars = [_requests(container) for container in inits if container.get("restartPolicy") == "Always"]
    running = total([*(_requests(container) for container in spec["containers"]), *sidecars])
    starting = [_requests(container) for container in inits if container.get("restartPolicy") != "Always"]
    names = {name for part in (running, *starting) for name in part}
    most = {name: max(part.get(name, 0) for part in (running, *starting)) for name in names}
    return total([most, amounts(spec.get("overhead") or {}), {"pods": 1}])


def amounts(quantities: Mapping[str, Any]) -> dict[str, int]:
    """Quantities as numbers: CPUs in millicores, all else in units."""
    return {
        name: quantity_thousandths(value) if name == "cpu" else quantity_value(value)
        for name, value in quantities.items()
    }


def total(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several amounts, by resource."""
    result: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            result[name] = result.get(name, 0) + amount
    return result


def _requests(container: Mapping[str, Any]) -> dict[str, int]:
    # The API server copies limits into requests that are not set, so live pods always have them.
    return amounts((container.get("resources") or {}).get("requests") or {})


def mismatch(node: NodeView, demand: Demand) -> str | None:
    """Why the pods can never run on the node as it is labelled and made; None where they can."""
    for key, value in sorted(demand.node_selector.items()):
        if node.labels.get(key) != value:
            return f"without label {key}={value}"
    if demand.node_terms and not any(_term_matches(node, term) for term in demand.node_terms):
        return "outside the node affinity (products, sites)"
    for taint in node.taints:
        if not taint["key"].startswith(_CONDITIONS) and _repels(taint, demand):
            return f"with taint {taint['key']}, which is not tolerated"
    if demand.gpus and not node.allocatable.get(demand.gpu_resource):
        return f"without {demand.gpu_resource}"
    return gpu_problem(node.labels, demand.gpu_resource, demand.gpus, demand.gpu_memory_bytes)


def takes_pods(node: NodeView, demand: Demand) -> bool:
    """Whether the node takes new pods at this moment; it says nothing about room."""
    pressed = any(taint["key"].startswith(_CONDITIONS) and _repels(taint, demand) for taint in node.taints)
    return node.ready and node.schedulable and not pressed


def pods_in(room: Mapping[str, int], demand: Demand) -> int:
    """Pods of the demand that `room` holds; a resource that it does not name is not there, but for the pod limit."""
    counts = [room.get(name, 0) // amount for name, amount in demand.requests.items() if name != "pods" or name in room]
    return min(counts, default=1)


def _repels(taint: Mapping[str, str], demand: Demand) -> bool:
    if taint.get("effect") == "PreferNoSchedule":
        return False
    return not any(_tolerates(toleration, taint) for toleration in demand.tolerations)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _term_matches(node: NodeView, term: Mapping[str, Any]) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_matches(node.labels, expression) for expression in expressions) and all(
        _matches({"metadata.name": node.name}, expression) for expression in fields
    )


def _matches(labels: Mapping[str, str], expression: Any) -> bool:
    if not isinstance(expression, Mapping):
        return False  # Users write it freely; the API server will refuse the pod.
    listed = expression.get("values")
    values = [str(item) for item in listed] if isinstance(listed, list | tuple) else []
    value = labels.get(str(expression.get("key")))
    number, bound = _integer(value), _integer(values[0] if values else None)
    comparable = number is not None and bound is not None
    answers = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
        "Gt": comparable and (number or 0) > (bound or 0),
        "Lt": comparable and (number or 0) < (bound or 0),
    }
    return answers.get(str(expression.get("operator")), False)


def _integer(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None
