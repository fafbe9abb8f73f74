"""The folder that the loader fills: what is complete, what is half done, and who may write.

    TARGET/…                            the model's files, put in place by rename, whole and verified
    TARGET/.agentfleet/complete.json    written last; while it matches, nothing is asked of anybody
    TARGET/.agentfleet/installed.json   what is in place: a new start skips it, another model drops it
    TARGET/.agentfleet/partial/         files in transfer, named by content
    TARGET/.agentfleet/lock             held by the one loader that writes

Nodes at the edge lose power: a file is on disk before its name is.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from agentfleet.sidecar.failures import BAD_SOURCE, CHECKSUM_MISMATCH, ModelFailed
from agentfleet.sidecar.progress import write_json
from agentfleet.sidecar.sources.base import RemoteFile, Resolved

FOLDER = ".agentfleet"


class Cache:
    """One target folder."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.folder = target / FOLDER
        self._marker = self.folder / "complete.json"
        self._journal = self.folder / "installed.json"
        self.scratch = self.folder / "scratch"
        """For files of client libraries; gone when the folder is complete."""
        self._partial = self.folder / "partial"
        self._journalling = threading.Lock()

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Holds the folder; calls `waiting` once when another loader, perhaps on another node, holds it now.

        The kernel drops the lock with its holder, so a killed loader blocks nobody.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def complete(self, source: str, sha256: str | None) -> dict[str, Any] | None:
        """The marker, when everything of `source` is in place; None when something has to be done."""
        marker = _read_json(self._marker)
        if marker is None or marker.get("source") != source or sha256 not in (None, marker.get("sha256")):
            return None
        sizes: dict[str, int] = marker["files"]
        return marker if all(_size(self.place(path)) == size for path, size in sizes.items()) else None

    def begin(self, resolved: Resolved) -> None:
        """Starts on `resolved`: the folder is not complete any more, and files of another model go."""
        wanted = {file.path for file in resolved.files}
        for path in wanted:
            self.place(path)
        self._marker.unlink(missing_ok=True)
        self._partial.mkdir(parents=True, exist_ok=True)
        journal = self._installed()
        for path in set(journal) - wanted:
            self.place(path).unlink(missing_ok=True)
        self._write_journal({path: identity for path, identity in journal.items() if path in wanted})
        identities = {self.part(file).name for file in resolved.files}
        for leftover in self._partial.iterdir():
            if leftover.name not in identities:
                leftover.unlink()

    def has(self, file: RemoteFile) -> bool:
        """True when this very content is in place."""
        return self._installed().get(file.path) == file.identity and _size(self.place(file.path)) == file.size

    def place(self, path: str) -> Path:
        """Where a file of the model goes. A source's names are not trusted: none may leave the folder or enter ours."""
        parts = PurePosixPath(path).parts
        if not parts or parts[0] in ("/", FOLDER) or ".." in parts:
            raise ModelFailed(BAD_SOURCE, f"the source has a file {path!r}, which may not be written here")
        return self._target.joinpath(*parts)

    def part(self, file: RemoteFile) -> Path:
        """The file in transfer. Named by content: bytes of another revision are never continued."""
        name = hashlib.sha256(f"{file.path}\n{file.identity}\n{file.size}".encode()).hexdigest()[:32]
        return self._partial / name

    def install(self, file: RemoteFile, part: Path) -> None:
        """Puts a complete, verified `part` in its place, readable for the engine's user, whoever that is."""
        place = self.place(file.path)
        _make_folders(place.parent, self._target)
        with part.open("rb") as content:
            os.fsync(content.fileno())
        part.chmod(part.stat().st_mode | 0o444)
        part.replace(place)
        with self._journalling:
            self._write_journal({**self._installed(), file.path: file.identity})

    def remove(self, file: RemoteFile) -> None:
        """Takes a file out of its place and out of transfer."""
        with self._journalling:
            self._write_journal({path: i for path, i in self._installed().items() if path != file.path})
        self.place(file.path).unlink(missing_ok=True)
        self.part(file).unlink(missing_ok=True)

    def finish(self, source: str, resolved: Resolved, sha256: str | None) -> None:
        """Marks the folder as complete; from now on a loader with this source does nothing."""
        shutil.rmtree(self._partial)
        if self.scratch.exists():
            shutil.rmtree(self.scratch)
        marker = {
            "source": source,
            "revision": resolved.revision,
            "files": {file.path: file.size for file in resolved.files},
            "bytes": resolved.bytes,
            "sha256": sha256,
        }
        write_json(self._marker, marker)
        _sync_folder(self.folder)

    def _installed(self) -> dict[str, str]:
        return _read_json(self._journal) or {}

    def _write_journal(self, installed: dict[str, str]) -> None:
        write_json(self._journal, installed)


def verify(path: Path, sha256: str, name: str) -> None:
    """ModelFailed ChecksumMismatch unless the content of `path` has that SHA-256."""
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise ModelFailed(CHECKSUM_MISMATCH, f"{name} has SHA-256 {found}, but {sha256} is expected; it was removed")


def is_full(error: OSError) -> bool:
    """True when a write failed for want of space or quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _read_json(path: Path) -> dict[str, Any] | None:
    """None for a file that is not there or was torn by a power cut: both mean that the work is to be done again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _make_folders(folder: Path, top: Path) -> None:
    """Makes `folder` under `top`, open to other users; the top itself belongs to the volume and stays as it is."""
    if folder == top or folder.is_dir():
        return
    _make_folders(folder.parent, top)
    folder.mkdir(exist_ok=True)
    folder.chmod(folder.stat().st_mode | 0o555)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
