"""AgentRoute + what its references are + what there is → what to apply and delete. Pure.

    Services ─▶ their addresses ─▶ policy and layout ─▶ files ─▶ ConfigMap of this revision ─▶ StatefulSet, Deployments

Whatever is not wanted any more stays until every gateway runs the new revision: until then somebody uses it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentfleet.errors import InvalidSpec, NotReady
from agentfleet.gateway.compile import compile_policy
from agentfleet.gateway.compile_decider import decider_config
from agentfleet.gateway.compile_layout import is_per_site, layout
from agentfleet.gateway.layout import Layout, Peer
from agentfleet.gateway.resolved import Resolution
from agentfleet.gateway.types import Policy
from agentfleet.manifests import httproute
from agentfleet.manifests.gateway import gateway_workload
from agentfleet.manifests.gateway_config import config_map
from agentfleet.manifests.gateway_names import (
    Member,
    budgets_name,
    config_name,
    members,
    near_name,
)
from agentfleet.manifests.gateway_pod import PUBLIC_KEYS_ANNOTATION, gateway_template
from agentfleet.manifests.gateway_policy import gateway_budget, gateway_policy
from agentfleet.manifests.gateway_services import gateway_services, near_targets
from agentfleet.manifests.names import REVISION_LABEL, digest
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.observed import not_in
from agentfleet.planning.route_observed import RouteObserved, is_begun, is_rolled_out, serves
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.settings import Settings

Render = Callable[[Policy, Layout], Mapping[str, str]]
"""haproxy.render: file name → content."""

_DECIDER_FILE = "decider.json"
_SITE_VARIABLE = "${SITE}"
_ADDRESS_RETRY = 2.0
_SITES_RETRY = 60.0
_TOGETHER = 10.0
"""Seconds after a route's creation in which its targets may still become what they are."""


@dataclass(frozen=True)
class RoutePlan:
    """Everything that shall be so. Executing it twice changes nothing."""

    revision: str | None = None
    """Hash of what gateways shall have; None where there is nothing to route to."""
    apply: tuple[Manifest, ...] = ()
    """Children as they shall be, in the order in which they are made."""
    delete: tuple[tuple[Key, str], ...] = ()
    """Children that are not wanted any more, with their uid."""
    replicas: int = 0
    """Gateways wanted, over all sites."""
    workloads: tuple[Key, ...] = ()
    """What they are of."""
    deferred: int = 0
    """Sites whose turn has not come."""


def route_services(
    route: AgentRoute, resolution: Resolution, observed: RouteObserved, settings: Settings
) -> tuple[Manifest, ...]:
    """The Services, which come before all else; none where there is nothing to route to."""
    if not resolution.usable:
        return ()
    return tuple(gateway_services(route, _gateways(route, observed), resolution, settings))


def await_targets(resolution: Resolution, observed: RouteObserved, age: float) -> None:
    """NotReady for the first seconds of a route whose targets were made together with it and have no Services yet.

    Gateways that started without them would be replaced at once, and be ready half a minute later. An `age` below zero
    is that of a clock that lags.
    """
    coming = [found.name for found in resolution.targets.values() if found.coming]
    if coming and not observed.workloads and abs(age) < _TOGETHER:
        raise NotReady(
            "WaitingForTargets", f"Targets whose Services are on their way: {', '.join(coming)}", _TOGETHER - age
        )


def plan_route(
    route: AgentRoute, resolution: Resolution, observed: RouteObserved, settings: Settings, render: Render
) -> RoutePlan:
    """The plan for one AgentRoute; InvalidSpec where its spec cannot become gateways, NotReady while Services have no
    address. Without a usable target nothing is touched: what runs goes on running."""
    if not resolution.usable:
        return RoutePlan()
    gateways = _gateways(route, observed)
    peers = _peers(gateways, observed)
    policy = compile_policy(route, resolution)
    where = layout(
        route,
        resolution,
        settings,
        peers=peers,
        near=_near(route, resolution, settings),
    )
    decider = decider_config(route, resolution, peers)
    files = {**render(policy, where), _DECIDER_FILE: decider.to_json()}
    keys = _public_keys(route, observed)
    revision = _revision(route, resolution, where, gateways[0], settings, files, keys)
    made = _workloads(route, resolution, where, gateways, settings, revision, keys)
    now, deferred = _in_turn(made, gateways, observed, revision)
    children = [
        *gateway_services(route, gateways, resolution, settings),
        *_beside(route, resolution, gateways, observed, settings),
        config_map(route, revision, files),
    ]
    workloads = tuple(made)
    return RoutePlan(
        revision=revision,
        apply=(*children, *now),
        delete=_unwanted(route, [*children, *made.values()], workloads, revision, observed),
        replicas=len(gateways),
        workloads=workloads,
        deferred=deferred,
    )


def is_converged(plan: RoutePlan, observed: RouteObserved) -> bool:
    """Whether every gateway runs the plan's revision."""
    return plan.revision is not None and _all_rolled_out(plan.workloads, plan.revision, observed)


def _gateways(route: AgentRoute, observed: RouteObserved) -> tuple[Member, ...]:
    """All gateways; NotReady or InvalidSpec where their sites are not known."""
    if not is_per_site(route):
        return members(route, ())
    placement = route.spec.gateway.placement if route.spec.gateway else None
    sites = frozenset(placement.sites if placement else ()) or observed.sites
    if sites is None:
        raise InvalidSpec(
            "InvalidSpec", "gateway.placement.sites is required with perSite where the operator may not see nodes."
        )
    if not sites:
        raise NotReady("WaitingForSites", "no node has the label that names its site", after=_SITES_RETRY)
    return members(route, sites)


