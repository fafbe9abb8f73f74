"""The pod of an engine: the one place where it is built, for every engine. Pure."""

import math
from typing import Any

from agentfleet.engines.base import (
    MODELS_DIR,
    Engine,
    Launch,
    drain_seconds,
    gpu_count,
    gpu_resource,
    node_count,
    startup_seconds,
)
from agentfleet.engines.sources import parse_source
from agentfleet.manifests.loader import STATE_DIR, cache_flags, loader_container, source_access, target_flags
from agentfleet.manifests.names import CLAIM_LABEL, SERVING_LABEL, cache_claim_name, child_labels
from agentfleet.manifests.security import CONTAINER_SECURITY, POD_SECURITY
from agentfleet.manifests.service import HTTP_PORT
from agentfleet.manifests.topology import pod_placement
from agentfleet.manifests.volumes import (
    ADAPTERS_DIR,
    ADAPTERS_LIST_DIR,
    API_KEY_DIR,
    api_key_secret,
    binds_to_one_node,
    engine_mounts,
    volumes,
)
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

ENGINE = "engine"
SIDECAR = "sidecar"
SIDECAR_PORT = 9901
PROBE_PERIOD = 2
"""Seconds between startup probes: a pod is in service at most this long after its engine can answer."""
_STOP_HEADER = "x-agentfleet-stop"
_UNREADY_AFTER = 2
"""Probes of the sidecar that fail before a pod is not ready any more."""
LEAVE_SECONDS = PROBE_PERIOD * _UNREADY_AFTER + 2
"""From a sidecar that says no to nodes that send nobody there any more: probes, then two seconds for the news."""


def pod_template(
    server: ModelServer, engine: Engine, launch: Launch, settings: Settings, sidecar_image: str
) -> dict[str, Any]:
    """The pod template before spec.podTemplate is laid over it."""
    spec = server.spec
    body: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "containers": [_engine_container(server, engine, launch)],
        # Service variables of a neighbour called `vllm` would be read as vLLM's own settings.
        "enableServiceLinks": False,
        "initContainers": [_sidecar_container(server, engine, launch, settings, sidecar_image)],
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": math.ceil(settings.dns_delay)
        + LEAVE_SECONDS
        + drain_seconds(server)
        + launch.stop_seconds
        + 5,
        "volumes": volumes(server, launch),
    }
    if parse_source(server.model.uri).downloaded:
        body["initContainers"].append(
            loader_container(server, settings, sidecar_image, (*target_flags(server), *cache_flags(server)))
        )
    optional = {
        "imagePullSecrets": [secret.dump() for secret in spec.image_pull_secrets],
        "resourceClaims": [claim.dump() for claim in spec.gpu.claims] if spec.gpu else [],
        "runtimeClassName": spec.gpu.runtime_class_name if spec.gpu else None,
        "serviceAccountName": spec.service_account_name,
    }
    body |= {name: value for name, value in optional.items() if value}
    body |= pod_placement(server, settings.site_label, gpu_resource(server) if gpu_count(engine, server) else None)
    labels = child_labels(server) | {SERVING_LABEL: "true"}
    if binds_to_one_node(server):
        labels[CLAIM_LABEL] = cache_claim_name(server)
    return {"metadata": {"labels": labels}, "spec": body}


