"""The cluster's control groups, on cgroup v1 (a tree per controller) and v2 (one tree) alike.

One group holds all daemons, so that they neither die with the session that started them nor count against its memory;
one per node is the root of that kubelet's pods, because two kubelets on one root kill each other's pods as orphans.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster import layout
from e2e.cluster.errors import ClusterError

_MOUNTS = Path("/proc/self/mounts")


def hierarchies() -> list[Path]:
    """Where the machine's control group trees are mounted."""
    mounts = (line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines())
    return [Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]


def node_group(node: str) -> str:
    return layout.PREFIX + node


def create(name: str) -> None:
    """Make the group ``name`` in every tree, able to hold processes and sub-groups."""
    for tree in hierarchies():
        _delegate(tree)
        group = tree / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # On v1 a new cpuset is empty and takes no process before it is filled.
            if (group / setting).exists() and not (group / setting).read_text().strip() and not _is_v2(tree):
                (group / setting).write_text((tree / setting).read_text())


def join_script(name: str) -> str:
    """Shell commands by which a process puts itself into the group ``name`` of every tree."""
    return "; ".join(f"echo $$ > {tree / name}/cgroup.procs" for tree in hierarchies())


def ours() -> list[Path]:
    """Every group that carries our prefix at the top of a tree."""
    return [group for tree in hierarchies() for group in sorted(tree.glob(f"{layout.PREFIX}*")) if group.is_dir()]


def processes() -> set[int]:
    """Process ids in any of our groups, at any depth."""
    return {pid for top in ours() for group in (top, *_below(top)) for pid in _members(group)}


def memory_bytes(pid_groups: Path) -> int | None:
    """Memory charged to a group, None where its tree does not count memory."""
    for name in ("memory.current", "memory.usage_in_bytes"):
        if (pid_groups / name).exists():
            return int((pid_groups / name).read_text())
    return None


def remove() -> None:
    """Remove our groups, which must be empty of processes, deepest first."""
    deadline = time.monotonic() + 10
    while groups := ours():
        for top in groups:
            for group in [*sorted(_below(top), key=lambda path: -len(path.parts)), top]:
                _rmdir(group)
        if time.monotonic() > deadline:
            raise ClusterError(f"control groups still in use: {', '.join(map(str, ours()))}; see their cgroup.procs")
        time.sleep(0.05)


def _rmdir(group: Path) -> None:
    try:
        group.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        # The kernel frees a group a moment after its last process: the caller comes round again, with a deadline.
        return


def _delegate(tree: Path) -> None:
    if _is_v2(tree) and (wanted := (tree / "cgroup.controllers").read_text().split()):
        (tree / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in wanted))


def _is_v2(tree: Path) -> bool:
    return (tree / "cgroup.controllers").exists()


def _below(top: Path) -> Iterator[Path]:
    # os.walk, because it passes over what disappears meanwhile: runtimes remove the groups of ended containers.
    return (Path(folder, name) for folder, names, _ in os.walk(top) for name in names)


def _members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:  # no such file, or no such device while the group is being removed: either way nobody is in it
        return []
