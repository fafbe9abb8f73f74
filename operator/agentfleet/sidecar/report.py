"""Publishes how far the loader is: thread-safe, and at most one write a second."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from agentfleet.sidecar import progress
from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.progress import Progress

log = logging.getLogger(__name__)

INTERVAL = 1.0


class Report:
    """The loader's side of progress.json."""

    def __init__(self, state_dir: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._state_dir = state_dir
        self._clock = clock
        self._lock = threading.Lock()
        self._total = 0
        self._present = 0
        self._written = float("-inf")

    def waiting(self) -> None:
        """Another loader fills the same volume. Its own progress, where it is in the same folder, says more."""
        log.info("another loader holds the cache; waiting for it")
        if progress.path_of(self._state_dir).exists():
            return
        progress.write(
            self._state_dir, Progress("Pending", reason="CacheLocked", message="another loader fills the cache")
        )

    def started(self) -> None:
        """The lock is ours; nothing is known of the source yet."""
        progress.write(self._state_dir, Progress("Pending", message="asking the source for the list of files"))

    def begin(self, total: int, present: int) -> None:
        """All sizes are known; `present` bytes are on disk already."""
        with self._lock:
            self._total, self._present = total, present
            self._publish()

    def arrived(self, count: int) -> None:
        """`count` more bytes are on disk; negative when some had to be dropped."""
        with self._lock:
            self._present += count
            if self._clock() - self._written >= INTERVAL or self._present == self._total:
                self._publish()

    def complete(self, total: int, digest: str | None) -> None:
        """Everything is in place."""
        progress.write(self._state_dir, Progress("Complete", total, total, 100, digest=digest))

    def failed(self, failure: ModelFailed) -> None:
        """The loader gives up; the bytes that it has stay."""
        total = self._total or None
        percent = self._percent() if total else None
        progress.write(
            self._state_dir, Progress("Failed", self._present, total, percent, failure.reason, failure.message)
        )

    def _publish(self) -> None:
        self._written = self._clock()
        state = "Downloading" if self._present < self._total else "Verifying"
        progress.write(self._state_dir, Progress(state, self._present, self._total, self._percent()))

    def _percent(self) -> int:
        return 100 * self._present // self._total if self._total else 100
