"""The machine's kernel settings that a kubelet overwrites: remembered before, put back after."""

from __future__ import annotations

import json
from pathlib import Path

from e2e.cluster import layout

_FILE = layout.STATE / "sysctls.json"
_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def remember() -> None:
    """Record the values, once per cluster."""
    if not _FILE.exists():
        _FILE.write_text(json.dumps({name: _path(name).read_text().strip() for name in _SETTINGS}), encoding="utf-8")


def restore() -> None:
    """Put the recorded values back, if any were recorded."""
    try:
        values = json.loads(_FILE.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return
    for name, value in values.items():
        if _path(name).read_text().strip() != value:
            _path(name).write_text(value)


def _path(name: str) -> Path:
    return Path("/proc/sys") / name
