"""Routes that lead back to themselves: by an agent whose model is a route, or by the address of a route. Pure.

route ─▶ Agent with model.routeRef ─▶ route
route ─▶ Agent, ModelServer or endpoint with the address of a route's Service or host name ─▶ route
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agentfleet.errors import InvalidSpec
from agentfleet.objects import Key, Manifest
from agentfleet.planning.route_addresses import service_of
from agentfleet.resources.agentroute import AgentRoute

Lookup = Callable[[Key], Manifest | None]
"""Cache.get: the object as it was last seen, None where there is none."""

_SERVICE_SUFFIX = "-route"
_GATEWAYS_SUFFIX = "-route-gateways"


@dataclass(frozen=True)
class Behind:
    """What a route leads to."""

    seen: frozenset[Key]
    """Every object that was looked at."""
    back: tuple[Key, ...] = ()
    """The way back to the route; empty where there is none."""


def check_cycles(route: AgentRoute, lookup: Lookup, domain: str) -> None:
    """InvalidSpec (RouteCycle) where a request to `route` could come back to it; names the way."""
    back = behind(route, lookup, domain).back
    if back:
        raise InvalidSpec("RouteCycle", f"A request would go in a circle: {' → '.join(map(str, back))}.")


def behind(route: AgentRoute, lookup: Lookup, domain: str) -> Behind:
    """All that can be reached from `route`, and the first way by which a request would come back to it."""
    start = Key("AgentRoute", route.namespace, route.name)
    plain: Manifest = {"spec": route.spec.dump()}
    seen: set[Key] = {start}
    back: tuple[Key, ...] = ()
    waiting: list[tuple[Manifest, tuple[Key, ...]]] = [(plain, (start,))]
    while waiting:
        manifest, way = waiting.pop(0)
        for steps in _Steps(way[-1].namespace, lookup, domain, start, route.spec.hostnames).of(manifest):
            end = steps[-1]
            if end == start and not back:
                back = (*way, *steps)
            elif end.kind == "AgentRoute" and end not in seen and (found := lookup(end)):
                waiting.append((found, (*way, *steps)))
            seen |= set(steps)
    return Behind(frozenset(seen - {start}), back)


@dataclass(frozen=True)
class _Steps:
    """Where the targets of one route of `namespace` lead."""

    namespace: str
    lookup: Lookup
    domain: str
    start: Key
    hostnames: tuple[str, ...]

    def of(self, manifest: Manifest) -> Iterator[tuple[Key, ...]]:
        """For each target the objects on the way, a route at the end where it leads to one."""
        for target in manifest.get("spec", {}).get("targets", ()):
            for field, kind in (("agentRef", "Agent"), ("modelServerRef", "ModelServer")):
                if ref := target.get(field):
                    key = Key(kind, ref.get("namespace") or self.namespace, ref["name"])
                    yield (key, *self._beyond(key, (self.lookup(key) or {}).get("spec", {})))
            if external := target.get("external"):
                yield from ((route,) for route in self._at(external, self.namespace))

    def _beyond(self, key: Key, spec: Mapping[str, Any]) -> tuple[Key, ...]:
        """The route behind an Agent or a ModelServer."""
        model = spec if key.kind == "ModelServer" else spec.get("model") or {}
        if key.kind == "Agent" and (ref := model.get("routeRef")):
            return (Key("AgentRoute", ref.get("namespace") or key.namespace, ref["name"]),)
        if key.kind == "Agent" and (ref := model.get("modelServerRef")):
            server = Key("ModelServer", ref.get("namespace") or key.namespace, ref["name"])
            return (server, *self._beyond(server, (self.lookup(server) or {}).get("spec", {})))
        return self._at(model.get("external") or {}, key.namespace)

    def _at(self, external: Mapping[str, Any], namespace: str) -> tuple[Key, ...]:
        """The route whose address this is."""
        if _host(external) in self.hostnames:
            return (self.start,)
        route = route_at(external, namespace, self.domain)
        return (route,) if route else ()


def route_at(external: Mapping[str, Any], namespace: str, domain: str) -> Key | None:
    """The route whose Service an endpoint is for pods of `namespace`, whether or not there is one."""
    host = _host(external)
    service = service_of(host, namespace, domain) if host else None
    name = _route_of(service[0]) if service else None
    return Key("AgentRoute", service[1], name) if service and name else None


def _host(external: Mapping[str, Any]) -> str:
    try:
        return (urlsplit(str(external.get("url", ""))).hostname or "").lower()
    except ValueError:  # no address at all: route_targets.py says so
        return ""


def _route_of(service: str) -> str | None:
    """The AgentRoute that a Service belongs to, by its name."""
    for suffix in (_SERVICE_SUFFIX, _GATEWAYS_SUFFIX):
        if service.endswith(suffix):
            return service.removesuffix(suffix)
    name, _, index = service.rpartition("-")
    return name.removesuffix(_SERVICE_SUFFIX) if index and name.endswith(_SERVICE_SUFFIX) else None
