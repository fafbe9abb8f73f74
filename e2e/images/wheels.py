"""The wheels that operator/Dockerfile installs, fetched beforehand, so that the build itself needs no network."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from packaging.markers import Marker

from e2e.images import Progress, cache
from e2e.images.shell import run

_CONDITION = re.compile(r" ; (.+?)(?= \\\n)")


def wheelhouse(name: str, requirements: Path, project: Path, python: str, progress: Progress) -> Path:
    """The folder `name` with all wheels for Python `python` ("3.11"): what the lock file `requirements` names, and the
    build backend of the pyproject.toml `project`."""
    backend = tomllib.loads(project.read_text())["build-system"]["requires"]

    def make(target: Path) -> None:
        progress(f"downloading {name}")
        download = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={target}"]
        # Another Python than ours may run in the image: its version decides, not ours.
        download += ["--only-binary=:all:", f"--python-version={python}"]
        with cache.scratch() as work:
            wanted = work / "wanted.txt"
            wanted.write_text(for_python(requirements.read_text(), python))
            run([*download, "--no-deps", "--require-hashes", f"--requirement={wanted}"])
        run([*download, *backend])

    return cache.entry(name, cache.digest(Path(__file__), requirements, python, *backend), make)


def for_python(lock: str, python: str) -> str:
    """The lock file with what any patch release of this Python wants, and without conditions.

    pip judges those (`python_full_version < "3.11.3"`) by the Python that it runs on, whatever --python-version says.
    """
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)
    return "".join(_CONDITION.sub("", block, count=1) for block in blocks if _is_wanted(block, python))


def _is_wanted(block: str, python: str) -> bool:
    condition = _CONDITION.search(block)
    if condition is None:
        return True
    releases = ({"python_version": python, "python_full_version": f"{python}.{patch}"} for patch in (0, 99))
    return any(Marker(condition[1]).evaluate(release) for release in releases)
