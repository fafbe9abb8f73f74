"""The references of an AgentRoute → what they are now: found, allowed, ready, and where. Pure over what the cache has.

Nothing here is an error but a circle and an address that is none: a reference that leads nowhere is said in status, and
the route goes on with the others. It fails closed: what is not clearly there and clearly allowed gets no request.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.compile_decider import COMPLEXITY_MODEL, INTENT_MODEL
from agentfleet.gateway.resolved import Reason, Resolution, Resolved
from agentfleet.gateway.types import Location
from agentfleet.manifests.egress import NAMESPACE_NAME_LABEL
from agentfleet.objects import Key, Manifest
from agentfleet.planning.allowed import goes_by_labels, lets_in
from agentfleet.planning.route_addresses import outside
from agentfleet.planning.route_cycles import Lookup, behind, check_cycles
from agentfleet.planning.route_endpoints import (
    agent_endpoint,
    credentials_of,
    endpoint_elsewhere,
    headless,
    server_endpoint,
    standing,
)
from agentfleet.planning.route_places import Places
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.external import External
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.route_rules import MODEL_ID
from agentfleet.resources.route_targets import ObjectRef, Target
from agentfleet.settings import Settings

RefKind = Literal["Agent", "ModelServer"]


def references(route: AgentRoute, lookup: Lookup, settings: Settings) -> frozenset[Key]:
    """Every object that `resolve` reads."""
    found = set(behind(route, lookup, settings.cluster_domain).seen)
    for kind, ref in _refs(route):
        namespace = ref.namespace or route.namespace
        found |= {Key(kind, namespace, ref.name), Key("Service", namespace, headless(kind, ref.name))}
    return frozenset(found)


def wants_namespace(route: AgentRoute, lookup: Lookup) -> bool:
    """Whether labels of the route's Namespace decide about a reference."""
    return any(
        goes_by_labels(manifest)
        for kind, ref in _refs(route)
        if (manifest := lookup(Key(kind, ref.namespace or route.namespace, ref.name)))
    )


def resolve(
    route: AgentRoute,
    lookup: Lookup,
    served: frozenset[str],
    settings: Settings,
    namespace_labels: Mapping[str, str] | None = None,
) -> Resolution:
    """What the references are; InvalidSpec where a request could come back, or where an address is none.

    `namespace_labels` are those of the route's Namespace; its name is known without them.
    """
    check_cycles(route, lookup, settings.cluster_domain)
    labels = {**(namespace_labels or {}), NAMESPACE_NAME_LABEL: route.namespace}
    look = _Look(route, lookup, served, settings, labels)
    return Resolution(
        targets={target.name: look.target(target) for target in route.spec.targets},
        models={field: look.referred(field, "ModelServer", ref, None) for field, ref in _classifiers(route)},
    )


def _classifiers(route: AgentRoute) -> Iterator[tuple[str, ObjectRef]]:
    """ModelServers that the decider asks, by the field that names them."""
    classify = route.spec.classify
    if classify and classify.model_ref:
        yield INTENT_MODEL, classify.model_ref
    if classify and classify.complexity and classify.complexity.model_ref:
        yield COMPLEXITY_MODEL, classify.complexity.model_ref


def _refs(route: AgentRoute) -> Iterator[tuple[RefKind, ObjectRef]]:
    for target in route.spec.targets:
        if target.agent_ref:
            yield "Agent", target.agent_ref
        if target.model_server_ref:
            yield "ModelServer", target.model_server_ref
    for _, ref in _classifiers(route):
        yield "ModelServer", ref


def _unsigned(name: str, namespace: str, own: str) -> str:
    """What a route has to say of an agent that cannot check what it signs."""
    return (
        f"{name}: the agent is in namespace {namespace}, and identities are signed for {own} alone: it is not told who"
        " asks, and gets nothing from agents in privacy mode Private or Offline."
    )


def _sendable(found: Resolved) -> Resolved:
    """`found`, which is not ready where no request could name its model: what stands in other objects, and what
    endpoints say of themselves, stops that target alone."""
    if found.endpoint is None or MODEL_ID.fullmatch(found.endpoint.model):
        return found
    field = "external.model" if found.kind == "External" or found.endpoint.url else "model.name"
    message = (
        f"{found.name}: {found.endpoint.model!r} is no model id: set {field} of"
        f" {f'{found.kind} {found.object}' if found.object else 'the target'} to 1 to 253 letters, digits and any of"
        " '-_.:/', a letter or digit first."
    )
    return replace(found, reason="NotReady", message=message, endpoint=None)