def _engine_container(server: ModelServer, engine: Engine, launch: Launch) -> dict[str, Any]:
    health = {"path": launch.health_path, "port": HTTP_PORT}
    container: dict[str, Any] = {
        "name": ENGINE,
        "image": launch.image,
        "command": list(launch.command),
        "args": list(launch.args),
        "env": _environment(server, launch),
        "lifecycle": {"preStop": {"httpGet": _stop(server)}},
        "livenessProbe": {"httpGet": health, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
        "ports": [{"name": HTTP_PORT, "containerPort": launch.port, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        "resources": _resources(server, engine),
        "securityContext": CONTAINER_SECURITY,
        "startupProbe": {
            "httpGet": health,
            "periodSeconds": PROBE_PERIOD,
            "timeoutSeconds": 5,
            "failureThreshold": math.ceil(startup_seconds(server) / PROBE_PERIOD),
        },
        # kubelet then keeps the last lines of the log: why an engine died, without reading logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": engine_mounts(server, launch),
    }
    if server.spec.image_pull_policy:
        container["imagePullPolicy"] = server.spec.image_pull_policy
    if server.spec.env_from:
        container["envFrom"] = [source.dump() for source in server.spec.env_from]
    return {name: value for name, value in container.items() if value not in ({}, [])}


def _stop(server: ModelServer) -> dict[str, Any]:
    """kubelet's call before it stops the engine, with what other pods do not know: they may ask for a drain, too."""
    told = {"name": _STOP_HEADER, "value": server.uid}
    return {"path": "/drain", "port": SIDECAR_PORT, "httpHeaders": [told]}


def _environment(server: ModelServer, launch: Launch) -> list[dict[str, Any]]:
    env: dict[str, dict[str, Any]] = {item.name: item.dump() for item in server.spec.env}
    env |= {name: {"name": name, "value": value} for name, value in launch.env.items()}
    if api_key_secret(server) and launch.api_key_variable:
        key = {"secretKeyRef": {"name": api_key_secret(server), "key": "apiKey"}}
        env[launch.api_key_variable] = {"name": launch.api_key_variable, "valueFrom": key}
    if launch.pod_ip_variable:
        source = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
        env[launch.pod_ip_variable] = {"name": launch.pod_ip_variable, "valueFrom": source}
    return [env[name] for name in sorted(env)]


def _resources(server: ModelServer, engine: Engine) -> dict[str, Any]:
    wanted = server.spec.resources
    resources: dict[str, Any] = {
        "claims": [{"name": claim.name} for claim in server.spec.gpu.claims] if server.spec.gpu else [],
        "requests": dict(wanted.requests or {}) if wanted else {},
        "limits": dict(wanted.limits or {}) if wanted else {},
    }
    gpus = gpu_count(engine, server) // node_count(server)
    if gpus:
        resources["requests"][gpu_resource(server)] = str(gpus)
        resources["limits"][gpu_resource(server)] = str(gpus)
    return {kind: amounts for kind, amounts in resources.items() if amounts}


def _sidecar_container(
    server: ModelServer, engine: Engine, launch: Launch, settings: Settings, image: str
) -> dict[str, Any]:
    args = [
        "sidecar",
        f"--engine={engine.name}",
        f"--engine-port={launch.port}",
        f"--port={SIDECAR_PORT}",
        f"--dns-delay={settings.dns_delay:g}",
        f"--drain-timeout={drain_seconds(server)}",
        f"--leave-delay={LEAVE_SECONDS}",
        f"--stop-token={server.uid}",
        f"--state-dir={STATE_DIR}",
        *launch.sidecar_args,
    ]
    mounts: list[dict[str, Any]] = [{"mountPath": STATE_DIR, "name": "state", "readOnly": True}]
    for more_args, more_mounts in (_key_access(server), _cache_access(server), _adapter_access(server)):
        args += more_args
        mounts += more_mounts
    return {
        "name": SIDECAR,
        "image": image,
        "imagePullPolicy": settings.sidecar_image_pull_policy,
        "args": args,
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": SIDECAR_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "ports": [{"name": SIDECAR, "containerPort": SIDECAR_PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": SIDECAR_PORT},
            "periodSeconds": PROBE_PERIOD,
            "timeoutSeconds": 5,
            "failureThreshold": _UNREADY_AFTER,
        },
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "10m", "memory": "64Mi"}},
        "restartPolicy": "Always",
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": sorted(mounts, key=lambda mount: str(mount["mountPath"])),
    }


def _key_access(server: ModelServer) -> tuple[list[str], list[dict[str, Any]]]:
    """The sidecar asks the engine with the key that clients send."""
    if not api_key_secret(server):
        return [], []
    return [f"--api-key-file={API_KEY_DIR}/apiKey"], [
        {"mountPath": API_KEY_DIR, "name": "api-key", "readOnly": True},
    ]


def _cache_access(server: ModelServer) -> tuple[list[str], list[dict[str, Any]]]:
    """The sidecar lives as long as the pod, so it holds the model in a shared cache while it is used."""
    source = parse_source(server.model.uri)
    if not source.downloaded:
        return [], []
    if server.spec.cache is None or server.spec.cache.type == "Ephemeral":
        return ["--expects-loader"], []
    args = ["--expects-loader", f"--model-dir={MODELS_DIR}/{source.folder}"]
    return args, [{"mountPath": MODELS_DIR, "name": "models"}]


def _adapter_access(server: ModelServer) -> tuple[list[str], list[dict[str, Any]]]:
    """The sidecar fetches adapters and tells the engine of them; the list may change while the pod runs."""
    if not server.spec.adapters:
        return [], []
    args, mounts = source_access(server)
    return [f"--adapters-file={ADAPTERS_LIST_DIR}/adapters.json", f"--adapters-dir={ADAPTERS_DIR}", *args], [
        {"mountPath": ADAPTERS_DIR, "name": "adapters"},
        {"mountPath": ADAPTERS_LIST_DIR, "name": "adapters-list", "readOnly": True},
        *mounts,
    ]
