"""Where requests to a target end up: at the edge, in the cluster or in a cloud, whatever they pass on the way. Pure.

The privacy filter goes by it, so it fails closed: who says outright that it is a cloud is believed, whatever a route
says of it; behind a route is the furthest place that any of its targets has, for the class of a request, which keeps it
from clouds here, is not known there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentfleet.gateway.types import Location
from agentfleet.objects import Key
from agentfleet.planning.route_cycles import Lookup, route_at

_NEAR_TO_FAR: tuple[Location, ...] = ("Edge", "Cluster", "Cloud")


@dataclass(frozen=True)
class Places:
    """Looks up what references lead to, as far as it takes."""

    lookup: Lookup
    domain: str
    passed: frozenset[Key] = frozenset()
    """Routes on the way here: one that comes again adds no place."""

    def of_agent(self, key: Key, asked: Location | None) -> Location:
        """An agent is where the model is that it hands its requests to."""
        model = (self.lookup(key) or {}).get("spec", {}).get("model") or {}
        if ref := model.get("modelServerRef"):
            return self.of_server(Key("ModelServer", ref.get("namespace") or key.namespace, ref["name"]), asked)
        if ref := model.get("routeRef"):
            return self.of_route(Key("AgentRoute", ref.get("namespace") or key.namespace, ref["name"]), asked)
        return (
            self.of_external(model["external"], key.namespace, asked) if model.get("external") else asked or "Cluster"
        )

    def of_server(self, key: Key, asked: Location | None) -> Location:
        """A ModelServer is in the cluster, but for one that is an endpoint outside."""
        external = (self.lookup(key) or {}).get("spec", {}).get("external")
        return self.of_external(external, key.namespace, asked) if external else asked or "Cluster"

    def of_external(self, external: Mapping[str, Any], namespace: str, asked: Location | None) -> Location:
        """An endpoint outside, which may be a route after all."""
        said: Location | None = external.get("location")
        if said == "Cloud":
            return "Cloud"
        route = route_at(external, namespace, self.domain)
        if route and self.lookup(route):
            return self.of_route(route, asked or said)
        return asked or said or "Cloud"

    def of_route(self, key: Key, asked: Location | None = None) -> Location:
        """A route is as far as the furthest of its targets."""
        if key in self.passed:
            return asked or "Edge"
        manifest = self.lookup(key)
        if manifest is None:
            return "Cloud"
        beyond = Places(self.lookup, self.domain, self.passed | {key})
        places = [beyond._of_target(target, key.namespace) for target in manifest["spec"].get("targets", ())]
        furthest: Location = max(places, key=_NEAR_TO_FAR.index, default="Cluster")
        return "Cloud" if furthest == "Cloud" else asked or furthest

    def _of_target(self, target: Mapping[str, Any], namespace: str) -> Location:
        asked: Location | None = target.get("location")
        if ref := target.get("agentRef"):
            return self.of_agent(Key("Agent", ref.get("namespace") or namespace, ref["name"]), asked)
        if ref := target.get("modelServerRef"):
            return self.of_server(Key("ModelServer", ref.get("namespace") or namespace, ref["name"]), asked)
        return self.of_external(target.get("external") or {}, namespace, asked)
