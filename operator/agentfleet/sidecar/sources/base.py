"""What the loader asks a source of weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Arrived = Callable[[int], None]
"""Told the bytes of each chunk, as it lands on disk; negative when bytes on disk turned out to be useless."""

TOKEN_KEY = "token"  # noqa: S105 - the name of a Secret's key
"""Key of the Secret in spec.model.auth.secretName that holds a source's token."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a source. The token is kept out of every log and message."""

    scratch: Path
    """A writable folder for files of a client library; the root file system is read-only."""
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    """Another host than the scheme's own, such as a mirror."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model. `path` is relative to the target; `identity` changes when the content does."""

    path: str
    size: int
    identity: str
    sha256: str | None = None
    """Where the source tells it; checked before the file is put in place."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A source at one moment: an immutable revision and its files."""

    revision: str
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files)


class Source(Protocol):
    """One model somewhere else. Failures are ModelFailed; SourceUnreachable where another try may help."""

    def resolve(self) -> Resolved:
        """What there is to load, without its contents."""

    def fetch(self, file: RemoteFile, part: Path, arrived: Arrived) -> None:
        """Completes `part`, which may hold the file's first bytes already from an earlier try."""

    def close(self) -> None:
        """Closes connections."""
