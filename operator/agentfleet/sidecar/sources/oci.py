"""oci://registry/repository[:tag|@sha256:…]: a model as an OCI artifact, or as a container image ("modelcar").

An artifact's layers are files, named by an annotation (ORAS, Helm, ModelPack), or folders packed with tar. An image has
packed layers only, and the model lies below /models in it, next to whatever else an image holds.
"""

import hashlib
import json
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from agentfleet.sidecar import transfer
from agentfleet.sidecar.failures import BAD_SOURCE, CHECKSUM_MISMATCH, MODEL_GATED, ModelFailed, SourceUnreachable
from agentfleet.sidecar.sources.base import Access, Arrived, RemoteFile, Resolved, Source
from agentfleet.sidecar.sources.registry import DOCKER_HUB, INDEXES, Registry

_NAME = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_URI = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(?::\d+)?)"
    rf"/(?P<repository>{_NAME}(?:/{_NAME})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAR = re.compile(r"\.tar$|\.tar\.gzip$|[.+]tar\+gzip$|\.tgz$")

TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"
"""ORAS gives every layer with a title a tar media type by default; only where this is "true" it packed a folder."""

MODEL_PACK_TITLE = "org.cncf.model.filepath"
IMAGE_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
MODELCAR_FOLDER = "models"
MOST_LAYERS = 1000
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed oci:// URI. `version` is a tag or a digest."""

    host: str
    repository: str
    version: str


def open_source(uri: str, access: Access) -> Source:
    """The artifact that `uri` names."""
    return Artifact(parse(uri), access)


def parse(uri: str) -> Reference:
    """ModelFailed BadSource names the URI and the form."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise ModelFailed(
            BAD_SOURCE, f"{uri!r} names no OCI artifact: write oci://registry/repository[:tag or @sha256:digest]"
        )
    repository = match["repository"]
    if match["host"] == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(match["host"], repository, match["digest"] or match["tag"] or "latest")


class Artifact:
    """One manifest and its layers."""

    def __init__(self, reference: Reference, access: Access) -> None:
        self._reference = reference
        self._registry = Registry(reference.host, reference.repository, access)

    def resolve(self) -> Resolved:
        """Asks for the manifest; its digest is the revision."""
        content, kind = self._manifest(self._reference.version)
        if kind in INDEXES:
            content, _ = self._manifest(self._of_this_platform(self._object(content)))
        manifest = self._object(content)
        layers = _descriptors(manifest, "layers")
        if not layers or len(layers) > MOST_LAYERS:
            raise ModelFailed(BAD_SOURCE, f"{self._name} has {len(layers)} layers; 1 to {MOST_LAYERS} are legal")
        folder = MODELCAR_FOLDER if _media_type(manifest.get("config")) in IMAGE_CONFIGS else ""
        files = tuple(self._file(layer, folder) for layer in layers)
        return Resolved(_digest_of(content), files)

    def fetch(self, file: RemoteFile, part: Path, arrived: Arrived) -> None:
        """Completes `part`."""

        def attempt(refused: transfer.Refused) -> None:
            registry, url = self._registry, self._registry.blob_url(file.identity)
            transfer.download(
                registry.client, url, part, file.size, headers=registry.headers(), arrived=arrived, refused=refused
            )

        self._signed_in(attempt)

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        """A piece of a layer."""
        found: list[bytes] = []

        def attempt(refused: transfer.Refused) -> None:
            registry, url = self._registry, self._registry.blob_url(file.identity)
            found.append(
                transfer.read(registry.client, url, start, length, headers=registry.headers(), refused=refused)
            )

        self._signed_in(attempt)
        return found[0]

    def close(self) -> None:
        """Closes the connections."""
        self._registry.close()

    def _signed_in(self, attempt: Callable[[transfer.Refused], None]) -> None:
        """Tokens live for minutes, and a download for hours: a 401 gets one more try with a new token."""

        def sign_in(response: httpx.Response) -> ModelFailed:
            if response.status_code != 401:
                return self._registry.refused(response)
            self._registry.sign_in(response)
            return _SignedIn("a new token was needed")

        try:
            return attempt(sign_in)
        except _SignedIn:
            pass
        return attempt(self._registry.refused)

    def _manifest(self, version: str) -> tuple[bytes, str]:
        content, kind = self._registry.manifest(version)
        if _DIGEST.fullmatch(version) and _digest_of(content) != version:
            raise ModelFailed(CHECKSUM_MISMATCH, f"{self._name}: the manifest has digest {_digest_of(content)}")
        return content, kind or _media_type(self._object(content))

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except ValueError as error:
            raise SourceUnreachable(f"{self._registry.host} does not answer like a registry: no JSON") from error
        if not isinstance(found, dict):
            raise ModelFailed(BAD_SOURCE, f"{self._name} is no manifest")
        return found

    def _of_this_platform(self, index: dict[str, Any]) -> str:
        """Weights are the same for every processor, but images of them are built for one."""
        machine = ARCHITECTURES.get(platform.machine(), platform.machine())
        entries = [entry for entry in _descriptors(index, "manifests") if _DIGEST.fullmatch(str(entry.get("digest")))]
        fitting = [entry for entry in entries if _platform(entry) == ("linux", machine)] or entries[:1]
        if not fitting:
            raise ModelFailed(BAD_SOURCE, f"{self._name} is an index without manifests")
        return str(fitting[0]["digest"])

    def _file(self, layer: dict[str, Any], folder: str) -> RemoteFile:
        digest, size, kind = str(layer.get("digest")), layer.get("size"), _media_type(layer)
        if not _DIGEST.fullmatch(digest) or not isinstance(size, int) or size < 0:
            raise ModelFailed(BAD_SOURCE, f"{self._name} has a layer without size or SHA-256 digest")
        notes = layer.get("annotations")
        notes = notes if isinstance(notes, dict) else {}
        title, sha256 = notes.get(TITLE), digest.removeprefix("sha256:")
        if isinstance(title, str) and notes.get(UNPACK) != "true":
            return RemoteFile(title, size, digest, sha256)
        if _TAR.search(kind):
            return RemoteFile(f"layer {sha256[:12]}", size, digest, sha256, unpack="" if title else folder)
        if isinstance(name := notes.get(MODEL_PACK_TITLE), str):
            return RemoteFile(name, size, digest, sha256)
        raise ModelFailed(
            BAD_SOURCE,
            f"{self._name} has a layer of type {kind!r}: only tar and tar+gzip archives, and files named by the"
            f" annotation {TITLE}, can be loaded",
        )

    @property
    def _name(self) -> str:
        reference = self._reference
        return f"{reference.host}/{reference.repository} at {reference.version}"


class _SignedIn(ModelFailed):
    """Not a failure: the next try has a token."""

    def __init__(self, message: str) -> None:
        super().__init__(MODEL_GATED, message)


def _digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _media_type(descriptor: object) -> str:
    return str(descriptor.get("mediaType", "")) if isinstance(descriptor, dict) else ""


def _platform(descriptor: dict[str, Any]) -> tuple[object, object]:
    found = descriptor.get("platform")
    return (found.get("os"), found.get("architecture")) if isinstance(found, dict) else (None, None)


def _descriptors(manifest: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = manifest.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
