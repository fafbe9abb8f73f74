"""Running the programs of a build: quiet when they work, their last words when they do not.

Beside `e2e.cluster.shell.run` because compilers and package managers run for minutes and explain themselves at length.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.images import BuildError

_LINES_OF_AN_ERROR = 30


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 1800,
) -> str:
    """Standard output of `command`; `env` is added to ours. Raises BuildError, also for a program that is missing."""
    words = [str(word) for word in command]
    # However we end, also by a signal that we cannot catch, nothing goes on building.
    prefix = ["setpriv", "--pdeathsig=KILL"] if shutil.which("setpriv") else []
    if not shutil.which(words[0]):
        raise BuildError(f"`{words[0]}` is not on this machine; it is needed for the images of e2e")
    try:
        done = subprocess.run(
            [*prefix, *words],
            env=os.environ | dict(env or {}),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"`{' '.join(words)}` did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_LINES_OF_AN_ERROR:])
        raise BuildError(f"`{' '.join(words)}` failed (exit {done.returncode}):\n{last}")
    return done.stdout
