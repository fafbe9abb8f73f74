"""Progress on standard error: what is being done, for how long, and what took how long.

On a terminal the running step rewrites its line; elsewhere (a CI log) it prints a line every quarter of a minute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LINE_EVERY_S = 15.0
_REDRAW_EVERY_S = 0.2


class Step:
    """One running piece of work; ``update`` may be called as often as wanted."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._started = time.monotonic()
        self._shown = self._started
        self._terminal = sys.stderr.isatty()

    def update(self, detail: str) -> None:
        """Show what the step is at."""
        now = time.monotonic()
        if now - self._shown < (_REDRAW_EVERY_S if self._terminal else _LINE_EVERY_S):
            return
        self._shown = now
        text = f"  … {self.title} {now - self._started:.0f} s: {detail}"
        self._print(f"\r\x1b[K{text[:110]}" if self._terminal else text + "\n")

    def finish(self, mark: str) -> None:
        line = f"  {mark} {self.title} ({time.monotonic() - self._started:.1f} s)\n"
        self._print(f"\r\x1b[K{line}" if self._terminal else line)

    @staticmethod
    def _print(text: str) -> None:
        sys.stderr.write(text)
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
