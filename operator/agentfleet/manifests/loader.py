"""The loader's container and its Jobs: what fills a cache, and what looks at a model without downloading it. Pure.

init container   fills the pod's own cache, or checks in a moment that a shared one is complete
load Job         fills a claim once, or a node's folder, before pods start
inspect Job      reads facts and revision of a source, for the planner and for updates
"""

from collections.abc import Sequence
from typing import Any

from agentfleet.engines import ENGINES
from agentfleet.engines.base import CACHE_DIR, MODELS_DIR, gpu_count, gpu_resource
from agentfleet.engines.sources import Source, parse_source, path_in_pod
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.affinity import node_affinity
from agentfleet.manifests.canonical import finish
from agentfleet.manifests.limits import violations
from agentfleet.manifests.merge import overlay
from agentfleet.manifests.names import child, digest
from agentfleet.manifests.security import CONTAINER_SECURITY, POD_SECURITY
from agentfleet.manifests.topology import pod_placement
from agentfleet.manifests.volumes import models_volume, source_volumes
from agentfleet.objects import FIELD_MANAGER, LOADER_LABEL, MANAGED_BY, MODEL_SERVER_LABEL, Manifest
from agentfleet.resources.base import quantity_value
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings

LOADER = "loader"
STATE_DIR = "/state"
STATUS_PORT = 9901
CREDENTIALS_DIR = "/var/run/agentfleet/source"
ATTEMPTS = 6
"""Tries of one Job. Kubernetes waits 10 s after the first and twice as long after each further one."""

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

ARTIFACT_FILE = "model.gguf"
"""What the loader calls the one GGUF file of an OCI artifact."""

CA_DIR = "/var/run/agentfleet/source-ca"


