"""Volumes of an engine's pod and who mounts what. Pure."""

from pathlib import PurePosixPath
from typing import Any

from agentfleet.engines.base import CACHE_DIR, MODELS_DIR, Launch
from agentfleet.engines.sources import parse_source
from agentfleet.manifests.names import adapters_name, cache_claim_name, digest, files_name
from agentfleet.resources.modelserver import ModelServer

ADAPTERS_DIR = "/adapters"
"""Where the sidecar puts adapters and the engine reads them."""

ADAPTERS_LIST_DIR = "/etc/agentfleet/adapters"
API_KEY_DIR = "/var/run/agentfleet/api-key"


def volumes(server: ModelServer, launch: Launch) -> list[dict[str, Any]]:
    """All volumes, sorted by name."""
    result: list[dict[str, Any]] = [
        {"name": "cache", "emptyDir": {}},
        {"name": "models"} | models_volume(server),
        {"name": "state", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if launch.shared_memory:
        result.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": launch.shared_memory}})
    if server.spec.files:
        result.append({"name": "files", "configMap": {"name": _files(server)}})
    if parse_source(server.model.uri).downloaded or server.spec.adapters:
        result += source_volumes(server)
    if server.spec.adapters:
        result.append({"name": "adapters", "emptyDir": {}})
        result.append({"name": "adapters-list", "configMap": {"name": adapters_name(server)}})
    if api_key_secret(server):
        items = [{"key": "apiKey", "path": "apiKey"}]
        result.append({"name": "api-key", "secret": {"secretName": api_key_secret(server), "items": items}})
    return sorted(result, key=lambda volume: str(volume["name"]))


def engine_mounts(server: ModelServer, launch: Launch) -> list[dict[str, Any]]:
    """What the engine container mounts, sorted by path."""
    source = parse_source(server.model.uri)
    models: dict[str, Any] = {"mountPath": MODELS_DIR, "name": "models"}
    if source.scheme == "file" and not _is_single_file(source.file):
        models["mountPath"] = f"{MODELS_DIR}/{PurePosixPath(source.file).name}"
    if source.scheme != "ollama":
        models["readOnly"] = True
    mounts = [models, {"mountPath": CACHE_DIR, "name": "cache"}, {"mountPath": "/tmp", "name": "tmp"}]  # noqa: S108
    if launch.shared_memory:
        mounts.append({"mountPath": "/dev/shm", "name": "shm"})  # noqa: S108  # the engine's own shared memory
    if server.spec.adapters:
        mounts.append({"mountPath": ADAPTERS_DIR, "name": "adapters", "readOnly": True})
    for index, file in enumerate(server.spec.files):
        mounts.append({"mountPath": file.path, "name": "files", "readOnly": True, "subPath": f"file-{index}"})
    return sorted(mounts, key=lambda mount: str(mount["mountPath"]))


def source_volumes(server: ModelServer) -> list[dict[str, Any]]:
    """Credentials and certificates for the model's source: for the loader, never for the engine."""
    auth = server.model.auth
    found: list[dict[str, Any]] = []
    if auth and auth.secret_name:
        found.append({"name": "source-credentials", "secret": {"secretName": auth.secret_name}})
    if auth and auth.ca_bundle:
        found.append({"name": "source-ca", "configMap": {"name": auth.ca_bundle.config_map_name}})
    return found


def api_key_secret(server: ModelServer) -> str | None:
    """The Secret that holds the key which clients must send."""
    return server.spec.expose.api_key_secret_name if server.spec.expose else None


def binds_to_one_node(server: ModelServer) -> bool:
    """Whether the pods' cache is a claim that only one node at a time can mount: the scheduler does not see to that."""
    cache = server.spec.cache
    return cache is not None and cache.type == "PersistentVolume" and cache.access_mode != "ReadWriteMany"


def models_volume(server: ModelServer) -> dict[str, Any]:
    """Where the model lies: its own volume for pvc:// and file://, else the cache."""
    source = parse_source(server.model.uri)
    if source.scheme == "pvc":
        return {"persistentVolumeClaim": {"claimName": source.claim, "readOnly": True}}
    if source.scheme == "file":
        # A GGUF may come in parts that lie beside it, so the folder of a single file is what is mounted.
        path = str(PurePosixPath(source.file).parent) if _is_single_file(source.file) else source.file
        return {"hostPath": {"path": path, "type": "Directory"}}
    cache = server.spec.cache
    if cache is None or cache.type == "Ephemeral":
        return {"emptyDir": {"sizeLimit": cache.size} if cache and cache.size else {}}
    if cache.type == "HostPath":
        return {"hostPath": {"path": cache.path, "type": "DirectoryOrCreate"}}
    if cache.type == "PersistentVolume":
        return {"persistentVolumeClaim": {"claimName": cache_claim_name(server)}}
    return {"persistentVolumeClaim": {"claimName": cache.claim_name}}


def _is_single_file(path: str) -> bool:
    return path.endswith(".gguf")


def _files(server: ModelServer) -> str:
    return files_name(server, digest({f"file-{i}": file.content for i, file in enumerate(server.spec.files)}))
