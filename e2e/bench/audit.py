"""The API server's audit log: every write of the operator and of the bare client, stamped by the same clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Write:
    """One request that may change an object."""

    user: str
    verb: str
    resource: str
    """Plural, with the sub-resource behind a slash."""
    namespace: str
    name: str
    received: float
    completed: float
    """Seconds since the epoch."""
    code: int

    @classmethod
    def parse(cls, line: bytes) -> Write:
        """From one line of the log."""
        event: dict[str, Any] = json.loads(line)
        reference = event.get("objectRef", {})
        subresource = reference.get("subresource")
        return cls(
            user=event["user"]["username"],
            verb=event["verb"],
            resource=reference.get("resource", "") + (f"/{subresource}" if subresource else ""),
            namespace=reference.get("namespace", ""),
            name=reference.get("name", ""),
            received=_seconds(event["requestReceivedTimestamp"]),
            completed=_seconds(event["stageTimestamp"]),
            code=event.get("responseStatus", {}).get("code", 0),
        )

    @property
    def succeeded(self) -> bool:
        return 200 <= self.code < 300


class AuditLog:
    """Reads the log as it grows; asking often is cheap, for those who ask share the machine with what they measure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._writes: dict[tuple[str, str], list[Write]] = {}
        self._first: dict[tuple[str, str], dict[tuple[str, str], Write]] = {}

    def writes(self, user: str, namespace: str) -> list[Write]:
        """All writes of ``user`` in ``namespace`` so far, failed ones too, in the order in which they were answered."""
        self._read()
        return self._writes.get((user, namespace), [])

    def first(self, user: str, namespace: str) -> dict[tuple[str, str], Write]:
        """The first successful one to each object, by resource and name."""
        self._read()
        return self._first.get((user, namespace), {})

    def _read(self) -> None:
        if not self._path.exists():  # nothing was written yet
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # still being written
        self._offset += sum(map(len, lines))
        for line in lines:
            self._take(Write.parse(line))

    def _take(self, write: Write) -> None:
        place = (write.user, write.namespace)
        self._writes.setdefault(place, []).append(write)
        if write.succeeded:
            self._first.setdefault(place, {}).setdefault((write.resource, write.name), write)


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
