"""Model URIs: what they name, and where the model then lies in the pod. Pure."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from agentfleet.errors import InvalidSpec
from agentfleet.resources.model import DOWNLOADED


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed model URI. The CRD has checked the form; InvalidSpec repeats it for objects stored before."""

    scheme: str
    repository: str = ""
    """hf: owner/repo."""
    file: str = ""
    """Downloads: the one file that is the model, if it is one; pvc, file: the path."""
    revision: str = ""
    """hf: branch, tag or commit; empty is the default branch."""
    claim: str = ""
    """pvc: the claim."""
    reference: str = ""
    """ollama: what Ollama is asked to pull."""
    folder: str = ""
    """Folder of the download; its own for each URI, since caches are shared by many ModelServers."""

    @property
    def downloaded(self) -> bool:
        """True where a loader fetches the model before the engine starts."""
        return self.scheme in DOWNLOADED


def parse_source(uri: str) -> Source:
    """The parts of a model URI."""
    scheme, separator, rest = uri.partition("://")
    if not separator or not rest or ".." in rest:
        raise InvalidSpec("InvalidSpec", f"model.uri {uri!r} is not of the form scheme://path.")
    if scheme == "hf":
        path, _, revision = rest.partition("@")
        owner, _, remainder = path.partition("/")
        repository, _, file = remainder.partition("/")
        if not owner or not repository:
            raise InvalidSpec("InvalidSpec", f"model.uri {uri!r} names no repository: write hf://owner/repo.")
        folder = _folder(f"{owner}--{repository}", rest)
        return Source(scheme, repository=f"{owner}/{repository}", file=file, revision=revision, folder=folder)
    if scheme in ("s3", "gs", "oci", "https"):
        # A host's path may hold anything; what follows @ or : is an artifact's digest or tag.
        path = rest if scheme == "https" else rest.partition("@")[0]
        name = PurePosixPath(path.partition("?")[0]).name
        if scheme == "oci":
            return Source(scheme, folder=_folder(name.partition(":")[0], uri))
        # An object store's path may be a folder; only a GGUF file is told by its name.
        single = name if scheme == "https" or name.endswith(".gguf") else ""
        return Source(scheme, file=single, folder=_folder(name, uri))
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        return Source(scheme, claim=claim, file=path)
    if scheme == "file":
        return Source(scheme, file="/" + rest.lstrip("/"))
    if scheme in ("ollama", "foundry"):
        return Source(scheme, reference=rest)
    raise InvalidSpec(
        "InvalidSpec",
        f"model.uri {uri!r} has the unknown scheme {scheme};"
        " legal are hf, s3, gs, oci, https, pvc, file, ollama and foundry.",
    )


def pinned(uri: str, revision: str) -> str:
    """`uri` with the branch or tag of an hf:// or oci:// source replaced by what it stood for; others as they are."""
    if uri.startswith("hf://"):
        return f"{uri.split('@', maxsplit=1)[0]}@{revision}"
    if uri.startswith("oci://"):
        # The port of a registry looks like a tag, so only the last part of the path is cut.
        head, slash, tail = uri.split("@", maxsplit=1)[0].rpartition("/")
        return f"{head}{slash}{tail.split(':')[0]}@{revision}"
    return uri


def _folder(label: str, rest: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", label).strip(".-")[:100] or "model"
    return f"{safe}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"


def path_in_pod(source: Source, models_dir: str) -> str:
    """Where the engine finds the model."""
    if source.downloaded:
        folder = f"{models_dir}/{source.folder}"
        return f"{folder}/{source.file}" if source.file else folder
    if source.scheme == "pvc":
        return str(PurePosixPath(models_dir) / source.file) if source.file else models_dir
    if source.scheme == "file":
        return str(PurePosixPath(models_dir) / PurePosixPath(source.file).name)
    return models_dir
