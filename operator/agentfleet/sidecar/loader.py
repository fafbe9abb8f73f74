"""`agentfleet loader`: fills a model cache before the engine starts, and ends. An init container, or a Job of its own.

    --source, --target          job.py fills the folder
    --inspect                   nothing is loaded: inspection.py looks at a source, or at a mounted file or folder
    termination log             what the model is, or why it could not be had; kubelet copies it into the pod's status

It must be safe to kill at any moment and to start any number of times, also on one volume from two nodes at once.
"""

import argparse
import json
import logging
import os
import re
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from agentfleet import logs
from agentfleet.durations import parse_duration
from agentfleet.sidecar import eviction, transfer
from agentfleet.sidecar.cache import FOLDER, is_full, link_gguf
from agentfleet.sidecar.credentials import SECRET, Credentials
from agentfleet.sidecar.facts import Facts
from agentfleet.sidecar.failures import BAD_SOURCE, CACHE_NOT_WRITABLE, DISK_FULL, MODEL_GATED, ModelFailed
from agentfleet.sidecar.inspection import LocalFiles, facts_of
from agentfleet.sidecar.job import fill
from agentfleet.sidecar.loader_status import serving
from agentfleet.sidecar.report import Report
from agentfleet.sidecar.sources import is_mounted, open_source, shown
from agentfleet.sidecar.sources.base import Access, Resolved

log = logging.getLogger(__name__)

