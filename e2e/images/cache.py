"""Where built things are kept between runs, and how they get there.

Everything lies outside the repository, under a name that holds a digest of all it was made from, and appears by a
rename: what is there is complete and right, so nobody checks it twice. This module must not know what is built.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from e2e.cluster.layout import cache_home
from e2e.cluster.shell import exclusive


def folder() -> Path:
    return cache_home() / "images"


def digest(*inputs: str | Path) -> str:
    """Twelve hex digits over all inputs in order; a path counts with its content, a folder with all files below it."""
    total = hashlib.sha256()
    for item in inputs:
        if isinstance(item, str):
            total.update(f"text {len(item)}\n{item}".encode())
            continue
        for file in _files(item):
            content = file.read_bytes()
            total.update(f"file {file.relative_to(item.parent)} {len(content)}\n".encode())
            total.update(content)
    return total.hexdigest()[:12]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def entry(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The file or folder `name` made from what `key` stands for; where it is missing, `make` writes it to a given path.

    Older versions of `name` are dropped then: they would hardly be read again, and images are large.
    """
    target = _path(name, key)
    if target.exists():
        return target
    with scratch() as temporary:
        part = temporary / target.name
        make(part)
        stem, dot, suffix = name.partition(".")
        for old in folder().glob(f"{stem}-{'[0-9a-f]' * len(key)}{dot}{suffix}"):
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
        part.rename(target)
    return target


def find(name: str, key: str) -> Path | None:
    """The entry `name` of `key` where it is there already."""
    target = _path(name, key)
    return target if target.exists() else None


def _path(name: str, key: str) -> Path:
    stem, dot, suffix = name.partition(".")
    return folder() / f"{stem}-{key}{dot}{suffix}"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the cache's own disk, so that a rename out of it is atomic; gone at the end."""
    parent = folder() / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as temporary:
        yield Path(temporary)


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """One build at a time on this cache; whoever comes second waits, then finds everything made."""
    with exclusive(folder() / "lock"):
        # We are alone, so what is here was left by a run that got killed.
        if (folder() / "tmp").exists():
            shutil.rmtree(folder() / "tmp")
        yield
