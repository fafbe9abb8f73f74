"""The agent's own record of its metrics, for places without a Prometheus or a network: JSON lines in the data folder.

Two files of a bounded number of lines, the older one replaced as a whole; a folder that cannot be written to is said
once and costs nothing else.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

_LINES = 1000
"""In each of the two files: at a line every 30 s somewhat more than 8 hours."""


class History:
    """metrics.jsonl, and before it metrics.1.jsonl."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "metrics.jsonl"
        self._older = folder / "metrics.1.jsonl"
        self._lines: int | None = None
        self._broken = False

    def add(self, values: Mapping[str, float | int | str | None]) -> None:
        """Blocks for a small write."""
        try:
            self._add(json.dumps(values, separators=(",", ":")) + "\n")
            self._broken = False
        except OSError as error:
            if not self._broken:
                log.warning("the local history of metrics is not kept: %s", error)
            self._broken = True

    def _add(self, line: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._lines is None:
            self._lines = len(self._file.read_bytes().splitlines()) if self._file.exists() else 0
        if self._lines >= _LINES:
            self._file.replace(self._older)
            self._lines = 0
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line)
        self._lines += 1
