"""What reconcile does for an AgentRoute: resolve its targets, render its gateway, make it, assess it.

    resolve ─▶ Services ─ their addresses ─▶ plan (compile, render, manifests) ─▶ ConfigMap, workload … ─▶ status

Services come first, for gateways know each other by their addresses. Whatever is wrong with a spec is found before
anything else is applied, so that a bad change leaves the running gateway alone. It decides nothing itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.compile_layout import is_per_site
from agentfleet.gateway.layout import Layout
from agentfleet.gateway.types import Policy
from agentfleet.objects import Key, Manifest
from agentfleet.planning.failures import is_ready
from agentfleet.planning.route_health import assess_route, route_stalled
from agentfleet.planning.route_observed import RouteObserved, gather_route
from agentfleet.planning.route_plan import await_targets, plan_route, route_services
from agentfleet.planning.route_targets import references, resolve, wants_namespace
from agentfleet.reconcilers.base import KindReconciler, Surroundings, mount_failures, nodes, parsed, sooner
from agentfleet.reconcilers.identities import Identities
from agentfleet.references import ANY_NODE, served_key
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.agentroute_status import AgentRouteStatus
from agentfleet.status import agent_route_decisions

Render = Callable[[Policy, Layout], Mapping[str, str]]
"""A policy and where its targets are → the files of the gateway (gateway/haproxy.py)."""

_WHILE_STARTING = 10.0
"""Seconds between looks while a gateway is not ready: what keeps a volume from it raises no watch event."""


class AgentRoutes(KindReconciler[AgentRouteStatus]):
    """See KindReconciler."""

    def __init__(
        self,
        around: Surroundings,
        render: Render,
        public_keys: Callable[[Key], str | None] = lambda route: None,
        lacking_secrets: Callable[[Key, str | None], frozenset[str] | None] = lambda route, revision: None,
    ) -> None:
        """`public_keys` tells the digest of those that a route's gateways have to be replaced for, `lacking_secrets` in
        which Secrets gateways of a revision find no usable key (public_keys.py)."""
        super().__init__(around, AgentRouteStatus, agent_route_decisions)
        self._cache = around.cache
        self._settings = around.settings
        self._render = render
        self._public_keys = public_keys
        self._lacking_secrets = lacking_secrets
        self._identities = Identities(around)

    async def work(self, key: Key, parent: Manifest, before: AgentRouteStatus) -> float | None:
        """One pass."""
        route = parsed(AgentRoute.from_manifest, parent)
        self._around.references.set(key, self._references(route))
        labels = self._cache.namespace_labels(route.namespace)
        resolution = resolve(route, self._cache.get, self._cache.served, self._settings, labels)
        services = route_services(route, resolution, self._observe(key, parent), self._settings)
        await self._children.check_ghost(key, route.uid, before.observed_generation, services)
        await self._children.make(services, ())
        observed = replace(self._observe(key, parent), public_keys=self._public_keys(key))
        await_targets(resolution, observed, _age(parent, self._around.now()))
        wanted = plan_route(route, resolution, observed, self._settings, self._render)
        await self._children.check_ghost(key, route.uid, before.observed_generation, wanted.apply)
        if wanted.apply and not (observed.workloads and all(map(_is_serving, observed.workloads))):
            await self._identities.ensure(route.namespace)
        await self._children.make(wanted.apply, wanted.delete)
        made = self._observe(key, parent)
        lacking = self._lacking_secrets(key, wanted.revision)
        made = replace(made, lacking_secrets=lacking, mount_failures=await mount_failures(self._around, made.pods))
        now = self._around.now()
        assessment = assess_route(route, before, resolution, wanted, made, self._settings, now)
        due = await self.status.write(parent, before, assessment.status, now)
        return sooner(assessment.after, due, None if all(map(is_ready, made.pods)) else _WHILE_STARTING)

    def stalled(self, key: Key, parent: Manifest, before: AgentRouteStatus, error: InvalidSpec) -> AgentRouteStatus:
        """The gateway of the former spec goes on serving."""
        generation = parent["metadata"]["generation"]
        return route_stalled(before, self._observe(key, parent), error, generation, self._around.now())

    def _observe(self, key: Key, parent: Manifest) -> RouteObserved:
        return gather_route(
            lambda kind: self._cache.children(key, kind),
            parent["metadata"]["uid"],
            self._cache.served,
            nodes(self._around) if _is_per_site(parent) else None,
            self._settings.site_label,
        )

    def _references(self, route: AgentRoute) -> set[Key]:
        found = set(references(route, self._cache.get, self._settings))
        if wants_namespace(route, self._cache.get):
            found.add(Key("Namespace", "", route.namespace))
        if is_per_site(route):
            found.add(ANY_NODE)
        if route.spec.parent_refs:
            found.add(served_key("HTTPRoute"))
        if any(target.agent_ref for target in route.spec.targets):
            found.add(served_key("Agent"))
        return found


def _is_per_site(parent: Manifest) -> bool:
    """Of a spec that need not be valid."""
    gateway = parent["spec"].get("gateway")
    return bool(isinstance(gateway, dict) and gateway.get("perSite"))


def _age(parent: Manifest, now: datetime) -> float:
    """Seconds since it was made, by the API server's clock and ours."""
    return (now - datetime.fromisoformat(parent["metadata"]["creationTimestamp"])).total_seconds()


def _is_serving(workload: Manifest) -> bool:
    ready: int = workload.get("status", {}).get("readyReplicas", 0)
    return ready >= int(workload["spec"].get("replicas", 1))
