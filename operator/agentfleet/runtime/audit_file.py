"""The audit trail on the pod's own disk: a bounded number of files, and where a chain goes on after a restart.

audit.py writes each line to stdout, which is what is collected, and here, which outlives a collector that is away.
audit.jsonl is the newest; when it is full it becomes audit.1.jsonl, and the oldest goes.
"""

import fcntl
import logging
import os
from pathlib import Path
from typing import IO, Any

from agentfleet.runtime.audit_chain import parse

log = logging.getLogger(__name__)

MAX_FILE = 8_000_000
FILES = 5
_TAIL = 200_000
"""Bytes at the end of a file in which the last line is looked for."""


class AuditFile:
    """One process at a time: a second one on the same volume, as in a rollout, gets a BlockingIOError."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "audit.jsonl"
        self._lock = os.open(folder / "audit.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.last, self.torn = self._recover()
            self._file = self._opened()
        except BaseException:
            os.close(self._lock)
            raise

    def write(self, line: bytes) -> None:
        """OSError where the disk is full or gone. It is with the kernel when this returns: kill -9 loses nothing."""
        if self._file.tell() + len(line) > MAX_FILE:
            self._rotate()
        self._file.write(line)
        self._file.flush()

    def sync(self) -> None:
        """On the disk: a node that loses its power loses what came after the last one."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let another process have it."""
        self.sync()
        self._file.close()
        os.close(self._lock)

    def _opened(self) -> IO[bytes]:
        return os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")

    def _rotate(self) -> None:
        self.sync()
        self._file.close()
        self._numbered(FILES - 1).unlink(missing_ok=True)
        for number in range(FILES - 2, 0, -1):
            if self._numbered(number).exists():
                self._numbered(number).replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        self._file = self._opened()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"audit.{number}.jsonl")

    def _recover(self) -> tuple[dict[str, Any] | None, bool]:
        """The last line that was written, and whether half a line stood behind it, which goes."""
        for path in (self._path, self._numbered(1)):
            if not path.exists() or not path.stat().st_size:
                continue
            with path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                tail = file.read()
                whole = tail[: tail.rfind(b"\n") + 1]
                torn = len(whole) < len(tail)
                if torn:
                    file.truncate(size - len(tail) + len(whole))
            return self._parsed(whole), torn
        return None, False

    def _parsed(self, tail: bytes) -> dict[str, Any] | None:
        try:
            return parse(tail.rstrip(b"\n").rpartition(b"\n")[2].decode())
        except ValueError as error:
            log.warning("the last line of %s is none, so a new chain begins: %s", self._path, error)
            return None