def loader_container(server: ModelServer, settings: Settings, image: str, flags: Sequence[str] = ()) -> dict[str, Any]:
    """The loader with all that it needs to reach the source; `flags` say what it is to do."""
    args = ["loader", f"--source={server.model.uri}", f"--state-dir={STATE_DIR}"]
    if server.model.sha256:
        args.append(f"--sha256={server.model.sha256}")
    mounts: list[dict[str, Any]] = [
        {"mountPath": CACHE_DIR, "name": "cache"},
        {"mountPath": MODELS_DIR, "name": "models"},
        {"mountPath": STATE_DIR, "name": "state"},
        {"mountPath": "/tmp", "name": "tmp"},  # noqa: S108
    ]
    access, access_mounts = source_access(server)
    mounts += access_mounts
    return {
        "name": LOADER,
        "image": image,
        "imagePullPolicy": settings.sidecar_image_pull_policy,
        "args": [*args, *access, *flags],
        "env": [{"name": "HOME", "value": CACHE_DIR}],
        "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def source_access(server: ModelServer) -> tuple[list[str], list[dict[str, Any]]]:
    """Flags and mounts with which the source is reached: endpoint, credentials, certificates."""
    auth = server.model.auth
    args: list[str] = []
    mounts: list[dict[str, Any]] = []
    if auth and auth.endpoint:
        args.append(f"--endpoint={auth.endpoint}")
    if auth and auth.secret_name:
        args.append(f"--credentials-dir={CREDENTIALS_DIR}")
        mounts.append({"mountPath": CREDENTIALS_DIR, "name": "source-credentials", "readOnly": True})
    if auth and auth.ca_bundle:
        args.append(f"--ca-bundle={CA_DIR}/ca.crt")
        mounts.append({"mountPath": CA_DIR, "name": "source-ca", "readOnly": True})
    return args, mounts


def cache_flags(server: ModelServer) -> list[str]:
    """How much a shared cache may hold, and whether this model may be taken from it to make room."""
    cache = server.spec.cache
    if cache is None or cache.type == "Ephemeral":
        return []
    flags = []
    if cache.size:
        flags += [f"--cache-root={MODELS_DIR}", f"--cache-bytes={quantity_value(cache.size)}"]
    edge = server.spec.placement.edge if server.spec.placement else None
    if edge and edge.keep_model:
        flags.append("--keep")
    return flags


def target_flags(server: ModelServer) -> tuple[str, ...]:
    """Where the loader puts the model, or finds it where it is mounted."""
    source = parse_source(server.model.uri)
    if not source.downloaded:
        return (f"--target={path_in_pod(source, MODELS_DIR)}",)
    link = (f"--link-gguf={ARTIFACT_FILE}",) if is_packed(server) else ()
    return (f"--target={MODELS_DIR}/{source.folder}", *link)


def is_packed(server: ModelServer) -> bool:
    """Whether the one file that llama-server needs lies in an artifact, under a name that only the loader learns."""
    source = parse_source(server.model.uri)
    return server.spec.engine == "LlamaCpp" and source.scheme == "oci"


def model_path(server: ModelServer) -> str:
    """Where the model lies in the engine container."""
    source = parse_source(server.model.uri)
    if is_packed(server):
        return f"{MODELS_DIR}/{source.folder}/{ARTIFACT_FILE}"
    return path_in_pod(source, MODELS_DIR)


def load_job(server: ModelServer, settings: Settings, node: str | None = None) -> Manifest:
    """The Job that fills the cache: a claim, or the folder of one node."""
    progress = (f"--status-port={STATUS_PORT}", f"--name={server.model_name}")
    flags = (*target_flags(server), *cache_flags(server), *progress)
    container = loader_container(server, settings, settings.sidecar_image, flags)
    return _job(server, settings, "load", container, node=node)


def inspect_job(server: ModelServer, settings: Settings, occasion: str = "") -> Manifest:
    """The Job that reads what the source is; `occasion` tells one look from the next."""
    mounted = () if parse_source(server.model.uri).downloaded else target_flags(server)
    container = loader_container(server, settings, settings.sidecar_image, ("--inspect", *mounted))
    return _job(server, settings, "inspect", container, occasion=occasion)


def _job(
    server: ModelServer,
    settings: Settings,
    purpose: str,
    container: dict[str, Any],
    *,
    node: str | None = None,
    occasion: str = "",
) -> Manifest:
    read_only = purpose == "inspect"
    body: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "containers": [_read_only(container) if read_only else container],
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": POD_SECURITY,
        "volumes": _volumes(server, inspecting=read_only),
    }
    # A look may be made anywhere. What is loaded has to be where pods can use it: a volume binds to its first user's
    # node or zone.
    body |= {} if read_only else _placement(server, settings, node)
    if server.spec.image_pull_secrets:
        body["imagePullSecrets"] = [secret.dump() for secret in server.spec.image_pull_secrets]
    labels = {
        "app.kubernetes.io/component": "model-loader",
        "app.kubernetes.io/instance": server.name,
        MANAGED_BY: FIELD_MANAGER,
        LOADER_LABEL: server.name,
    }
    template = {"metadata": {"labels": labels}, "spec": body}
    finish(template)
    forbidden = list(violations(template, settings))
    if forbidden:
        raise InvalidSpec("NotAllowed", "; ".join(forbidden) + ".")
    # The operator's own image is left out: its upgrade alone must not load anything again.
    wish = overlay(template, {"spec": {"containers": [{"name": LOADER, "image": ""}]}})
    name = f"{server.name}-model-{purpose}-{digest([wish, occasion], 8)}"
    job = child(server, "batch/v1", "Job", name, spec={"backoffLimit": ATTEMPTS - 1, "template": template})
    job["metadata"]["labels"] |= {LOADER_LABEL: server.name}
    del job["metadata"]["labels"][MODEL_SERVER_LABEL]
    return job


def _placement(server: ModelServer, settings: Settings, node: str | None) -> dict[str, Any]:
    """Where the engine's pods may run, or just `node`, if it is one of those."""
    gpus = gpu_count(ENGINES[server.spec.engine], server)
    fields = pod_placement(server, settings.site_label, gpu_resource(server) if gpus else None)
    affinity = node_affinity(server, settings.site_label).get("nodeAffinity") or {}
    if node:
        this = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        terms = (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
        affinity = {**affinity, _REQUIRED: {"nodeSelectorTerms": [{**term, **this} for term in terms]}}
    taken = ("nodeSelector", "priorityClassName", "schedulerName", "tolerations")
    found: dict[str, Any] = {name: fields[name] for name in taken if name in fields}
    return found | ({"affinity": {"nodeAffinity": affinity}} if affinity else {})


def _volumes(server: ModelServer, *, inspecting: bool) -> list[dict[str, Any]]:
    source: Source = parse_source(server.model.uri)
    scratch = inspecting and source.downloaded
    models = {"emptyDir": {}} if scratch else models_volume(server)
    volumes: list[dict[str, Any]] = [
        {"name": "cache", "emptyDir": {}},
        {"name": "models"} | models,
        {"name": "state", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        *source_volumes(server),
    ]
    return sorted(volumes, key=lambda volume: str(volume["name"]))


def _read_only(container: dict[str, Any]) -> dict[str, Any]:
    mounts = [m | {"readOnly": True} if m["name"] == "models" else m for m in container["volumeMounts"]]
    return container | {"volumeMounts": mounts}
