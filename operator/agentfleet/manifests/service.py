"""The Services, ConfigMaps and the claim of a ModelServer. Pure."""

import json

from agentfleet.manifests.names import (
    SERVING_LABEL,
    adapters_name,
    cache_claim_name,
    child,
    digest,
    files_name,
    headless_name,
    service_name,
)
from agentfleet.objects import MODEL_SERVER_LABEL, Manifest
from agentfleet.resources.modelserver import ModelServer

HTTP_PORT = "http"
"""Name of the engine's port in every pod."""


def services(server: ModelServer, engine_port: int) -> list[Manifest]:
    """The Service for clients (port 80) and the headless one (the engine's own port) for gateways."""
    selector = {MODEL_SERVER_LABEL: server.name, SERVING_LABEL: "true"}
    port = {"name": HTTP_PORT, "port": 80, "protocol": "TCP", "targetPort": HTTP_PORT}
    return [
        child(
            server,
            "v1",
            "Service",
            service_name(server),
            spec={"type": "ClusterIP", "selector": selector, "ports": [port]},
        ),
        child(
            server,
            "v1",
            "Service",
            headless_name(server),
            spec={"clusterIP": "None", "selector": selector, "ports": [port | {"port": engine_port}]},
        ),
    ]


def files_config_map(server: ModelServer) -> Manifest | None:
    """The ConfigMap that holds spec.files under the keys file-0, file-1, …; None without files."""
    if not server.spec.files:
        return None
    data = {f"file-{index}": file.content for index, file in enumerate(server.spec.files)}
    return child(server, "v1", "ConfigMap", files_name(server, digest(data)), data=data)


def adapters_config_map(server: ModelServer) -> Manifest | None:
    """The ConfigMap with the list of adapters that sidecars follow; None without adapters."""
    if not server.spec.adapters:
        return None
    listed = json.dumps([adapter.dump() for adapter in server.spec.adapters], sort_keys=True)
    return child(server, "v1", "ConfigMap", adapters_name(server), data={"adapters.json": listed})


def cache_claim(server: ModelServer) -> Manifest | None:
    """The claim of cache type PersistentVolume; None for others. With reclaimPolicy Retain it has no owner, stays, and
    is used by the next ModelServer of the same name."""
    cache = server.spec.cache
    if cache is None or cache.type != "PersistentVolume":
        return None
    spec = {
        "accessModes": [cache.access_mode or "ReadWriteOnce"],
        "resources": {"requests": {"storage": cache.size}},
        "storageClassName": cache.storage_class_name,
    }
    claim = child(
        server,
        "v1",
        "PersistentVolumeClaim",
        cache_claim_name(server),
        spec={name: value for name, value in spec.items() if value is not None},
    )
    if cache.reclaim_policy != "Delete":
        del claim["metadata"]["ownerReferences"]
    return claim
