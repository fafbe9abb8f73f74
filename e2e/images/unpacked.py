"""Programs out of an unpacked root file system (`debian.py` makes them), run on this machine."""

from __future__ import annotations

from pathlib import Path

from e2e.images import BuildError


def command(root: Path, program: str) -> list[str]:
    """What runs `program`, a path in `root`, with the C library, the loader and the libraries from there and no others:
    a release of Debian newer or older than this machine's does no harm."""
    try:
        (loader,) = root.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*")
    except ValueError:
        raise BuildError(f"{root} has no loader for programs, or several: is it not a Debian for Linux?") from None
    words = ["--inhibit-cache", "--library-path", str(loader.parent), "--argv0", Path(program).name]
    return [str(loader), *words, str(root / program)]