def _peers(gateways: Sequence[Member], observed: RouteObserved) -> tuple[Peer, ...]:
    if len(gateways) < 2:
        return ()
    found = [(member, observed.address(member.name)) for member in gateways]
    missing = [member.name for member, address in found if address is None]
    if missing:
        raise NotReady("WaitingForServices", f"Services without an address: {', '.join(missing)}", _ADDRESS_RETRY)
    return tuple(Peer(member.name, address) for member, address in found if address is not None)


def _near(route: AgentRoute, resolution: Resolution, settings: Settings) -> dict[str, str]:
    """By target, the name of its pods at the site that a gateway's own environment tells."""
    if not is_per_site(route):
        return {}
    domain = f"{route.namespace}.svc.{settings.cluster_domain}"
    return {
        target.name: f"{near_name(route, target.name, _SITE_VARIABLE)}.{domain}"
        for target in near_targets(route, resolution)
    }


def _public_keys(route: AgentRoute, observed: RouteObserved) -> str | None:
    """What pods are marked with: it stays as it is where no change has been seen, as by an operator that has begun."""
    if not (route.spec.auth and route.spec.auth.jwt):
        return None
    if observed.public_keys:
        return observed.public_keys
    marks = (each["spec"]["template"]["metadata"].get("annotations", {}) for each in observed.workloads)
    return next((mark[PUBLIC_KEYS_ANNOTATION] for mark in marks if PUBLIC_KEYS_ANNOTATION in mark), None)


def _revision(
    route: AgentRoute,
    resolution: Resolution,
    where: Layout,
    member: Member,
    settings: Settings,
    files: Mapping[str, str],
    keys: str | None,
) -> str:
    template = gateway_template(route, resolution, where, member, settings, config="", revision="", public_keys=keys)
    return digest({"files": dict(files), "template": template}, 8)


def _workloads(
    route: AgentRoute,
    resolution: Resolution,
    where: Layout,
    gateways: Sequence[Member],
    settings: Settings,
    revision: str,
    keys: str | None,
) -> dict[Key, Manifest]:
    """StatefulSets and Deployments, each for all gateways that are of it."""
    config = config_name(route, revision)
    first = {member.workload: member for member in reversed(gateways)}
    made = [
        gateway_workload(
            route,
            member,
            sum(other.workload == name for other in gateways),
            gateway_template(
                route, resolution, where, member, settings, config=config, revision=revision, public_keys=keys
            ),
        )
        for name, member in sorted(first.items())
    ]
    return {key_of(manifest): manifest for manifest in made}


def _in_turn(
    workloads: Mapping[Key, Manifest], gateways: Sequence[Member], observed: RouteObserved, revision: str
) -> tuple[list[Manifest], int]:
    """The workloads that are applied now, and how many have to wait.

    A StatefulSet replaces its pods one by one itself. Of Deployments of sites, which have one pod each, a site that
    serves is touched only while no other is between two revisions; one that serves nobody, or is cut off, at once.
    """
    lost = {member.workload for member in gateways if member.site in observed.lost_sites}
    live = {key: observed.workload(key) for key in workloads}
    busy = any(
        seen is not None and key.name not in lost and is_begun(seen, revision) and not is_rolled_out(seen, revision)
        for key, seen in live.items()
    )
    now, deferred = [], 0
    for key, wanted in workloads.items():
        seen = live[key]
        free = seen is None or key.name in lost or is_begun(seen, revision) or not serves(seen)
        if free or not busy:
            now.append(wanted)
            busy = busy or not free
        else:
            deferred += 1
    return now, deferred


def _beside(
    route: AgentRoute,
    resolution: Resolution,
    gateways: Sequence[Member],
    observed: RouteObserved,
    settings: Settings,
) -> list[Manifest]:
    attached = httproute.http_route(route) if httproute.KIND in observed.served else None
    made = (gateway_policy(route, resolution, settings), gateway_budget(route, gateways), attached)
    return [manifest for manifest in made if manifest is not None]


def _unwanted(
    route: AgentRoute,
    children: Sequence[Manifest],
    workloads: Sequence[Key],
    revision: str,
    observed: RouteObserved,
) -> tuple[tuple[Key, str], ...]:
    """Workloads once their successors serve, all else once nobody can use it: pods that are going still do."""
    if not _all_rolled_out(workloads, revision, observed):
        return ()
    every: Sequence[Manifest] = [each for each in observed.workloads if key_of(each) not in workloads]
    if not every and not _others(observed, revision):
        every = (
            *observed.services,
            *observed.policies,
            *observed.budgets,
            *observed.http_routes,
            *observed.config_maps,
        )
    kept = {key_of(manifest) for manifest in children} | {Key("ConfigMap", route.namespace, budgets_name(route))}
    return tuple((key_of(manifest), manifest["metadata"]["uid"]) for manifest in not_in(every, frozenset(kept)))


def _all_rolled_out(workloads: Sequence[Key], revision: str, observed: RouteObserved) -> bool:
    return all(is_rolled_out(observed.workload(key), revision) for key in workloads)


def _others(observed: RouteObserved, revision: str) -> bool:
    """Whether pods of another revision are left."""
    return any(pod["metadata"].get("labels", {}).get(REVISION_LABEL) != revision for pod in observed.pods)