def _startable(found: Resolved) -> Resolved:
    """`found`, which is not ready where it is at zero by somebody's hand: no request starts it."""
    if found.reason != "ScaledToZero" or found.endpoint is None or found.endpoint.scales_to_zero:
        return found
    message = f"{found.name}: {found.kind} {found.object} is scaled to zero by hand, and no request starts it."
    return replace(found, reason="NotReady", message=message)


@dataclass(frozen=True)
class _Look:
    """Looks the references of one route up."""

    route: AgentRoute
    lookup: Lookup
    served: frozenset[str]
    settings: Settings
    labels: Mapping[str, str]

    def target(self, target: Target) -> Resolved:
        """One of spec.targets."""
        if target.external:
            found = self._external(target.name, target.external)
        elif target.agent_ref:
            found = self.referred(target.name, "Agent", target.agent_ref, target.location)
        elif target.model_server_ref:
            found = self.referred(target.name, "ModelServer", target.model_server_ref, target.location)
        else:
            message = f"target {target.name} has none of agentRef, modelServerRef and external."
            return Resolved(target.name, "External", "NotFound", message)
        if found.location == "Cloud" and self.route.spec.auth is None and found.endpoint is not None:
            message = f"target {found.name} is in a cloud, and the route has no auth."
            return replace(found, reason="CloudWithoutAuth", message=message)
        return found

    def referred(self, name: str, kind: RefKind, ref: ObjectRef, asked: Location | None) -> Resolved:
        """An Agent or a ModelServer; `asked` is the location that the route gives it."""
        namespace = ref.namespace or self.route.namespace
        elsewhere = f" in namespace {namespace}" if namespace != self.route.namespace else ""
        blank = Resolved(name, kind, "NotFound", "", ref.name, namespace, asked or "Cluster")

        def lost(reason: Reason, message: str) -> Resolved:
            return replace(blank, reason=reason, message=f"{name}: {message}")

        if kind == "Agent" and kind not in self.served:
            return lost("KindNotInstalled", "the API server does not serve agents.agentfleet.dev.")
        manifest = self.lookup(Key(kind, namespace, ref.name))
        if manifest is None or "deletionTimestamp" in manifest["metadata"]:
            return lost("NotFound", f"there is no {kind} {ref.name}{elsewhere}.")
        if not lets_in(manifest, self.labels, same=not elsewhere):
            return lost("NotPermitted", f"{kind} {ref.name}{elsewhere} does not allow {self.route.namespace}.")
        reason, message = standing(manifest)
        found = replace(blank, reason=reason, message=message and f"{name}: {message}")
        if kind == "Agent":
            if elsewhere and not message:
                found = replace(found, message=_unsigned(name, namespace, self.route.namespace))
            found = replace(found, location=self._places.of_agent(Key(kind, namespace, ref.name), asked))
            return _startable(
                _sendable(agent_endpoint(found, manifest, self.lookup, self.settings, self.route.namespace))
            )
        found = replace(found, location=self._places.of_server(Key(kind, namespace, ref.name), asked))
        return _startable(_sendable(self._server(found, manifest)))

    @property
    def _places(self) -> Places:
        return Places(self.lookup, self.settings.cluster_domain)

    def _server(self, found: Resolved, manifest: Manifest) -> Resolved:
        """What is wrong with another object is its own affair: the route goes on with its other targets."""
        own = self.route.namespace
        try:
            server = ModelServer.from_manifest(manifest)
            external = server.spec.external
            if external is None:
                return server_endpoint(found, server, self.lookup, self.settings, own)
            return endpoint_elsewhere(found, server, external, self.settings, own)
        except ValidationError:
            message = f"{found.name}: the spec of ModelServer {found.object} is not valid."
            return replace(found, reason="NotReady", message=message)
        except InvalidSpec as error:
            message = f"{found.name}: ModelServer {found.object}: {error.message}"
            return replace(found, reason="NotReady", message=message)

    def _external(self, name: str, external: External) -> Resolved:
        endpoint = outside(external.url, external.model or "", credentials_of(external), self.settings.denied_cidrs)
        location = self._places.of_external(external.dump(), self.route.namespace, None)
        return _sendable(Resolved(name, "External", "External", location=location, endpoint=endpoint))
