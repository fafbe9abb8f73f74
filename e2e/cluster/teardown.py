"""Take the embedded cluster off the machine, whatever state it is in.

Nothing here asks the cluster: what is ours is found by what the kernel knows (our control groups, network namespaces,
pinned mount namespaces) and by the recorded processes, so it works after any crash. Pods' mounts, their network
namespaces and the container shims live inside the nodes' mount namespaces and groups, and end with these.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster import cgroups, layout, mounts, network, sysctls
from e2e.cluster.daemon import Process
from e2e.cluster.progress import step
from e2e.cluster.shell import run, wait_until


def leftovers() -> list[str]:
    """What of ours is on the machine, as short texts; empty when there is nothing."""
    found = [f"process {pid}" for pid in sorted(_processes())]
    found += [f"network namespace {namespace.name}" for namespace in network.ours()]
    found += [f"mount {mount}" for mount in _mounts()]
    found += [f"control group {group}" for group in cgroups.ours()]
    if layout.STATE.exists():
        found.append(f"folder {layout.STATE}")
    return found


def down() -> bool:
    """Remove everything of ours; say whether there was anything. Safe to call at any time, twice, and after a crash."""
    if not leftovers():
        return False
    with step("take the cluster down"):
        _end_processes()
        sysctls.restore()
        for mount in _mounts():
            run(["umount", "--no-mtab", "--lazy", mount])
        for namespace in network.ours():
            namespace.delete()
        network.forget_folder()
        cgroups.remove()
        if layout.STATE.exists():
            shutil.rmtree(layout.STATE)
    return True


def _end_processes() -> None:
    """Kill until nothing is left: a container's runtime may start one more process while its siblings end."""

    def none_left() -> bool:
        for pid in _processes():
            if process := Process.find(pid):
                process.send(signal.SIGKILL)
        return not _processes()

    wait_until(none_left, "every process of the cluster has ended", timeout=30, hint=lambda: ", ".join(leftovers()))


def _processes() -> set[int]:
    found = cgroups.processes() | set(_recorded()) | set(_in_namespaces())
    return {pid for pid in found - _ourselves() if Process.find(pid) is not None}


def _recorded() -> Iterator[int]:
    for record in (layout.STATE / "processes").glob("*.json"):
        if process := Process.load(record):
            yield process.pid


def _in_namespaces() -> Iterator[int]:
    ours = {namespace.path.stat().st_ino for namespace in network.ours()}
    if not ours:
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "ns" / "net").stat().st_ino in ours:
                    yield int(entry.name)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            except PermissionError:
                continue  # it has capabilities that we have not, so we did not start it


def _ourselves() -> set[int]:
    """This process and its ancestors: `down` may be called by a test that runs in the cluster's network."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0:
        found.add(pid)
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        pid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
    return found


def _mounts() -> list[Path]:
    """Mount points under the state folder, the newest first."""
    return [point for point in reversed(mounts.points()) if point.is_relative_to(layout.STATE)]
