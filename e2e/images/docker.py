"""Dockerfiles with Docker, for those who have it (and so probably kind): plain `docker build` and `docker save`."""

from __future__ import annotations

import shutil
from pathlib import Path

from e2e.images import BuildError
from e2e.images.shell import run


def available() -> bool:
    """Whether a Docker engine answers; the client alone is not enough."""
    if not shutil.which("docker"):
        return False
    try:
        run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=20)
    except BuildError:
        return False
    return True


def build(tag: str, context: Path, dockerfile: Path, target: str, archive: Path) -> None:
    """Build one target of a Dockerfile on its default base image and write it to `archive`."""
    for command in commands(tag, context, dockerfile, target, archive):
        run(command)


def commands(tag: str, context: Path, dockerfile: Path, target: str, archive: Path) -> list[list[str]]:
    return [
        ["docker", "build", f"--file={dockerfile}", f"--target={target}", f"--tag={tag}", str(context)],
        ["docker", "save", f"--output={archive}", tag],
    ]
