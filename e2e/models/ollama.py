"""A GGUF file as Ollama keeps it in a registry: a manifest with Ollama's media types over plain blobs.

`push` speaks the registry's HTTP API and nothing else, so any registry will do.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
MODEL = "application/vnd.ollama.image.model"
TEMPLATE = "application/vnd.ollama.image.template"
PARAMETERS = "application/vnd.ollama.image.params"

# The same conversation format as tiny_gguf.CHAT_TEMPLATE, in the language of Ollama's templates.
CHAT_TEMPLATE = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Blob:
    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


def blobs(gguf: Path) -> tuple[Blob, list[Blob]]:
    """The configuration and the layers of a model, in the order of the manifest."""
    layers = [
        Blob(MODEL, gguf.read_bytes()),
        Blob(TEMPLATE, CHAT_TEMPLATE.encode()),
        # One thread: Ollama takes all cores of the node, and what spins on them under a pod's CPU limit is throttled.
        Blob(PARAMETERS, _json({"num_thread": 1, "stop": ["<|im_start|>", "<|im_end|>"]})),
    ]
    config = {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    return Blob(CONFIG, _json(config)), layers


def push(registry: httpx.Client, repository: str, tag: str, gguf: Path) -> None:
    """Store `gguf` as `repository`:`tag` ("library/tiny", "latest"). Raises httpx.HTTPError if the registry refuses."""
    config, layers = blobs(gguf)
    for blob in [config, *layers]:
        upload = registry.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
        registry.put(
            upload.headers["Location"],
            params={**dict(httpx.URL(upload.headers["Location"]).params), "digest": blob.digest},
            content=blob.content,
            headers={"Content-Type": "application/octet-stream"},
        ).raise_for_status()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    url = f"/v2/{repository}/manifests/{tag}"
    registry.put(url, content=_json(manifest), headers={"Content-Type": MANIFEST}).raise_for_status()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
