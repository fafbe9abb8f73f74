"""A process of a benchmark: a child that is measured by /proc and never left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.errors import ClusterError

_STOP_TIMEOUT = 15.0
_TICK = os.sysconf("SC_CLK_TCK")


class Process:
    """A running child of this process."""

    def __init__(self, name: str, child: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        return cpu_seconds(self.pid)

    @property
    def rss_mb(self) -> float:
        """VmRSS in MB (10^6 bytes)."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise ClusterError(f"{self.name} (process {self.pid}) has ended")

    @property
    def has_ended(self) -> bool:
        """By itself or otherwise."""
        return self._child.poll() is not None

    def expect_running(self) -> None:
        """Raise with the end of its log when it has ended."""
        if self.has_ended:
            raise ClusterError(f"{self.name} ended with {self._child.returncode}; its log ends: {self.log_tail()}")

    def log_tail(self, lines: int = 3) -> str:
        """The last lines of its log, joined to one."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return " / ".join(text.splitlines()[-lines:]) or "(nothing)"

    def kill(self) -> None:
        """End it as a crash would."""
        self._child.kill()
        self._child.wait()

    def stop(self) -> None:
        """End it with SIGTERM, and with SIGKILL where that takes too long."""
        self._child.terminate()
        try:
            self._child.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


@contextmanager
def running(
    name: str, argv: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run ``argv`` for the block, with its log in ``folder``."""
    words = [str(word) for word in argv]
    if setpriv := shutil.which("setpriv"):
        words = [setpriv, "--pdeathsig", "KILL", *words]  # a benchmark that is killed outright leaves nothing either
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        # A session of its own: Ctrl-C is for the benchmark, which stops its processes in order.
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
        )
    process = Process(name, child, log)
    try:
        yield process
    finally:
        process.stop()
