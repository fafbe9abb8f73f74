"""What a scripted server has had: the requests that arrived, how many at once, and how they ended.

Of the standard library alone, because `scripted.py` runs in pods with these files only.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2e.support.script import Received

_KEPT = 10_000
"""Requests that are remembered, so that a pod that is asked for days does not grow."""


class Tally:
    """The numbers of one server, which may be read from any thread."""

    def __init__(self) -> None:
        self._requests: deque[Received] = deque(maxlen=_KEPT)
        self.body = b""
        """Of the last one, byte for byte."""
        self.received = self.abandoned = self.in_flight = self.peak = 0
        self.answered: Counter[int] = Counter()
        """By status; an answer that is cut off counts for none."""

    @property
    def requests(self) -> list[Received]:
        """The last ones that arrived, oldest first."""
        return list(self._requests)

    @property
    def stats(self) -> dict[str, Any]:
        """What /stats answers."""
        return {
            "received": self.received,
            "in_flight": self.in_flight,
            "peak": self.peak,
            "abandoned": self.abandoned,
            "answered": {str(status): count for status, count in sorted(self.answered.items())},
            "models": dict(Counter(request.model for request in self.requests)),
        }

    def forget(self) -> None:
        """Count from zero; what is in flight stays in flight."""
        self._requests.clear()
        self.received = self.abandoned = 0
        self.peak = self.in_flight
        self.answered = Counter()

    def remember(self, received: Received, body: bytes) -> None:
        """A request that makes sense has arrived."""
        self._requests.append(received)
        self.body = body

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A request is answered in the block."""
        self.received += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned += 1  # by a client that has left
            raise
        finally:
            self.in_flight -= 1
