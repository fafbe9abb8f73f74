"""Mount points as the kernel lists them; ``os.path.ismount`` does not see a folder that is bound to itself."""

from __future__ import annotations

from pathlib import Path


def points() -> list[Path]:
    """Every mount point of this process's mount namespace, the oldest first; repeated where mounts are stacked."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [Path(line.split()[1]) for line in lines]


def is_mount(path: Path) -> bool:
    return path in points()
