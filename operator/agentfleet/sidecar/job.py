"""Fills one folder of a cache from one source. The loader's work, without its command line.

source.resolve() → what is missing → make room → fetch, verify, put in place → complete.json
"""

import logging
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentfleet.sidecar import transfer
from agentfleet.sidecar.cache import Cache, verify
from agentfleet.sidecar.eviction import Room
from agentfleet.sidecar.failures import BAD_SOURCE, CHECKSUM_MISMATCH, DISK_FULL, ModelFailed
from agentfleet.sidecar.report import Report
from agentfleet.sidecar.sources import open_source, shown
from agentfleet.sidecar.sources.base import Access, RemoteFile, Resolved, Source
from agentfleet.sidecar.usage import touch

log = logging.getLogger(__name__)

WORKERS = 4
"""Files in transfer at once: one stream of a CDN rarely fills a data centre's line."""


def fill(
    uri: str, target: Path, access: Access, report: Report, *, sha256: str | None = None, room: Room | None = None
) -> dict[str, Any]:
    """Makes `target` hold the model of `uri`; gives the marker of cache.py. ModelFailed says why it cannot be.

    Where it is complete nothing is asked of anybody. May be called again at any time, also after a kill.
    """
    cache = Cache(target)
    source = open_source(uri, replace(access, scratch=cache.scratch))
    with closing(source), cache.locked(waiting=report.waiting):
        touch(target)
        marker = cache.complete(uri, sha256)
        if marker is None:
            report.started()
            job = Job(cache, source, sha256, report, room)
            resolved = job.resolve()
            marker = cache.finish(uri, resolved, job.run(resolved))
            touch(target)
            log.info("%s is complete: %d files, %d bytes", shown(uri), len(marker["files"]), marker["bytes"])
        else:
            log.info("%s is complete at revision %s", shown(uri), marker["revision"])
        report.complete(marker["bytes"], marker["sha256"])
    return marker


class Job:
    """One pass over the files of one source."""

    def __init__(self, cache: Cache, source: Source, sha256: str | None, report: Report, room: Room | None) -> None:
        self._cache = cache
        self._source = source
        self._sha256 = sha256
        self._report = report
        self._room = room
        self._aborted = threading.Event()

    def resolve(self) -> Resolved:
        """What there is to load, checked before the first byte moves."""
        resolved = transfer.persistently(self._source.resolve, lambda: 0, self._pause)
        if self._sha256 is not None and len(resolved.files) != 1:
            raise ModelFailed(BAD_SOURCE, f"sha256 is for one file, but the source has {len(resolved.files)}")
        listed = resolved.files[0].sha256 if len(resolved.files) == 1 else None
        if self._sha256 is not None and listed not in (None, self._sha256):
            raise ModelFailed(
                CHECKSUM_MISMATCH, f"{resolved.files[0].path} has SHA-256 {listed} at its source, not {self._sha256}"
            )
        return resolved

    def run(self, resolved: Resolved) -> str | None:
        """Brings every file into place; returns the SHA-256 of a model that is one file and was checked."""
        cache = self._cache
        cache.begin(resolved)
        missing = cache.missing(resolved)
        present = sum(_size(cache.part(file)) for file in missing)
        self._report.begin(resolved.bytes, resolved.bytes - sum(file.size for file in missing) + present)
        needed = sum(file.size for file in missing) - present
        self._make_room(resolved, needed)
        log.info("revision %s: %d files to load, %d bytes", resolved.revision, len(missing), needed)
        with ThreadPoolExecutor(WORKERS) as workers:
            futures = [workers.submit(self._bring, file) for file in missing]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            # After a failure the other files stop at their next chunk and keep what they have.
            self._aborted.set()
            workers.shutdown(cancel_futures=True)
        for future in done:
            future.result()
        for file in missing:
            if file.unpack is not None:
                cache.unpack(file, cache.part(file))
        return self._checksum(resolved)

    def _make_room(self, resolved: Resolved, needed: int) -> None:
        if self._room is not None:
            self._room.make(self._cache.target, resolved.bytes, needed)
        if lacking := transfer.missing_space(self._cache.folder, needed):
            raise ModelFailed(DISK_FULL, f"{needed} bytes are to be loaded, {lacking} more than the cache has left")

    def _bring(self, file: RemoteFile) -> None:
        """One file: fetched, verified, and put in place; an archive waits for the layers before it."""
        part = self._cache.part(file)
        transfer.persistently(lambda: self._source.fetch(file, part, self._arrived), lambda: _size(part), self._pause)
        if file.sha256:
            self._verify(file, part, file.sha256)
        if file.unpack is None:
            self._cache.install(file, part)

    def _checksum(self, resolved: Resolved) -> str | None:
        if len(resolved.files) != 1 or resolved.files[0].unpack is not None:
            return None
        file = resolved.files[0]
        if self._sha256 is not None and file.sha256 is None:
            self._verify(file, self._cache.place(file.path), self._sha256)
        return self._sha256 or file.sha256

    def _verify(self, file: RemoteFile, path: Path, sha256: str) -> None:
        try:
            verify(path, sha256, file.path)
        except ModelFailed:
            self._cache.remove(file)
            raise

    def _arrived(self, count: int) -> None:
        if self._aborted.is_set():
            raise _AbortedError
        self._report.arrived(count)

    def _pause(self, seconds: float) -> None:
        log.warning("the source is unreachable; next try in %.0f s", seconds)
        if self._aborted.wait(seconds):
            raise _AbortedError


class _AbortedError(Exception):
    """Another file failed; its error is the one that is reported."""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
