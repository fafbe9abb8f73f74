"""What the loader asks a source of weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agentfleet.sidecar.credentials import Credentials

Arrived = Callable[[int], None]
"""Told the bytes of each chunk, as it lands on disk; negative when bytes on disk turned out to be useless."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a source."""

    scratch: Path
    """A writable folder for files of a client library; the root file system is read-only."""
    credentials: Credentials = field(default_factory=Credentials)
    endpoint: str | None = None
    """Another host than the source's own: a mirror, an object store or a registry of one's own."""
    ca_bundle: Path | None = None
    """PEM file with the certificates to trust instead of the public ones."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model. `path` is relative to the target; `identity` changes when the content does."""

    path: str
    size: int
    identity: str
    sha256: str | None = None
    """Where the source tells it; checked before the file is put in place."""
    unpack: str | None = None
    """None for a file that is put in place as it is. Else this is a tar archive, and the files below its folder of that
    name ("" for all) are the model's; `path` is then only its name in messages."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A source at one moment: an immutable revision and its files, archives in the order in which they unpack."""

    revision: str
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files)


class Readable(Protocol):
    """Files that can be read in pieces, here or far away: what inspection needs."""

    def read(self, file: RemoteFile, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on; fewer only at the end of the file."""


class Source(Readable, Protocol):
    """One model somewhere else. Failures are ModelFailed; SourceUnreachable where another try may help."""

    def resolve(self) -> Resolved:
        """What there is to load, without its contents."""

    def fetch(self, file: RemoteFile, part: Path, arrived: Arrived) -> None:
        """Completes `part`, which may hold the file's first bytes already from an earlier try."""

    def close(self) -> None:
        """Closes connections."""
