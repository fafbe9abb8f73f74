"""Model URIs: what they name, and where the model then lies in the pod. Pure."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from agentfleet.errors import InvalidSpec


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed model URI. The CRD has checked the form; InvalidSpec repeats it for objects stored before."""

    scheme: str
    repository: str = ""
    """hf: owner/repo."""
    file: str = ""
    """hf: one file of the repository; pvc, file: the path."""
    revision: str = ""
    """hf: branch, tag or commit; empty is the default branch."""
    claim: str = ""
    """pvc: the claim."""
    reference: str = ""
    """ollama: what Ollama is asked to pull."""
    folder: str = ""
    """hf: folder of the download; its own for each file and revision, since caches are shared by many ModelServers."""

    @property
    def downloaded(self) -> bool:
        """True where a loader fetches the model before the engine starts."""
        return self.scheme == "hf"


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
        folder = f"{owner}--{repository}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"
        return Source(scheme, repository=f"{owner}/{repository}", file=file, revision=revision, folder=folder)
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        return Source(scheme, claim=claim, file=path)
    if scheme == "file":
        return Source(scheme, file="/" + rest.lstrip("/"))
    if scheme == "ollama":
        return Source(scheme, reference=rest)
    raise InvalidSpec(
        "InvalidSpec", f"model.uri {uri!r} has the unknown scheme {scheme}; legal are hf, pvc, file and ollama."
    )


def path_in_pod(source: Source, models_dir: str) -> str:
    """Where the engine finds the model."""
    if source.scheme == "hf":
        folder = f"{models_dir}/{source.folder}"
        return f"{folder}/{source.file}" if source.file else folder
    if source.scheme == "pvc":
        return str(PurePosixPath(models_dir) / source.file) if source.file else models_dir
    if source.scheme == "file":
        return str(PurePosixPath(models_dir) / PurePosixPath(source.file).name)
    return models_dir
