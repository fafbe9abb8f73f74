"""What node labels tell about GPUs: memory, MIG slices, shares by time-slicing or MPS. Pure.

The labels are those of NVIDIA's GPU feature discovery and AMD's node labeller. A label that is missing says nothing:
memory is then unknown, never zero.
"""

import re
from collections.abc import Mapping

MEMORY_TOLERANCE_PERCENT = 10
"""A GPU sold with so many GB shows less: GB are decimal, error correction and the driver keep a part. Who asks for 24Gi
means an L4, whose label says 22.5 GiB."""

_MIB = 2**20
_SHARED = ".shared"


def gpu_memory(labels: Mapping[str, str], resource: str) -> int | None:
    """Bytes that one unit of `resource` can count on, by the node's labels; None where they do not say.

    A share of a GPU counts on its part: time-slicing gives no memory of one's own, and an engine that takes it all
    takes it from its neighbours.
    """
    base = resource.removesuffix(_SHARED)
    memory = _number(labels.get(f"{base}.memory"))
    if memory is not None:
        return memory * _MIB // shares(labels, resource)
    profile = re.search(r"/mig-\d+g\.(\d+)gb", base)
    if profile:
        # The name rounds down, so decimal gigabytes are a lower bound.
        return int(profile.group(1)) * 10**9 // shares(labels, resource)
    if base == "amd.com/gpu":
        memory = _number(labels.get("amd.com/gpu.vram", "").removesuffix("G"))
        return None if memory is None else memory * 2**30
    return None


def shares(labels: Mapping[str, str], resource: str) -> int:
    """Units of `resource` that are one and the same GPU: 1 unless it is time-sliced or shared by MPS."""
    base = resource.removesuffix(_SHARED)
    return max(1, _number(labels.get(f"{base}.replicas")) or 1)


def is_mig(labels: Mapping[str, str], resource: str) -> bool:
    """True where a unit of `resource` is a MIG slice: by its name (strategy mixed) or its product (single)."""
    base = resource.removesuffix(_SHARED)
    return "/mig-" in base or "-MIG-" in labels.get(f"{base}.product", "")


def gpu_problem(labels: Mapping[str, str], resource: str, count: int, memory: int | None) -> str | None:
    """Why `count` units of `resource`, each with `memory` bytes, cannot come from a node with these labels."""
    if not count:
        return None
    if count > 1 and is_mig(labels, resource):
        return f"whose {resource} are MIG slices, of which one process can use a single one, not {count}"
    if count > 1 and shares(labels, resource) > 1:
        return f"whose {resource} are shares of a GPU: {count} of them may be the same one"
    there = gpu_memory(labels, resource)
    if memory is not None and there is not None and there * 100 < memory * (100 - MEMORY_TOLERANCE_PERCENT):
        return f"whose GPUs have {there / 2**30:.1f} GiB, not {memory / 2**30:.1f} GiB"
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and text.isascii() else None
