"""Which variables are not as they were when this process began, by the files that follow their sources.

The operator mounts one file for each variable from a Secret or ConfigMap (manifests/agent_environment.py). A file that
is gone says nothing: its source may be about to be made anew.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path


def watched(folder: Path) -> Callable[[], tuple[str, ...]]:
    """Returns what says, at any later time, which variables have changed since now, by name."""
    before = _contents(folder)
    return lambda: tuple(sorted(name for name, content in _contents(folder).items() if before.get(name) != content))


def _contents(folder: Path) -> Mapping[str, bytes]:
    """Name → digest. Kubernetes' own entries of such a folder begin with a dot."""
    if not folder.is_dir():
        return {}
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return {path.name: digest for path in files if (digest := _digest(path)) is not None}


def _digest(path: Path) -> bytes | None:
    try:
        return sha256(path.read_bytes()).digest()
    except OSError:  # just being replaced, or not one of ours
        return None
