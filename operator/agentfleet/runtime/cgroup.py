"""Memory and CPU of this container, as its cgroup (version 2) tells them. What cannot be read is None, not 0."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Cgroup:
    """The container's own group, at the root of its view."""

    root: Path = ROOT

    def memory_percent(self) -> float | None:
        """Of the limit, without what the kernel can drop at once; None without a limit."""
        limit, used = self._number("memory.max"), self._number("memory.current")
        if limit is None or used is None or limit <= 0:
            return None
        return 100 * max(0, used - (self._field("memory.stat", "inactive_file") or 0)) / limit

    def cpu_seconds(self) -> float | None:
        """Used since the container began."""
        used = self._field("cpu.stat", "usage_usec")
        return None if used is None else used / 1e6

    def cpu_limit(self) -> float | None:
        """Cores; None without a limit."""
        quota, _, period = self._text("cpu.max").partition(" ")
        return int(quota) / int(period) if quota.isdigit() and period.strip().isdigit() else None

    def _number(self, name: str) -> int | None:
        text = self._text(name).strip()
        return int(text) if text.isdigit() else None

    def _field(self, name: str, field: str) -> int | None:
        for line in self._text(name).splitlines():
            key, _, value = line.partition(" ")
            if key == field and value.isdigit():
                return int(value)
        return None

    def _text(self, name: str) -> str:
        try:
            return (self.root / name).read_text(encoding="ascii")
        except OSError:
            return ""
