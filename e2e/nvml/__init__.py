"""A small C library with NVML's entry points, for machines without a GPU. nvml.c has the words of its file.

The real nvidia-ml-py loads it, so that all above the driver is what runs in production.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from e2e.cluster.shell import run

SOURCE = Path(__file__).with_name("nvml.c")
LIBRARY = "libnvidia-ml.so.1"
"""The name under which nvidia-ml-py asks the loader for NVML."""

GIB = 1 << 30

State = Mapping[str, object]


def build(folder: Path) -> Path:
    """Compile the library into a folder; its path."""
    path = folder / LIBRARY
    options = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-s", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}")
    run(["cc", *options, "-o", path, SOURCE])
    return path


def text(state: State) -> str:
    """A state as the library reads it."""
    return "".join(f"{key} {value}\n" for key, value in state.items())


def gpu(index: int, uuid: str, **values: object) -> dict[str, object]:
    """Lines of one H100 that is busy; `values` go over them, with _ for the dot."""
    usual: dict[str, object] = {
        "uuid": uuid,
        "name": "NVIDIA H100 80GB HBM3",
        "minor": index,
        "utilization": 37,
        "utilization.memory": 12,
        "memory.total": 80 * GIB,
        "memory.reserved": GIB // 2,
        "memory.used": 60 * GIB,
        "power": 312_500,
        "power.limit": 700_000,
        "energy": 9_000_000,
        "temperature": 54,
        "clock.sm": 1980,
        "clock.memory": 2619,
        "ecc.corrected": 2,
        "ecc.uncorrected": 0,
        "processes": f"4711:{59 * GIB}",
    }
    usual |= {name.replace("_", "."): value for name, value in values.items()}
    return {f"{index}.{name}": value for name, value in usual.items() if value is not None}


def node(*gpus: Mapping[str, object]) -> dict[str, object]:
    """Lines of a node with these GPUs."""
    lines: dict[str, object] = {"gpus": len(gpus), "0.driver": "570.124.06"}
    for each in gpus:
        lines |= each
    return lines
