"""The virtual environment of the harness: made once in the cache, entered by replacing this process.

Standard library only, because this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.layout import cache_home
from e2e.cluster.progress import step
from e2e.cluster.shell import CommandError, exclusive, run

REPOSITORY = Path(__file__).resolve().parents[1]
_LOCK = REPOSITORY / "e2e" / "requirements.lock"
_PROJECT = REPOSITORY / "pyproject.toml"
_MINUTES = 60.0


def folder() -> Path:
    """Where the environment for this lock file, interpreter and working tree lies (or will)."""
    if not _LOCK.exists():
        raise ClusterError(f"{_LOCK} is missing: the working tree is incomplete")
    parts = (_LOCK.read_bytes(), sys.version.encode(), platform.machine().encode(), str(REPOSITORY).encode())
    return cache_home() / "venv" / hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def entered() -> bool:
    """Whether this process runs in the environment already."""
    return Path(sys.prefix).resolve() == folder().resolve()


def enter(argv: Sequence[str]) -> None:
    """Run ``python -m e2e`` with ``argv`` inside the environment instead of this process; does not return."""
    python = ensure()
    os.execv(python, [str(python), "-m", "e2e", *argv])  # noqa: S606


def ensure() -> Path:
    """The environment's interpreter; the environment is made, or brought up to date with the project, first."""
    venv = folder()
    with exclusive(cache_home() / "venv.lock"):
        if not (venv / "complete").exists():
            _create(venv)
        _install_project(venv)
    return venv / "bin" / "python"


def _create(venv: Path) -> None:
    # A virtual environment holds its own path, so it cannot be renamed into place: the marker says that it is whole.
    shutil.rmtree(venv, ignore_errors=True)
    with step("virtual environment, once"):
        try:
            run([sys.executable, "-m", "venv", venv], timeout=5 * _MINUTES)
        except ClusterError as error:
            raise ClusterError(f"{error} (on Debian and Ubuntu: apt-get install python3-venv)") from error
        _pip(venv, "-r", str(_LOCK))
        site_packages = next((venv / "lib").glob("python*/site-packages"))
        (site_packages / "agentfleet-e2e.pth").write_text(f"{REPOSITORY}\n", encoding="utf-8")
        (venv / "complete").touch()


def _install_project(venv: Path) -> None:
    """Install the project in place; again only when what describes it has changed."""
    installed = venv / "project"
    wanted = hashlib.sha256(_PROJECT.read_bytes()).hexdigest()
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return
    with step("install the project into it"):
        _pip(venv, "--no-deps", "-e", str(REPOSITORY))
    installed.write_text(wanted, encoding="utf-8")


def _pip(venv: Path, *arguments: str) -> None:
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    try:
        run([*pip, *arguments], timeout=30 * _MINUTES)
    except CommandError as error:
        # pip ends with hints; the reason stands somewhere above.
        reasons = [line.strip() for line in error.stderr.splitlines() if "error" in line.lower()]
        raise ClusterError(f"pip install {' '.join(arguments)} failed: {' / '.join(reasons[-3:])}") from error
