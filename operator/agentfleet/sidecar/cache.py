"""The folder that the loader fills: what is complete, what is half done, and who may write.

    TARGET/…                            the model's files, put in place by rename, whole and verified
    TARGET/.agentfleet/complete.json    written last; while it matches, nothing is asked of anybody
    TARGET/.agentfleet/installed.json   what is in place: a new start skips it, another model drops it
    TARGET/.agentfleet/expected.json    how large it will be, once that room was granted (eviction.py)
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from agentfleet.sidecar.failures import BAD_SOURCE, CHECKSUM_MISMATCH, ModelFailed
from agentfleet.sidecar.progress import write_json
from agentfleet.sidecar.sources.base import RemoteFile, Resolved
from agentfleet.sidecar.unpack import members, save

FOLDER = ".agentfleet"
MARKER = "complete.json"
EXPECTED = "expected.json"
LOCK = "lock"

_UNFINISHED = ""
"""The identity of an archive of which not every member is in place."""


class Cache:
    """One target folder."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target / FOLDER
        self._marker = self.folder / MARKER
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
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
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
        return marker if self._present(marker["files"]) else None

    def begin(self, resolved: Resolved) -> None:
        """Starts on `resolved`: the folder is not complete any more, and files of another model go."""
        paths = [file.path for file in resolved.files]
        if twice := {path for path in paths if paths.count(path) > 1}:
            raise ModelFailed(BAD_SOURCE, f"the source has two files {min(twice)!r}")
        for file in resolved.files:
            if file.unpack is None:
                self.place(file.path)
        self._marker.unlink(missing_ok=True)
        self._partial.mkdir(parents=True, exist_ok=True)
        (self.folder / EXPECTED).unlink(missing_ok=True)
        self._drop({key for key in self._installed() if key not in paths})
        identities = {self.part(file).name for file in resolved.files}
        for leftover in self._partial.iterdir():
            if leftover.name not in identities:
                leftover.unlink()

    def missing(self, resolved: Resolved) -> list[RemoteFile]:
        """What is to be loaded. Layers overlay each other: one that is unpacked again makes the later ones missing."""
        found: list[RemoteFile] = []
        for file in resolved.files:
            again = file.unpack is not None and any(earlier.unpack is not None for earlier in found)
            if again or not self.has(file):
                found.append(file)
        return found

    def has(self, file: RemoteFile) -> bool:
        """True when this very content is in place."""
        entry = self._installed().get(file.path)
        return entry is not None and entry["identity"] == file.identity and self._present(entry["files"])

    def place(self, path: str) -> Path:
        """Where a file of the model goes. A source's names are not trusted: none may leave the folder or enter ours."""
        parts = PurePosixPath(path).parts
        if not parts or parts[0] in ("/", FOLDER) or ".." in parts:
            raise ModelFailed(BAD_SOURCE, f"the source has a file {path!r}, which may not be written here")
        return self.target.joinpath(*parts)

    def part(self, file: RemoteFile) -> Path:
        """The file in transfer. Named by content: bytes of another revision are never continued."""
        name = hashlib.sha256(f"{file.path}\n{file.identity}\n{file.size}".encode()).hexdigest()[:32]
        return self._partial / name

    def install(self, file: RemoteFile, part: Path) -> None:
        """Puts a complete, verified `part` in its place, readable for the engine's user, whoever that is."""
        self._put(part, file.path)
        self._note(file, {file.path: file.size}, file.identity)

    def unpack(self, file: RemoteFile, part: Path) -> None:
        """Puts the members of a complete, verified archive in their places, over those of earlier layers."""
        files: dict[str, int] = {}
        links: dict[str, str] = {}
        scrap = self._partial / "member"
        for member in members(part, file.unpack or ""):
            if member.content is None:
                links[member.path] = member.link or ""
                continue
            links.pop(member.path, None)
            with scrap.open("wb") as staged:
                save(member, staged)
            files[member.path] = member.size
            # Noted before it is there: whoever starts after a kill has to know what to remove.
            self._note(file, files, _UNFINISHED)
            self._put(scrap, member.path)
        for path in links:
            files[path] = self._link(path, links)
            self._note(file, files, _UNFINISHED)
        self._note(file, files, file.identity)
        part.unlink()

    def remove(self, file: RemoteFile) -> None:
        """Takes a file out of its place and out of transfer."""
        self._drop({file.path})
        self.part(file).unlink(missing_ok=True)

    def finish(self, source: str, resolved: Resolved, sha256: str | None) -> dict[str, Any]:
        """Marks the folder as complete, and gives the marker; from now on a loader with this source does nothing."""
        files = {path: size for entry in self._installed().values() for path, size in entry["files"].items()}
        if not files:
            raise ModelFailed(BAD_SOURCE, "the source has no files for an engine; an image needs them below /models")
        shutil.rmtree(self._partial)
        if self.scratch.exists():
            shutil.rmtree(self.scratch)
        marker = {
            "source": source,
            "revision": resolved.revision,
            "files": files,
            "bytes": sum(files.values()),
            "sha256": sha256,
        }
        write_json(self._marker, marker)
        _sync_folder(self.folder)
        return marker

    def _put(self, part: Path, path: str) -> None:
        place = self.place(path)
        _make_folders(place.parent, self.target)
        with part.open("rb") as content:
            os.fsync(content.fileno())
        part.chmod(part.stat().st_mode | 0o444)
        part.replace(place)

    def _link(self, path: str, links: dict[str, str]) -> int:
        """Gives `path` the content that its link leads to, and its size. A hard link can lead nowhere else later."""
        target, hops = links[path], 0
        while target in links and hops < len(links):
            target, hops = links[target], hops + 1
        known = any(target in entry["files"] for entry in self._installed().values())
        if target in links or not known:
            raise ModelFailed(BAD_SOURCE, f"the source has a link {path!r} to {links[path]!r}, which is no file of it")
        place = self.place(path)
        _make_folders(place.parent, self.target)
        place.unlink(missing_ok=True)
        place.hardlink_to(self.place(target))
        return place.stat().st_size

    def _present(self, files: dict[str, int]) -> bool:
        return all(_size(self.place(path)) == size for path, size in files.items())

    def _note(self, file: RemoteFile, files: dict[str, int], identity: str) -> None:
        """What `file` brought. A path belongs to the layer that wrote it last."""
        with self._journalling:
            journal = self._installed()
            for entry in journal.values():
                entry["files"] = {path: size for path, size in entry["files"].items() if path not in files}
            journal[file.path] = {"identity": identity, "files": files}
            write_json(self._journal, journal)

    def _drop(self, keys: set[str]) -> None:
        """Removes what came with the files of these names."""
        with self._journalling:
            journal = self._installed()
            for key in keys & set(journal):
                for path in journal.pop(key)["files"]:
                    self.place(path).unlink(missing_ok=True)
            write_json(self._journal, journal)

    def _installed(self) -> dict[str, dict[str, Any]]:
        """Name of a file of the source → its identity, and the files here that came with it."""
        return _read_json(self._journal) or {}


def verify(path: Path, sha256: str, name: str) -> None:
    """ModelFailed ChecksumMismatch unless the content of `path` has that SHA-256."""
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise ModelFailed(CHECKSUM_MISMATCH, f"{name} has SHA-256 {found}, but {sha256} is expected; it was removed")


def link_gguf(target: Path, files: Iterable[str], name: str) -> None:
    """Gives the one .gguf file among `files` a second name in `target`: its engine has to be told one beforehand."""
    found = [path for path in files if path.endswith(".gguf")]
    if len(found) != 1:
        raise ModelFailed(BAD_SOURCE, f"the source has {len(found)} .gguf files; the engine needs exactly one")
    place, staged = target / name, target / FOLDER / "link"
    if found[0] == name or (place.exists() and place.samefile(target / found[0])):
        return
    staged.unlink(missing_ok=True)
    staged.hardlink_to(target / found[0])
    staged.replace(place)


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
