"""Names, labels and owner references of an AgentRoute's children, and which gateways there are. Pure.

Service NAME-route              clients
Service NAME-route-gateways     headless: all gateways
StatefulSet NAME-route          pods NAME-route-0, …, each with a Service of its name: peers and owners of counts
with replicas 1: Deployment NAME-route, whose gateway is NAME-route-0, whatever its pod is called
with perSite: Deployments NAME-route-SITE, each with its gateway and Service NAME-route-SITE-0; SITE is five digits that
stand for the site
ConfigMap NAME-route-REVISION   what gateways run with
ConfigMap NAME-route-budgets    what budgets have been used up
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentfleet.gateway.compile_layout import is_per_site
from agentfleet.manifests.names import digest, owned_by
from agentfleet.objects import AGENT_ROUTE_LABEL, FIELD_MANAGER, MANAGED_BY, Manifest
from agentfleet.resources.agentroute import AgentRoute

GATEWAY_LABEL = "agentfleet.dev/gateway"
"""Label of gateway pods: the workload that they are of."""

_REPLICAS = 2


@dataclass(frozen=True)
class Member:
    """One gateway."""

    workload: str
    """Its StatefulSet or Deployment."""
    name: str
    """Its own, as the other gateways know it, and of the Service that is its alone; of a StatefulSet also its pod's."""
    site: str | None = None
    """The site that it is for."""
    alone: bool = False
    """The only one of its workload."""


def members(route: AgentRoute, sites: Iterable[str]) -> tuple[Member, ...]:
    """All gateways of a route; `sites` are looked at with perSite only."""
    base = route_name(route)
    if is_per_site(route):
        named = ((f"{base}-{site_word(site)}", site) for site in sorted(sites))
        return tuple(Member(workload, f"{workload}-0", site, alone=True) for workload, site in named)
    replicas = (route.spec.gateway and route.spec.gateway.replicas) or _REPLICAS
    return tuple(Member(base, f"{base}-{index}", alone=replicas == 1) for index in range(replicas))


def site_word(site: str) -> str:
    """What stands for a site in names: values of node labels need not be parts of DNS names."""
    return digest(site, 5)


def route_name(route: AgentRoute) -> str:
    """The Service that clients use, and the one workload."""
    return f"{route.name}-route"


def gateways_name(route: AgentRoute) -> str:
    """The headless Service of all gateways."""
    return f"{route.name}-route-gateways"


def config_name(route: AgentRoute, revision: str) -> str:
    """The ConfigMap of one revision."""
    return f"{route.name}-route-{revision}"


def budgets_name(route: AgentRoute) -> str:
    """The ConfigMap in which the operator keeps what budgets have been used up."""
    return f"{route.name}-route-budgets"


def near_name(route: AgentRoute, target: str, word: str) -> str:
    """The headless Service of a target's pods at one site; `word` is site_word, or what stands for it."""
    return f"{route.name}-route-{digest(target, 5)}-{word}"


def route_hosts(route: AgentRoute, cluster_domain: str) -> tuple[str, ...]:
    """All DNS names of the Service that clients use, the whole one first."""
    short = f"{route_name(route)}.{route.namespace}"
    return f"{short}.svc.{cluster_domain}", f"{short}.svc", short


def route_url(route: AgentRoute, cluster_domain: str) -> str:
    """Base address of the OpenAI API for clients inside the cluster."""
    return f"http://{route_hosts(route, cluster_domain)[0]}/v1"


def route_labels(route: AgentRoute) -> dict[str, str]:
    """Labels on every child, pods included."""
    return {
        "app.kubernetes.io/component": "agent-route",
        "app.kubernetes.io/instance": route.name,
        MANAGED_BY: FIELD_MANAGER,
        AGENT_ROUTE_LABEL: route.name,
    }


def route_child(
    route: AgentRoute,
    api_version: str,
    kind: str,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **body: Any,
) -> Manifest:
    """A child of `route` with labels, owner and the digest of all that it is."""
    every = route_labels(route) | dict(labels or {})
    return owned_by(route, "AgentRoute", api_version, kind, name, every, annotations, **body)
