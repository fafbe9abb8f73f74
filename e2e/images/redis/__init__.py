"""Redis out of Debian's packages: a root file system for the image, which also runs on this machine.

What makes an image of it is `build.py`; who wants to run it asks `e2e.support.redis`.
"""

from __future__ import annotations

from pathlib import Path

from e2e.images import Progress, cache, debian, unpacked

RELEASE = "bookworm"
PACKAGES = ["redis-server", "busybox-static"]
KEY = cache.digest(Path(__file__), Path(debian.__file__))
_NAME = "redis-root"


def built() -> Path | None:
    """The root file system where it is there already: for those who cannot build, having no network."""
    return cache.find(_NAME, KEY)


def tree(progress: Progress) -> Path:
    """The root file system; seconds the first time. The caller holds `cache.lock()`."""
    return cache.entry(_NAME, KEY, lambda target: _unpack(target, progress))


def command(root: Path) -> list[str]:
    """What runs the Redis of a root file system on this machine."""
    return unpacked.command(root, "usr/bin/redis-server")


def _unpack(target: Path, progress: Progress) -> None:
    progress(f"unpacking Redis of Debian {RELEASE}")
    debian.root(target, RELEASE, PACKAGES)
