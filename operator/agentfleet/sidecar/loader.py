"""`agentfleet loader`: fills a model cache before the engine starts, and ends. An init container.

    source.resolve() → what is missing → fetch, verify, install each file → complete.json

It must be safe to kill at any moment and to start any number of times, also on one volume from two nodes at once.
"""

import argparse
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from types import FrameType

from agentfleet import logs
from agentfleet.sidecar import transfer
from agentfleet.sidecar.cache import FOLDER, Cache, is_full, verify
from agentfleet.sidecar.failures import (
    BAD_SOURCE,
    CACHE_NOT_WRITABLE,
    CHECKSUM_MISMATCH,
    DISK_FULL,
    MODEL_GATED,
    ModelFailed,
)
from agentfleet.sidecar.report import Report
from agentfleet.sidecar.sources import open_source
from agentfleet.sidecar.sources.base import TOKEN_KEY, Access, RemoteFile, Resolved, Source

log = logging.getLogger(__name__)

WORKERS = 4
"""Files in transfer at once: one stream of a CDN rarely fills a data centre's line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Loads one model; returns 0, or 1 after writing the reason to the termination log."""
    options = parse(argv)
    logs.configure(options.log_level)
    # As process 1 of a container nothing handles SIGTERM for us. Whatever is on disk can be continued.
    signal.signal(signal.SIGTERM, _exit_at_once)
    report = Report(options.state_dir or options.target / FOLDER)
    try:
        load(options, report)
    except ModelFailed as failure:
        return _fail(failure, report, options.termination_log)
    except OSError as error:
        return _fail(_disk_failure(options.target, error), report, options.termination_log)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with code 2 and one line on stderr when they are wrong."""
    parser = argparse.ArgumentParser(prog="agentfleet loader", description="Fills a model cache, then ends.")
    parser.add_argument("--source", required=True, metavar="URI", help="hf://org/repo[/path/file.gguf][@revision]")
    parser.add_argument("--target", required=True, type=Path, metavar="DIR", help="folder of the model's files")
    parser.add_argument("--sha256", type=_sha256, metavar="HEX", help="checksum of a source that is one file")
    parser.add_argument("--token-file", type=Path, metavar="PATH", help="file with the source's token")
    parser.add_argument("--endpoint", metavar="URL", help="another host than the source's own, such as a mirror")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="folder of progress.json")
    parser.add_argument("--termination-log", type=Path, default=Path("/dev/termination-log"), metavar="PATH")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser.parse_args(argv)


def load(options: argparse.Namespace, report: Report) -> None:
    """Makes the target complete; ModelFailed says why it cannot be."""
    cache = Cache(options.target)
    access = Access(cache.scratch, _token(options.token_file), options.endpoint)
    source = open_source(options.source, access)
    with closing(source), cache.locked(waiting=report.waiting):
        if marker := cache.complete(options.source, options.sha256):
            log.info("%s is complete at revision %s", options.source, marker["revision"])
            report.complete(marker["bytes"], marker["sha256"])
            return
        report.started()
        job = Job(cache, source, options.sha256, report)
        resolved = job.resolve()
        checksum = job.run(resolved)
        cache.finish(options.source, resolved, checksum)
        report.complete(resolved.bytes, checksum)
        log.info("%s is complete: %d files, %d bytes", options.source, len(resolved.files), resolved.bytes)


class Job:
    """One pass over the files of one source."""

    def __init__(self, cache: Cache, source: Source, sha256: str | None, report: Report) -> None:
        self._cache = cache
        self._source = source
        self._sha256 = sha256
        self._report = report
        self._aborted = threading.Event()

    def resolve(self) -> Resolved:
        """What there is to load, checked before the first byte moves."""
        found: list[Resolved] = []
        transfer.persistently(lambda: found.append(self._source.resolve()), lambda: 0, self._pause)
        resolved = found[0]
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
        missing = [file for file in resolved.files if not cache.has(file)]
        present = sum(_size(cache.part(file)) for file in missing)
        self._report.begin(resolved.bytes, resolved.bytes - sum(file.size for file in missing) + present)
        needed = sum(file.size for file in missing) - present
        if lacking := transfer.missing_space(cache.folder, needed):
            raise ModelFailed(DISK_FULL, f"{needed} bytes are to be loaded, {lacking} more than the cache has left")
        log.info("revision %s: %d files to load, %d bytes", resolved.revision, len(missing), needed)
        with ThreadPoolExecutor(WORKERS) as workers:
            futures = [workers.submit(self._bring, file) for file in missing]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            # After a failure the other files stop at their next chunk and keep what they have.
            self._aborted.set()
            workers.shutdown(cancel_futures=True)
        for future in done:
            future.result()
        return self._checksum(resolved)

    def _bring(self, file: RemoteFile) -> None:
        """One file: fetched, verified, installed."""
        part = self._cache.part(file)
        transfer.persistently(lambda: self._source.fetch(file, part, self._arrived), lambda: _size(part), self._pause)
        if file.sha256:
            self._verify(file, part, file.sha256)
        self._cache.install(file, part)

    def _checksum(self, resolved: Resolved) -> str | None:
        if len(resolved.files) != 1:
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


def _fail(failure: ModelFailed, report: Report, termination_log: Path) -> int:
    """Tells everybody who may look: the log, the sidecar, and the pod's status by way of the termination log."""
    log.error("%s", failure)
    for tell in (
        lambda: report.failed(failure),
        lambda: termination_log.write_text(json.dumps({"reason": failure.reason, "message": failure.message})),
    ):
        try:
            tell()
        except OSError as error:
            # The disk may be full or read-only: that is the very failure being told.
            log.warning("the failure could not be written down: %s", error)
    return 1


def _disk_failure(target: Path, error: OSError) -> ModelFailed:
    """Network errors are translated where they happen, so what is left came from the disk."""
    if is_full(error):
        return ModelFailed(DISK_FULL, f"{target}: {error.strerror}; enlarge the cache or free space in it")
    return ModelFailed(CACHE_NOT_WRITABLE, f"{target}: {error}; the loader's user has to own it, or set fsGroup")


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    """Skips clean-up on purpose: threads in mid-download would hold the pod for minutes, and nothing needs cleaning."""
    os._exit(128 + number)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError as error:
        raise ModelFailed(
            MODEL_GATED, f"there is no key {TOKEN_KEY!r} in the Secret of spec.model.auth.secretName (no file {path})"
        ) from error


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256: it has 64 hexadecimal digits")
    return text.lower()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
