"""The wheels that operator/Dockerfile installs, fetched beforehand, so that the build itself needs no network."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from e2e.images import Progress, cache
from e2e.images.shell import run


def wheelhouse(repository: Path, python: str, progress: Progress) -> Path:
    """A folder with all wheels for Python `python` ("3.11"): the locked dependencies and the build backend."""
    requirements = repository / "requirements.lock"
    backend = tomllib.loads((repository / "pyproject.toml").read_text())["build-system"]["requires"]

    def make(target: Path) -> None:
        progress("downloading the operator's dependencies")
        download = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={target}"]
        # Another Python than ours may run in the image: its version decides, not ours.
        download += ["--only-binary=:all:", f"--python-version={python}"]
        run([*download, "--no-deps", "--require-hashes", f"--requirement={requirements}"])
        run([*download, *backend])

    return cache.entry("wheels", cache.digest(requirements, python, *backend), make)
