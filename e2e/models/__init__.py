"""Language models made on the spot, small enough for any machine and real enough for any engine."""

from __future__ import annotations

from pathlib import Path

from e2e.models import tiny_gguf

SHAPES = {"tiny": tiny_gguf.TINY, "slow": tiny_gguf.SLOW}


def prepare(directory: Path) -> dict[str, Path]:
    """Write all models into `directory` and return them by name: NAME.gguf, which any user may read."""
    return {name: tiny_gguf.make(directory / f"{name}.gguf", shape=shape, name=name) for name, shape in SHAPES.items()}
