"""The Services of an AgentRoute's gateways. Pure.

They are made before all else: the addresses of the gateways' own Services go into the configuration, since HAProxy's
peers must be there when it starts, and pods' addresses change.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from agentfleet.gateway.compile_layout import is_per_site
from agentfleet.gateway.layout import DEMAND_PORT, HTTP_PORT, METRICS_PORT, OWNER_PORT, PEERS_PORT, TLS_PORT
from agentfleet.gateway.resolved import Resolution, Resolved
from agentfleet.manifests.gateway_names import (
    GATEWAY_LABEL,
    Member,
    gateways_name,
    near_name,
    route_child,
    route_name,
    site_word,
)
from agentfleet.manifests.names import SERVING_LABEL
from agentfleet.objects import AGENT_ROUTE_LABEL, Manifest
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.settings import Settings

_NEAR = {"topology.kubernetes.io/zone": "PreferClose", "kubernetes.io/hostname": "PreferSameNode"}
"""How clients are kept at their site, by the label that names sites; where it is another one, they name a gateway."""

_POD_NAME = "statefulset.kubernetes.io/pod-name"


def gateway_services(
    route: AgentRoute, gateways: Sequence[Member], resolution: Resolution, settings: Settings
) -> list[Manifest]:
    """All Services, the clients' one first."""
    of_sites = is_per_site(route)
    own = [_member_service(route, member) for member in gateways] if of_sites or len(gateways) > 1 else []
    near = _near_services(route, gateways, resolution, settings) if of_sites else ()
    return [_client_service(route, settings), _headless(route), *own, *near]


def near_targets(route: AgentRoute, resolution: Resolution) -> tuple[Resolved, ...]:
    """Targets whose pods at a gateway's own site come first: those that run in the route's namespace."""
    return tuple(
        target
        for target in resolution.usable
        if target.namespace == route.namespace and target.endpoint and target.endpoint.pods
    )


def _client_service(route: AgentRoute, settings: Settings) -> Manifest:
    gateway = route.spec.gateway
    asked = gateway.service if gateway else None
    spec: dict[str, Any] = {
        "type": (asked and asked.type) or "ClusterIP",
        "selector": {AGENT_ROUTE_LABEL: route.name},
        "ports": _client_ports(route),
    }
    if is_per_site(route) and settings.site_label in _NEAR:
        spec["trafficDistribution"] = _NEAR[settings.site_label]
    annotations = asked.annotations if asked else None
    return route_child(route, "v1", "Service", route_name(route), annotations=annotations, spec=spec)


def _client_ports(route: AgentRoute) -> list[dict[str, Any]]:
    gateway = route.spec.gateway
    secure = [_port("https", 443, TLS_PORT)] if gateway and gateway.tls else []
    return [_port("http", 80, HTTP_PORT), *secure]


def _headless(route: AgentRoute) -> Manifest:
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {AGENT_ROUTE_LABEL: route.name},
        "ports": [_port("metrics", METRICS_PORT)],
    }
    return route_child(route, "v1", "Service", gateways_name(route), spec=spec)


def _member_service(route: AgentRoute, member: Member) -> Manifest:
    """One gateway alone, also while it is not ready: its peers hand their tables over before it is.

    Behind the name of one that is alone there are two pods in a rollout: then it is the one that serves.
    """
    ports = {"owner": OWNER_PORT, "demand": DEMAND_PORT, "metrics": METRICS_PORT, "peers": PEERS_PORT}
    spec: dict[str, Any] = {"type": "ClusterIP", "ports": [_port(name, number) for name, number in ports.items()]}
    if member.alone:
        spec["selector"] = {AGENT_ROUTE_LABEL: route.name, GATEWAY_LABEL: member.workload}
        # Clients of a site name it where Kubernetes has no traffic distribution for the label that names sites.
        spec["ports"] = [*_client_ports(route), *spec["ports"]]
    else:
        spec |= {"publishNotReadyAddresses": True, "selector": {_POD_NAME: member.name}}
    return route_child(route, "v1", "Service", member.name, spec=spec)


def _near_services(
    route: AgentRoute, gateways: Sequence[Member], resolution: Resolution, settings: Settings
) -> Iterator[Manifest]:
    """For each target and site a headless Service of the pods there, found by the label that pods have of their node
    (of zones from Kubernetes 1.35 on; without it the Service is empty, and all pods are as near)."""
    for target in near_targets(route, resolution):
        if target.endpoint is None or target.endpoint.pods is None:
            continue
        label, value = target.endpoint.pods
        serving = {SERVING_LABEL: "true"} if target.kind == "ModelServer" else {}
        for member in gateways:
            if member.site is None:
                continue
            spec = {
                "clusterIP": "None",
                "selector": {label: value, **serving, settings.site_label: member.site},
                "ports": [_port("http", target.endpoint.port)],
            }
            name = near_name(route, target.name, site_word(member.site))
            yield route_child(route, "v1", "Service", name, spec=spec)


def _port(name: str, number: int, target: int | None = None) -> dict[str, Any]:
    return {"name": name, "port": number, "protocol": "TCP", "targetPort": target or number}
