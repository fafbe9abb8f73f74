"""The pod of a gateway: HAProxy, with the decider beside it. Pure.

    prepare   once, before the others: API keys and credentials → maps that hold hashes and what is sent
    decider   native sidecar: intents that are not known yet, /chat, budgets, counts for the scaling loop
    haproxy   takes the requests; SIGUSR1 (the stop signal of its image) lets them end

The image must be HAProxy's own, or one like it: `haproxy` in its path, and SIGUSR1 as its stop signal.
"""

from typing import Any

from agentfleet.gateway.compile_layout import longest_request_s
from agentfleet.gateway.layout import (
    CONFIG_FOLDER,
    DEMAND_PORT,
    HTTP_PORT,
    METRICS_PORT,
    OWNER_PORT,
    PEERS_PORT,
    TLS_PORT,
    Layout,
)
from agentfleet.gateway.resolved import Resolution
from agentfleet.manifests.canonical import finish
from agentfleet.manifests.gateway_names import GATEWAY_LABEL, Member, route_labels, site_word
from agentfleet.manifests.gateway_placement import gateway_placement
from agentfleet.manifests.gateway_volumes import Volume, gateway_volumes
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.manifests.security import CONTAINER_SECURITY, POD_SECURITY
from agentfleet.objects import DEMAND_SOURCE_LABEL
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.settings import Settings

HAPROXY, DECIDER, PREPARE = "haproxy", "decider", "prepare"
_SLACK_SECONDS = 15
"""For the decider and the kubelet, after the last request has ended."""

_REQUESTS = {"cpu": "200m", "memory": "256Mi"}
_LIMITS = {"memory": "1Gi"}


PUBLIC_KEYS_ANNOTATION = "agentfleet.dev/public-keys"
"""Digest of the public keys of tokens for which gateways were replaced last."""


def gateway_template(
    route: AgentRoute,
    resolution: Resolution,
    layout: Layout,
    member: Member,
    settings: Settings,
    *,
    config: str,
    revision: str,
    public_keys: str | None = None,
) -> dict[str, Any]:
    """The pod template of the workload that `member` is of; InvalidSpec where an amount is none.

    Pods begin with the keys that lie there; `public_keys`, their digest, is what makes others of them.
    """
    volumes = gateway_volumes(route, resolution, config)
    spec = {
        "automountServiceAccountToken": False,
        "containers": [_haproxy(route, layout, member, volumes, settings)],
        # Service variables of a neighbour would be more environment than anything here reads.
        "enableServiceLinks": False,
        "initContainers": [_prepare(member, volumes, settings), _decider(member, volumes, settings)],
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": layout.grace_s + longest_request_s(route) + _SLACK_SECONDS,
        "volumes": [volume.volume() for volume in volumes],
        **gateway_placement(route, member, settings.site_label),
    }
    labels = route_labels(route) | {
        DEMAND_SOURCE_LABEL: str(DEMAND_PORT),
        GATEWAY_LABEL: member.workload,
        REVISION_LABEL: revision,
    }
    metadata: dict[str, Any] = {"labels": labels}
    if public_keys:
        metadata["annotations"] = {PUBLIC_KEYS_ANNOTATION: public_keys}
    template = {"metadata": metadata, "spec": spec}
    finish(template)
    return template


def _haproxy(
    route: AgentRoute, layout: Layout, member: Member, volumes: list[Volume], settings: Settings
) -> dict[str, Any]:
    gateway = route.spec.gateway
    resources = gateway.resources if gateway else None
    ports = {"http": HTTP_PORT, "owner": OWNER_PORT, "metrics": METRICS_PORT, "peers": PEERS_PORT}
    if layout.tls:
        ports["https"] = TLS_PORT
    return {
        "name": HAPROXY,
        "image": (gateway and gateway.image) or settings.haproxy_image,
        "command": ["haproxy", "-db", "-f", f"{CONFIG_FOLDER}/haproxy.cfg"],
        "env": _environment(member, settings),
        "livenessProbe": _probe("/healthz", METRICS_PORT, period=10, failures=6),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
        "readinessProbe": _probe("/readyz", METRICS_PORT, period=2, failures=2),
        "resources": {
            "requests": dict((resources and resources.requests) or _REQUESTS),
            "limits": dict((resources and resources.limits) or _LIMITS),
        },
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [volume.mount() for volume in volumes if volume.haproxy],
    }


def _prepare(member: Member, volumes: list[Volume], settings: Settings) -> dict[str, Any]:
    return _of_operator(PREPARE, ["decider", "--prepare"], member, volumes, settings)


def _decider(member: Member, volumes: list[Volume], settings: Settings) -> dict[str, Any]:
    # Not ready is no reason to keep requests away: what is not answered in time has its default.
    return _of_operator(DECIDER, ["decider"], member, volumes, settings) | {
        "livenessProbe": _probe("/healthz", DEMAND_PORT, period=10, failures=6),
        "ports": [{"name": "demand", "containerPort": DEMAND_PORT, "protocol": "TCP"}],
        "restartPolicy": "Always",
    }


def _of_operator(
    name: str, args: list[str], member: Member, volumes: list[Volume], settings: Settings
) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.sidecar_image,
        "imagePullPolicy": settings.sidecar_image_pull_policy,
        "args": args,
        "env": _environment(member, settings),
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [volume.mount() for volume in volumes if volume.decider],
    }


def _environment(member: Member, settings: Settings) -> list[dict[str, Any]]:
    """HOSTNAME is the gateway's name among its peers, whatever the pod of a Deployment is called.

    SITE goes into DNS names where gateways are for sites, so there it is the word that stands for the site; elsewhere
    it is what the pod's node says.
    """
    site: dict[str, Any] = {"valueFrom": _field(f"metadata.labels['{settings.site_label}']")}
    if member.site is not None:
        site = {"value": site_word(member.site)}
    name = {"value": member.name} if member.alone else {"valueFrom": _field("metadata.name")}
    return [{"name": "HOSTNAME", **name}, {"name": "SITE", **site}]


def _field(path: str) -> dict[str, Any]:
    return {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}


def _probe(path: str, port: int, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
