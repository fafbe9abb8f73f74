"""Adds up the progress of an Ollama pull. Pure: one decoded NDJSON object in, numbers out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentfleet.sidecar.failures import pull_failure


@dataclass(slots=True)
class PullProgress:
    """What the events of one /api/pull say, over all layers.

    A layer enters the total when its first event comes, the largest first as a rule, so the percentage is a little
    early; it never falls, and it is 100 only after `success`.
    """

    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Digest → completed and total bytes."""
    percent: int = 0
    verifying: bool = False
    succeeded: bool = False

    def feed(self, event: Mapping[str, Any]) -> int:
        """Takes one event; returns the bytes that arrived since the last. ModelFailed when the event is an error."""
        if error := event.get("error"):
            raise pull_failure(str(error))
        status = str(event.get("status", ""))
        self.succeeded = status == "success"
        self.verifying = status.startswith(("verifying", "writing manifest"))
        arrived = self._layer(event) if "digest" in event and "total" in event else 0
        done, size = (sum(column) for column in zip(*self.layers.values(), strict=True)) if self.layers else (0, 0)
        self.percent = 100 if self.succeeded else max(self.percent, min(99, 100 * done // size if size else 0))
        return arrived

    @property
    def size(self) -> int:
        """Bytes of all layers seen so far."""
        return sum(size for _, size in self.layers.values())

    def _layer(self, event: Mapping[str, Any]) -> int:
        """A layer's first event may tell what an earlier pull left on disk: that did not arrive now."""
        digest, completed, size = event["digest"], int(event.get("completed") or 0), int(event["total"] or 0)
        before = self.layers.get(digest)
        self.layers[digest] = (completed, size)
        return max(0, completed - before[0]) if before else 0
