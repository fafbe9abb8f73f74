"""Who may reach an AgentRoute's gateways, what they may reach, and how many may be evicted at once. Pure.

    in    clients of the allowed namespaces at 8080 and 8443; each other at their own ports; the operator and
          monitoring at the pages of metrics
    out   DNS, targets, models that classify, each other

A Service that the outside reaches and a Gateway of the cluster bring requests from addresses and namespaces that
nothing here knows: then everybody may knock, and spec.auth says who is let in.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from agentfleet.gateway.compile_layout import is_per_site
from agentfleet.gateway.layout import DEMAND_PORT, HTTP_PORT, METRICS_PORT, OWNER_PORT, PEERS_PORT, TLS_PORT
from agentfleet.gateway.resolved import Resolution
from agentfleet.manifests.egress import DNS, NAMESPACE_NAME_LABEL, Rule, url_rules
from agentfleet.manifests.gateway_names import Member, route_child, route_name
from agentfleet.manifests.policy import from_namespaces, peer_of, tcp
from agentfleet.objects import AGENT_ROUTE_LABEL, Manifest
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.settings import Settings

_OWN_PORTS = (OWNER_PORT, DEMAND_PORT, METRICS_PORT, PEERS_PORT)


def gateway_policy(route: AgentRoute, resolution: Resolution, settings: Settings) -> Manifest | None:
    """The NetworkPolicy NAME-route of the gateways; None where the operator makes none."""
    if not settings.network_policies:
        return None
    pods = {AGENT_ROUTE_LABEL: route.name}
    each_other = {"podSelector": {"matchLabels": pods}}
    own = [tcp(port) for port in _OWN_PORTS]
    watchers = {settings.namespace, *settings.monitoring_namespaces}
    spec = {
        "podSelector": {"matchLabels": pods},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            _from_clients(route),
            {"from": [each_other], "ports": own},
            from_namespaces(watchers, METRICS_PORT, DEMAND_PORT),
        ],
        "egress": [DNS, {"to": [each_other], "ports": own}, *_to_targets(route, resolution, settings)],
    }
    return route_child(route, "networking.k8s.io/v1", "NetworkPolicy", route_name(route), spec=spec)


def gateway_budget(route: AgentRoute, gateways: Sequence[Member]) -> Manifest | None:
    """The PodDisruptionBudget NAME-route: of two and more gateways, one may be evicted at a time. None for one alone,
    which would hold up every drain of its node, and for gateways of sites, which are alone at theirs."""
    if len(gateways) < 2 or is_per_site(route):
        return None
    spec = {
        "minAvailable": len(gateways) - 1,
        "selector": {"matchLabels": {AGENT_ROUTE_LABEL: route.name}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return route_child(route, "policy/v1", "PodDisruptionBudget", route_name(route), spec=spec)


def _from_clients(route: AgentRoute) -> Rule:
    gateway = route.spec.gateway
    ports = [tcp(HTTP_PORT), *([tcp(TLS_PORT)] if gateway and gateway.tls else [])]
    if gateway and gateway.service and gateway.service.type in ("LoadBalancer", "NodePort"):
        return {"ports": ports}
    peer = {"namespaceSelector": {}} if route.spec.parent_refs else peer_of(route.spec.allowed_namespaces)
    return {"from": [peer], "ports": ports}


def _to_targets(route: AgentRoute, resolution: Resolution, settings: Settings) -> list[Rule]:
    rules: list[Rule] = []
    for rule in _rules(route, resolution, settings):
        if rule not in rules:
            rules.append(rule)
    return rules


def _rules(route: AgentRoute, resolution: Resolution, settings: Settings) -> Iterator[Rule]:
    for found in (*resolution.usable, *resolution.models.values()):
        endpoint = found.endpoint
        if endpoint and endpoint.url:
            yield from url_rules(route.namespace, endpoint.url, settings)
        elif endpoint and endpoint.pods:
            label, value = endpoint.pods
            peer: dict[str, Any] = {"podSelector": {"matchLabels": {label: value}}}
            if found.namespace != route.namespace:
                peer["namespaceSelector"] = {"matchLabels": {NAMESPACE_NAME_LABEL: found.namespace}}
            yield {"to": [peer], "ports": [tcp(endpoint.port)]}
