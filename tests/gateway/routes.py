"""Policies and layouts for tests of the rendered gateway."""

from typing import Any

from agentfleet.gateway.complexity import HEURISTIC
from agentfleet.gateway.layout import Backend, Layout
from agentfleet.gateway.types import Policy, Rule, Target

SENSITIVE = ((r"\b\d{3}-\d{2}-\d{4}\b", "Restricted"), (r"[\w.]+@[\w.]+", "Confidential"))


def target(number: int, name: str, **fields: Any) -> Target:
    """A target; a ModelServer, unless it is said otherwise."""
    kind = fields.pop("kind", "ModelServer")
    word = {"Agent": "agent", "ModelServer": "model", "External": "target"}[kind]
    values = {"model": f"{name}-id", "names": (f"{word}/{name}",), **fields}
    return Target(id=f"t{number}", name=name, kind=kind, **values)


def backend(target: Target, **fields: Any) -> Backend:
    """Pods of a target, as they are in a cluster."""
    host = f"{target.name}-pods.team.svc.cluster.local"
    service = None if target.kind == "External" else f"{target.name}.team.svc.cluster.local"
    values = {"host": host, "port": 8000, "service": service, "capacity": target.capacity, **fields}
    return Backend(id=target.id, is_agent=target.kind == "Agent", **values)


def policy(*targets: Target, rules: tuple[Rule, ...] = (), **fields: Any) -> Policy:
    values = {"aliases": ("auto", "route/chat"), **fields}
    return Policy(namespace="team", name="chat", targets=targets, rules=rules, **values)


def layout(policy: Policy, **fields: Any) -> Layout:
    """A layout with a plain backend for each target, but for those that are given."""
    given = {each.id: each for each in fields.pop("backends", ())}
    backends = tuple(given.get(each.id) or backend(each) for each in policy.targets)
    values = {"sensitive": SENSITIVE, "complexity": HEURISTIC, "grace_s": 1, **fields}
    return Layout(backends=backends, **values)
