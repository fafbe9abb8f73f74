"""Files that HAProxy reads: written so that nobody else can read them and nobody ever sees half of one."""

import os
from collections.abc import Mapping
from pathlib import Path


def write_map(path: Path, entries: Mapping[str, str]) -> None:
    """A map file of HAProxy: one line for each entry, sorted by key. Keys and values hold no white space."""
    write_private(path, map_text(entries))


def map_text(entries: Mapping[str, str]) -> str:
    """The text of a map file."""
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def write_private(path: Path, text: str) -> None:
    """Replaces the file at once; mode 0600 from its first byte on."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)  # of a process that was killed while it wrote
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    beside.replace(path)
