"""Container images for the tests, made from source and from Debian packages: no registry, no Docker needed.

`build.py` says what images there are. `debian.py`, `golang.py` and `wheels.py` fetch what goes into them, `buildah.py`
and `docker.py` turn a Dockerfile into an archive, `cache.py` keeps the results. `python -m e2e.images` builds them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError

Progress = Callable[[str], None]


class BuildError(ClusterError):
    """An image cannot be built; the message says why and what to do."""


@dataclass(frozen=True)
class Image:
    """A built image: `name` as pods write it, `archive` in the format of `docker save`, for `Cluster.load_image`."""

    name: str
    archive: Path
