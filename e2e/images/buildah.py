"""Dockerfiles without Docker: buildah in chroot isolation, with a storage of its own that also keeps the layer cache.

Each call runs in a mount and process namespace of its own. When it ends, also by Ctrl-C or SIGKILL, the kernel takes
all of its overlay mounts and child processes with it, so that nothing can be left behind on the machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from e2e.images import BuildError, Progress, cache, debian
from e2e.images.shell import run

NAMESPACES = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]
ENVIRONMENT = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}


class Buildah:
    """Builds images below `cache.folder()`; the caller holds `cache.lock()`."""

    def __init__(self, progress: Progress) -> None:
        if not shutil.which("buildah"):
            debian.install("buildah", progress=progress)
        self.storage = cache.folder() / "buildah"

    def build(
        self,
        tag: str,
        context: Path,
        dockerfile: Path,
        *,
        target: str | None = None,
        ignorefile: Path | None = None,
        arguments: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
    ) -> None:
        """Build `tag` from `dockerfile`; `volumes` are folders of this machine that build steps see, read-only."""
        options = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        options += [f"--volume={folder}:{path}:ro" for folder, path in (volumes or {}).items()]
        options += [f"--target={target}"] if target else []
        options += [f"--ignorefile={ignorefile}"] if ignorefile else []
        fixed = ["--format=docker", "--layers", "--pull-never", f"--file={dockerfile}", f"--tag={tag}"]
        self._run("build", *fixed, *options, str(context))

    def save(self, tag: str, archive: Path) -> None:
        self._run("push", "--quiet", tag, f"docker-archive:{archive}:{tag}")

    def remove(self, tag: str) -> None:
        """Forget an image of which the archive is all that is needed."""
        self._run("rmi", tag)

    def has(self, tag: str) -> bool:
        try:
            self._run("inspect", "--type=image", tag)
        except BuildError:
            return False
        return True

    def clean(self) -> None:
        """Drop the working containers that a build which was cut short left in the storage."""
        if self.storage.exists():
            self._run("rm", "--all")

    def _run(self, *arguments: str) -> str:
        with cache.scratch() as runroot:
            where = [f"--root={self.storage}", f"--runroot={runroot}"]
            return run([*NAMESPACES, "buildah", *where, *arguments], env=ENVIRONMENT)
