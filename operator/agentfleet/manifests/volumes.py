"""Volumes of an engine's pod and who mounts what. Pure."""

from pathlib import PurePosixPath
from typing import Any

from agentfleet.engines.base import CACHE_DIR, MODELS_DIR, Launch
from agentfleet.engines.sources import parse_source
from agentfleet.manifests.names import digest, files_name
from agentfleet.resources.modelserver import ModelServer

TOKEN_DIR = "/var/run/agentfleet/token"  # noqa: S105  # a folder, not a secret


def volumes(server: ModelServer, launch: Launch) -> list[dict[str, Any]]:
    """All volumes, sorted by name."""
    result: list[dict[str, Any]] = [
        {"name": "cache", "emptyDir": {}},
        {"name": "models"} | _models_volume(server),
        {"name": "state", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if launch.shared_memory:
        result.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": launch.shared_memory}})
    if server.spec.files:
        result.append({"name": "files", "configMap": {"name": _files(server)}})
    if _token_secret(server):
        items = [{"key": "token", "path": "token"}]
        result.append({"name": "token", "secret": {"secretName": _token_secret(server), "items": items}})
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
    for index, file in enumerate(server.spec.files):
        mounts.append({"mountPath": file.path, "name": "files", "readOnly": True, "subPath": f"file-{index}"})
    return sorted(mounts, key=lambda mount: str(mount["mountPath"]))


def loader_mounts(server: ModelServer) -> tuple[list[dict[str, Any]], str | None]:
    """What the loader mounts, and the file that holds the hub's token, if any."""
    mounts: list[dict[str, Any]] = [
        {"mountPath": CACHE_DIR, "name": "cache"},
        {"mountPath": MODELS_DIR, "name": "models"},
        {"mountPath": "/state", "name": "state"},
        {"mountPath": "/tmp", "name": "tmp"},  # noqa: S108
    ]
    if not _token_secret(server):
        return mounts, None
    mounts.append({"mountPath": TOKEN_DIR, "name": "token", "readOnly": True})
    return mounts, f"{TOKEN_DIR}/token"


def _models_volume(server: ModelServer) -> dict[str, Any]:
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
    return {"persistentVolumeClaim": {"claimName": cache.claim_name}}


def _is_single_file(path: str) -> bool:
    return path.endswith(".gguf")


def _files(server: ModelServer) -> str:
    return files_name(server, digest({f"file-{i}": file.content for i, file in enumerate(server.spec.files)}))


def _token_secret(server: ModelServer) -> str | None:
    return server.model.auth.secret_name if server.model.auth else None
