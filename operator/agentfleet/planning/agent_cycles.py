"""Agents that lead back to themselves: by tools, members, a route as model, or the address of one of these. Pure.

agent ─▶ agent (tool, member) ─▶ agent
agent ─▶ route (model) ─▶ agent (target) ─▶ …
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agentfleet.errors import InvalidSpec
from agentfleet.objects import Key
from agentfleet.planning.route_addresses import service_of
from agentfleet.planning.route_cycles import Lookup, route_at
from agentfleet.resources.agent import Agent

_AGENT_SUFFIX = "-agent"


def check_agent_cycles(agent: Agent, lookup: Lookup, domain: str) -> None:
    """InvalidSpec (AgentCycle) where what is asked of `agent` could come back to it; names the way."""
    way = _Walk(agent, lookup, domain).back
    if way:
        raise InvalidSpec("AgentCycle", f"A question would go in a circle: {' → '.join(map(str, way))}.")


def behind_agent(agent: Agent, lookup: Lookup, domain: str) -> frozenset[Key]:
    """Every object that can be reached from `agent`, whether or not it is there."""
    return _Walk(agent, lookup, domain).seen


class _Walk:
    """From an agent to all that it leads to, breadth first."""

    def __init__(self, agent: Agent, lookup: Lookup, domain: str) -> None:
        start = Key("Agent", agent.namespace, agent.name)
        self.back: tuple[Key, ...] = ()
        """The first way back to the agent; empty where there is none."""
        ways: dict[Key, tuple[Key, ...]] = {start: (start,)}
        waiting: list[tuple[Key, Mapping[str, Any]]] = [(start, agent.spec.dump())]
        while waiting:
            key, spec = waiting.pop(0)
            for to in _Steps(key, domain).of(spec):
                if to == start and not self.back:
                    self.back = (*ways[key], start)
                if to not in ways:
                    ways[to] = (*ways[key], to)
                    waiting.append((to, (lookup(to) or {}).get("spec", {})))
        self.seen = frozenset(ways) - {start}


@dataclass(frozen=True)
class _Steps:
    """Where one object leads."""

    key: Key
    domain: str

    def of(self, spec: Mapping[str, Any]) -> Iterator[Key]:
        if self.key.kind == "Agent":
            yield from self._of_agent(spec)
        elif self.key.kind == "AgentRoute":
            for target in spec.get("targets", ()):
                yield from self._referred("Agent", target.get("agentRef"))
                yield from self._of_model(target)
        elif self.key.kind == "ModelServer":
            yield from self._at(spec.get("external") or {})

    def _of_agent(self, spec: Mapping[str, Any]) -> Iterator[Key]:
        yield from self._of_model(spec.get("model") or {})
        for tool in spec.get("tools", ()):
            yield from self._referred("Agent", tool.get("agent"))
            yield from self._at(tool.get("mcp") or tool.get("http") or {})
        for name in (spec.get("orchestration") or {}).get("members", ()):
            yield Key("Agent", self.key.namespace, name)

    def _of_model(self, model: Mapping[str, Any]) -> Iterator[Key]:
        yield from self._referred("ModelServer", model.get("modelServerRef"))
        yield from self._referred("AgentRoute", model.get("routeRef"))
        yield from self._at(model.get("external") or {})

    def _referred(self, kind: str, ref: Mapping[str, Any] | None) -> Iterator[Key]:
        if ref:
            yield Key(kind, ref.get("namespace") or self.key.namespace, ref["name"])

    def _at(self, place: Mapping[str, Any]) -> Iterator[Key]:
        """The route or the agent whose Service an address is."""
        route = route_at(place, self.key.namespace, self.domain)
        if route:
            yield route
        try:
            host = (urlsplit(str(place.get("url", ""))).hostname or "").lower()
        except ValueError:  # no address at all: agent_uses.py says so
            return
        service = service_of(host, self.key.namespace, self.domain) if host else None
        if service and service[0].endswith(_AGENT_SUFFIX):
            yield Key("Agent", service[1], service[0].removesuffix(_AGENT_SUFFIX))
