"""A process that outlives the command which starts it: one component of the cluster.

What identifies it later is a record of its process id and start time, so that a recycled id is never taken for ours.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import cgroups, layout
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import wait_until

_ZOMBIE = "Z"


@dataclass(frozen=True)
class Process:
    """A process as the kernel identifies it: its id, and when it started in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """The living process with this id, None when there is none."""
        _reap(pid)
        try:
            # The second field is the program's name in brackets, which may itself hold spaces and brackets.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # A killed process is a zombie first while its other threads still end and hold its files and ports.
        ended = fields[0] == _ZOMBIE and int(fields[17]) <= 1
        return None if ended else cls(pid, int(fields[19]))

    @classmethod
    def load(cls, record: Path) -> Process | None:
        """The living process that ``record`` is about, None when it has ended or was never recorded in full."""
        try:
            content = json.loads(record.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):  # the starter was killed before, or while, it wrote this
            return None
        process = cls(content["pid"], content["started"])
        return process if process.alive else None

    @property
    def alive(self) -> bool:
        return Process.find(self.pid) == self

    @property
    def rss_bytes(self) -> int:
        """Resident memory; 0 when the process is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def send(self, number: signal.Signals) -> None:
        """Signal it, unless it has ended."""
        if not self.alive:
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return


def _reap(pid: int) -> None:
    """Collect ``pid`` if it is an ended child of ours: else it stays a zombie as long as this process lives."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


@dataclass(frozen=True)
class Daemon:
    """One component of the cluster: how it is started, and whether it runs."""

    name: str
    argv: tuple[str, ...]
    """Full command line, including what enters its namespaces."""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return layout.logs() / f"{self.name}.log"

    @property
    def process(self) -> Process | None:
        """The running process, None when it does not run."""
        return Process.load(self._record)

    @property
    def running(self) -> bool:
        return self.process is not None

    def start(self) -> None:
        """Start it unless it runs; it keeps running when this process ends."""
        if self.running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # The shell joins the group before it becomes the daemon, so a killed starter leaves nothing that is not found.
        script = f'{cgroups.join_script(layout.SYSTEM_CGROUP)}; exec "$@"'
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", script, self.name, *self.argv],
            {"PATH": layout.SYSTEM_PATH, "HOME": "/root", **self.env},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
        )
        process = Process.find(pid)
        if process is None:
            raise ClusterError(f"{self.name} ended at once; its log {self.log} ends: {self.log_tail()}")
        self._record.write_text(json.dumps({"pid": process.pid, "started": process.started}), encoding="utf-8")

    def stop(self, *, kill: bool = False, timeout: float = 90) -> None:
        """End it with SIGTERM, or with SIGKILL as a crash would, and wait until it is gone."""
        process = self.process
        if process is None:
            return
        process.send(signal.SIGKILL if kill else signal.SIGTERM)
        wait_until(lambda: not process.alive, f"{self.name} (process {process.pid}) has ended", timeout=timeout)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): it keeps its connections and answers nothing."""
        if process := self.process:
            process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        if process := self.process:
            process.send(signal.SIGCONT)

    def expect_running(self) -> None:
        """Raise with the end of its log when it does not run (any more)."""
        if not self.running:
            raise ClusterError(f"{self.name} does not run; its log {self.log} ends: {self.log_tail()}")

    def log_tail(self, lines: int = 3) -> str:
        """The last lines of its log, joined to one."""
        if not self.log.exists():
            return "(no log)"
        return " / ".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    @property
    def _record(self) -> Path:
        return layout.STATE / "processes" / f"{self.name}.json"
