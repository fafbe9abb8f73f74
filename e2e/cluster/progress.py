"""Progress on standard error: what is being done, for how long, and what took how long.

On a terminal the running step rewrites its line every second; elsewhere (a CI log) it prints one four times a minute,
so that a long step never looks like a hang.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CLEAR_LINE = "\r\x1b[K"
_WIDTH = 110


class Step:
    """One running piece of work; ``update`` may be called as often as wanted."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._detail = ""
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._reporter = threading.Thread(target=self._report, daemon=True)
        self._reporter.start()

    def update(self, detail: str) -> None:
        """Say what the step is at; shown with the next report."""
        self._detail = detail

    def finish(self, mark: str) -> None:
        """Stop reporting and print how long it took."""
        self._ended.set()
        self._reporter.join()
        self._print(f"  {mark} {self.title} ({time.monotonic() - self._started:.1f} s)\n")

    def _report(self) -> None:
        while not self._ended.wait(1 if self._terminal else 15):
            elapsed = f"{time.monotonic() - self._started:.0f} s"
            text = f"  … {self.title}: {', '.join(filter(None, (elapsed, self._detail)))}"[:_WIDTH]
            self._print(text if self._terminal else text + "\n")

    def _print(self, text: str) -> None:
        sys.stderr.write((_CLEAR_LINE if self._terminal else "") + text)
        sys.stderr.flush()


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Report ``title`` with its duration when the block ends, marked as failed when it raises."""
    current = Step(title)
    try:
        yield current
    except BaseException:
        current.finish("✗")
        raise
    current.finish("✓")


def note(text: str) -> None:
    """Print one line beside the steps."""
    print(f"  {text}", file=sys.stderr, flush=True)