LONGEST_REVISION = 256
"""The termination log has room for 4096 bytes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Loads or inspects one model; returns 0, or 1. The termination log then holds a result or a reason."""
    options = parse(argv)
    logs.configure(options.log_level)
    for name in ("httpx", "httpcore"):
        # Whatever the level: they write out addresses, and an object store's are signed.
        logging.getLogger(name).setLevel(logging.WARNING)
    # As process 1 of a container nothing handles SIGTERM for us. Whatever is on disk can be continued.
    signal.signal(signal.SIGTERM, _exit_at_once)
    try:
        result = inspect(options) if options.inspect else load(options)
    except ModelFailed as failure:
        log.error("%s", failure)
        _tell(options.termination_log, {"reason": failure.reason, "message": failure.message})
        return 1
    _tell(options.termination_log, result)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with code 2 and one line on stderr when they are wrong."""
    parser = argparse.ArgumentParser(prog="agentfleet loader", description="Fills a model cache, then ends.")
    parser.add_argument(
        "--source",
        required=True,
        metavar="URI",
        help="hf://, s3://, gs://, oci:// or https://; to inspect, also pvc:// and file://",
    )
    parser.add_argument("--target", type=Path, metavar="DIR", help="folder of the model's files; pvc, file: the model")
    parser.add_argument("--sha256", type=_sha256, metavar="HEX", help="checksum of a source that is one file")
    parser.add_argument("--credentials-dir", type=Path, metavar="DIR", help="a mounted Secret with the source's keys")
    parser.add_argument("--endpoint", metavar="URL", help="another host than the source's own, such as a mirror")
    parser.add_argument("--ca-bundle", type=Path, metavar="FILE", help="certificates to trust instead of public ones")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="folder of progress.json")
    parser.add_argument("--name", help="the model's name in /status (default: the URI)")
    parser.add_argument("--status-port", type=int, metavar="N", help="answer GET /status and /healthz while it runs")
    parser.add_argument("--inspect", action="store_true", help="only tell what the model is; load nothing")
    parser.add_argument("--cache-root", type=Path, metavar="DIR", help="folder of the models that share a cache")
    parser.add_argument("--cache-bytes", type=int, metavar="N", help="what the shared cache may hold")
    parser.add_argument(
        "--evict-after",
        type=_duration,
        default=eviction.IDLE_COMPLETE,
        metavar="DURATION",
        help="how long a model stays after its last use, whatever room others need (default: 10m)",
    )
    parser.add_argument(
        "--link-gguf",
        metavar="NAME",
        help="give the model's one .gguf file this name too: an OCI artifact's is unknown",
    )
    parser.add_argument("--keep", action="store_true", help="never delete this model to make room for others")
    parser.add_argument("--termination-log", type=Path, default=Path("/dev/termination-log"), metavar="PATH")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    options = parser.parse_args(argv)
    if options.target is None and (not options.inspect or is_mounted(options.source)):
        parser.error("--target is needed, but for --inspect of a source that is not mounted")
    if (options.cache_root is None) != (options.cache_bytes is None):
        parser.error("--cache-root and --cache-bytes go together")
    return options


def load(options: argparse.Namespace) -> dict[str, Any]:
    """Makes the target complete; gives what the termination log tells. ModelFailed says why it cannot be."""
    state_dir: Path = options.state_dir or options.target / FOLDER
    report = Report(state_dir)
    try:
        with serving(options.status_port, options.name or shown(options.source), state_dir):
            marker = fill(
                options.source,
                options.target,
                _access(options),
                report,
                sha256=options.sha256,
                room=_room(options),
            )
            eviction.keep(options.target, options.keep)
            if options.link_gguf:
                link_gguf(options.target, marker["files"], options.link_gguf)
        return _result(marker["revision"], marker["bytes"], marker["sha256"], _known_facts(options.target, marker))
    except ModelFailed as failure:
        _report_failure(report, failure)
        raise
    except OSError as error:
        # Network errors are translated where they happen, so what is left came from the disk.
        failed = _disk_failure(options.target, error)
        _report_failure(report, failed)
        raise failed from error


def inspect(options: argparse.Namespace) -> dict[str, Any]:
    """What the source is, without loading it; nothing is written but the termination log."""
    try:
        if is_mounted(options.source):
            mounted = LocalFiles(options.target)
            resolved = mounted.resolve()
            return _inspected(resolved, facts_of(mounted, resolved.files))
        with tempfile.TemporaryDirectory() as scratch:
            source = open_source(options.source, _access(options, Path(scratch)))
            with closing(source):
                resolved = transfer.persistently(source.resolve, lambda: 0, time.sleep)
                return _inspected(resolved, facts_of(source, resolved.files))
    except OSError as error:
        raise ModelFailed(BAD_SOURCE, f"{shown(options.source)} cannot be read: {error}") from error


def _inspected(resolved: Resolved, facts: Facts | None) -> dict[str, Any]:
    single = resolved.files[0] if len(resolved.files) == 1 and resolved.files[0].unpack is None else None
    return _result(resolved.revision, resolved.bytes, single.sha256 if single else None, facts)


def _result(revision: str, size: int, sha256: str | None, facts: Facts | None) -> dict[str, Any]:
    return {"revision": revision[:LONGEST_REVISION], "bytes": size, "sha256": sha256, "facts": facts}


def _known_facts(target: Path, marker: dict[str, Any]) -> Facts | None:
    """An engine may well serve what we cannot read, so a model that is loaded does not fail for that."""
    files = LocalFiles(target, marker["files"])
    try:
        return facts_of(files, files.resolve().files)
    except ModelFailed as failure:
        log.warning("no facts: %s", failure.message)
        return None


def _access(options: argparse.Namespace, scratch: Path | None = None) -> Access:
    try:
        credentials = Credentials.read(options.credentials_dir)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFailed(MODEL_GATED, f"{SECRET} cannot be read: {error}") from error
    return Access(scratch or options.target, credentials, options.endpoint, options.ca_bundle)


def _room(options: argparse.Namespace) -> eviction.Room | None:
    if options.cache_root is None:
        return None
    return eviction.Room(options.cache_root, options.cache_bytes, idle_complete=options.evict_after)


def _report_failure(report: Report, failure: ModelFailed) -> None:
    """Tells the sidecar."""
    try:
        report.failed(failure)
    except OSError as error:
        # The disk may be full or read-only: that is the very failure being told.
        log.warning("the failure could not be written down: %s", error)


def _tell(termination_log: Path, content: dict[str, Any]) -> None:
    """Tells the operator, by way of the pod's status."""
    try:
        termination_log.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        log.warning("the result could not be written down: %s", error)


def _disk_failure(target: Path, error: OSError) -> ModelFailed:
    if is_full(error):
        return ModelFailed(DISK_FULL, f"{target}: {error.strerror}; enlarge the cache or free space in it")
    return ModelFailed(CACHE_NOT_WRITABLE, f"{target}: {error}; the loader's user has to own it, or set fsGroup")


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    """Skips clean-up on purpose: threads in mid-download would hold the pod for minutes, and nothing needs cleaning."""
    os._exit(128 + number)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256: it has 64 hexadecimal digits")
    return text.lower()
