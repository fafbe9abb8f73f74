"""Names in the registry inside the cluster, for models that are there already (library/tiny, library/slow).

It only adds manifests: a registry lends the blobs of one repository to another. Nothing here knows Kubernetes.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_ARTIFACT = "application/vnd.oci.image.manifest.v1+json"
_MODEL_LAYER = "application/vnd.ollama.image.model"
_TITLE = "org.opencontainers.image.title"


def open_registry(address: str) -> httpx.Client:
    """A client of the registry at ``host:port``."""
    return httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=30)


def point(registry: httpx.Client, repository: str, source: str) -> None:
    """Let the tag ``latest`` of an Ollama model be another one's, as a newer version of it that was pushed."""
    manifest = _manifest(registry, source)
    _lend(registry, repository, source, manifest)
    _put(registry, f"{repository}/manifests/latest", manifest, _MANIFEST)


def push_artifact(registry: httpx.Client, repository: str, tag: str, source: str, file: str) -> None:
    """Store an Ollama model's GGUF as an OCI artifact of one file, as ORAS would."""
    manifest = _manifest(registry, source)
    _lend(registry, repository, source, manifest)
    layer = next(layer for layer in manifest["layers"] if layer["mediaType"] == _MODEL_LAYER)
    artifact = {
        "schemaVersion": 2,
        "mediaType": _ARTIFACT,
        "artifactType": "application/vnd.acme.model",
        "config": manifest["config"] | {"mediaType": "application/vnd.acme.model.config+json"},
        "layers": [layer | {"mediaType": "application/octet-stream", "annotations": {_TITLE: file}}],
    }
    _put(registry, f"{repository}/manifests/{tag}", artifact, _ARTIFACT)


def _manifest(registry: httpx.Client, repository: str) -> dict[str, Any]:
    answer = registry.get(f"/v2/{repository}/manifests/latest", headers={"Accept": _MANIFEST})
    manifest: dict[str, Any] = answer.raise_for_status().json()
    return manifest


def _lend(registry: httpx.Client, repository: str, source: str, manifest: dict[str, Any]) -> None:
    for blob in (manifest["config"], *manifest["layers"]):
        query = {"mount": blob["digest"], "from": source}
        answer = registry.post(f"/v2/{repository}/blobs/uploads/", params=query).raise_for_status()
        if answer.status_code != httpx.codes.CREATED:
            raise ValueError(f"the registry does not lend {blob['digest']} of {source} ({answer.status_code})")


def _put(registry: httpx.Client, path: str, manifest: dict[str, Any], kind: str) -> None:
    registry.put(f"/v2/{path}", content=json.dumps(manifest), headers={"Content-Type": kind}).raise_for_status()
