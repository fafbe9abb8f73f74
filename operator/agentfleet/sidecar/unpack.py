"""Takes a tar archive from an untrusted source apart: plain files only, nothing outside, nothing without bound.

No link is ever made while an archive is open, so that no member can be written through an earlier one.
"""

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from agentfleet.sidecar.failures import BAD_SOURCE, ModelFailed

MOST_MEMBERS = 100_000
LARGEST_RATIO = 20
"""Weights hardly compress; an archive that grows more than this is made to fill disks."""
ALWAYS_ALLOWED = 64 * 2**20
LARGEST_READ = 16 * 2**20
"""Extended headers are read whole; the contents of files come in pieces."""

_CHUNK = 2**20
_GZIP = b"\x1f\x8b"
_WHITEOUT = ".wh."


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive; `link` is the path of the file whose content it shares, and `content` then None."""

    path: str
    size: int
    content: IO[bytes] | None
    link: str | None = None


def members(archive: Path, folder: str) -> Iterator[Member]:
    """The files below `folder` in `archive`, with paths relative to it.

    Each is to be read before the next is asked for. ModelFailed BadSource where the archive is damaged or hostile.
    """
    limit = archive.stat().st_size * LARGEST_RATIO + ALWAYS_ALLOWED
    total = 0
    with _opened(archive) as tar, _damage():
        for number, info in enumerate(tar, 1):
            if number > MOST_MEMBERS:
                raise _refused(f"more than {MOST_MEMBERS} members")
            total += info.size
            if total > limit:
                raise _refused(f"it would unpack to more than {limit} bytes")
            path = _inside(info.name, folder)
            if path is None or info.isdir():
                continue
            yield _member(tar, info, path, folder)


def save(member: Member, place: IO[bytes]) -> None:
    """Writes the content of a member that is no link."""
    if member.content is None:
        raise ValueError(f"{member.path} is a link")
    with _damage():
        shutil.copyfileobj(member.content, place, _CHUNK)


def _member(tar: tarfile.TarFile, info: tarfile.TarInfo, path: str, folder: str) -> Member:
    if PurePosixPath(path).name.startswith(_WHITEOUT):
        raise _refused(f"{info.name!r} deletes a file of an earlier layer: build the image in one layer")
    if info.isreg() and not info.issparse():
        return Member(path, info.size, tar.extractfile(info))
    if info.issym():
        target = _inside(_joined(PurePosixPath(info.name).parent, info.linkname), folder)
    elif info.islnk():
        target = _inside(info.linkname, folder)
    else:
        raise _refused(f"{info.name!r} is neither file, folder nor link")
    if target is None:
        raise _refused(f"{info.name!r} links to {info.linkname!r}, outside of the model")
    return Member(path, 0, None, target)


def _inside(name: str, folder: str) -> str | None:
    """`name` relative to `folder`; None for the folder itself and for what lies elsewhere."""
    parts = PurePosixPath(name.removeprefix("./")).parts
    if ".." in parts or name.startswith("/") or "\0" in name:
        raise _refused(f"{name!r} leads out of the archive")
    top = PurePosixPath(folder).parts
    if parts[: len(top)] != top or len(parts) == len(top):
        return None
    return str(PurePosixPath(*parts[len(top) :]))


def _joined(folder: PurePosixPath, link: str) -> str:
    """Where a symbolic link in `folder` leads, with its `..` resolved as far as they stay inside."""
    parts: list[str] = []
    for part in (folder / link).parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return str(PurePosixPath(*parts))


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        with _damage():
            unpacked = gzip.GzipFile(fileobj=raw) if packed else raw
            with tarfile.open(fileobj=_Bounded(unpacked), mode="r:") as tar:  # type: ignore[call-overload]
                yield tar


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError) as error:
        raise _refused(f"it is damaged: {error}") from error


class _Bounded:
    """A file that is never read in one piece: tarfile holds a header in memory, however long that says it is."""

    def __init__(self, file: BinaryIO | gzip.GzipFile) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_READ:
            raise _refused(f"a header of {size} bytes")
        return self._file.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()


def _refused(why: str) -> ModelFailed:
    return ModelFailed(BAD_SOURCE, f"an archive of the source is refused: {why}")
