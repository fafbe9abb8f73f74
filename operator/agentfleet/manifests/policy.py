"""Who may reach a ModelServer's pods, what they may reach, and how many may be evicted at once. Pure.

    pods of a ModelServer    in: clients of the allowed namespaces, the operator and monitoring; out: DNS, downloads
    its loader Jobs          in: the operator, for progress; out: DNS, downloads
    watcher of an endpoint   in: the operator and monitoring; out: DNS, the endpoint

Policies add up: whoever needs more (a trace collector, a cache server) adds a NetworkPolicy for the label
agentfleet.dev/modelserver. Probes and preStop hooks come from the pod's own node, which every network plug-in lets in.
"""

from collections.abc import Iterable
from typing import Any

from agentfleet.engines.base import node_count
from agentfleet.manifests.egress import DNS, NAMESPACE_NAME_LABEL, Rule, source_rules, url_rules
from agentfleet.manifests.names import child
from agentfleet.manifests.pod import SIDECAR_PORT
from agentfleet.objects import LOADER_LABEL, MODEL_SERVER_LABEL, Manifest
from agentfleet.resources.modelserver import AllowedNamespaces, ModelServer
from agentfleet.settings import Settings


def network_policy(server: ModelServer, engine_port: int, settings: Settings) -> Manifest | None:
    """The NetworkPolicy NAME-model of the pods that serve (or, for external engines, watch); None where the operator
    makes none. An external engine has no port here: `engine_port` is not looked at then."""
    if not settings.network_policies:
        return None
    pods = {MODEL_SERVER_LABEL: server.name}
    watchers = {settings.namespace, *settings.monitoring_namespaces}
    if server.is_external:
        ingress = [from_namespaces(watchers, SIDECAR_PORT)]
        egress = _endpoint_rules(server, settings)
    else:
        ingress = [_from_clients(server, engine_port), from_namespaces(watchers, SIDECAR_PORT, engine_port)]
        egress = source_rules(server, settings)
    if node_count(server) > 1:
        # The ranks of a group talk over ports that the kernel chooses.
        ingress.append({"from": [{"podSelector": {"matchLabels": pods}}]})
        egress.append({"to": [{"podSelector": {"matchLabels": pods}}]})
    return _policy(server, f"{server.name}-model", pods, ingress, egress)


def loader_network_policy(server: ModelServer, settings: Settings) -> Manifest | None:
    """The NetworkPolicy NAME-model-loader of Jobs that download or look at the model; None where the operator makes
    none."""
    if not settings.network_policies:
        return None
    ingress = [from_namespaces({settings.namespace}, SIDECAR_PORT)]
    return _policy(
        server, f"{server.name}-model-loader", {LOADER_LABEL: server.name}, ingress, source_rules(server, settings)
    )


def pod_disruption_budget(server: ModelServer) -> Manifest | None:
    """The PodDisruptionBudget NAME-model: of two and more replicas, one may be evicted at a time; None for others.

    So `kubectl drain` loses no request: those in flight are finished by the preStop hook of the pod that goes, and new
    ones find another pod, since the next eviction waits until the replacement serves. Pods that are not ready may
    always be evicted (AlwaysAllow), so a model that cannot start holds up no drain. Only where the replacement finds no
    node at all does a drain wait with the last pods that serve: evicting them would end the service.

    A single replica has no budget: with one, every drain of its node would wait for a human. Its requests in flight are
    finished; new ones fail until the replacement serves, or take a route's fallback. Who cannot have that gap runs two.

    PerNode pods belong to their node (and drains leave DaemonSets alone); a watcher of an external endpoint carries no
    requests.
    """
    placement = server.spec.placement
    per_node = placement is not None and placement.mode == "PerNode"
    if server.is_external or per_node or server.replicas < 2:
        return None
    spec = {
        # Not maxUnavailable: that is reckoned from the pods' controllers, and evictions fail while a former revision's
        # pods still drain after their Deployment has gone.
        "minAvailable": server.replicas * node_count(server) - 1,
        "selector": {"matchLabels": {MODEL_SERVER_LABEL: server.name}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return child(server, "policy/v1", "PodDisruptionBudget", f"{server.name}-model", spec=spec)


def _policy(server: ModelServer, name: str, pods: dict[str, str], ingress: list[Rule], egress: list[Rule]) -> Manifest:
    spec = {
        "podSelector": {"matchLabels": pods},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": [DNS, *egress],
    }
    return child(server, "networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)


def _endpoint_rules(server: ModelServer, settings: Settings) -> list[Rule]:
    external = server.spec.external
    return url_rules(server.namespace, external.url, settings) if external else []


def _from_clients(server: ModelServer, port: int) -> Rule:
    return {"from": [peer_of(server.spec.allowed_namespaces)], "ports": [tcp(port)]}


def peer_of(allowed: AllowedNamespaces | None) -> dict[str, Any]:
    """The pods of allowed namespaces; without a word of them those of the object's own."""
    if allowed and allowed.from_ == "All":
        return {"namespaceSelector": {}}
    if allowed and allowed.selector:
        labels = allowed.selector.match_labels
        # The API server keeps no empty map: no labels are all namespaces, as everywhere in Kubernetes.
        return {"namespaceSelector": {"matchLabels": dict(labels)} if labels else {}}
    return {"podSelector": {}}


def from_namespaces(names: Iterable[str], *ports: int) -> Rule:
    """Lets all pods of some namespaces in at `ports`."""
    expression = {"key": NAMESPACE_NAME_LABEL, "operator": "In", "values": sorted(names)}
    return {
        "from": [{"namespaceSelector": {"matchExpressions": [expression]}}],
        "ports": [tcp(port) for port in sorted(ports)],
    }


def tcp(port: int) -> dict[str, Any]:
    """A port of a NetworkPolicy."""
    return {"port": port, "protocol": "TCP"}
