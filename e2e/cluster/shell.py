"""Run a command to its end, wait for a condition, hold the machine-wide lock.

Processes that outlive the command (the cluster's daemons) are in ``daemon.py``.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import note


class CommandError(ClusterError):
    """A command ended with an error; carries its exit status and standard error."""

    def __init__(self, argv: Sequence[str], returncode: int, stderr: str) -> None:
        self.returncode = returncode
        self.stderr = stderr
        reason = " / ".join(line for line in stderr.strip().splitlines()[-3:]) or "no message"
        super().__init__(f"`{_shorten(argv)}` failed (exit {returncode}): {reason}")


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | IO[bytes] | None = None,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    shown: Sequence[str] | None = None,
) -> str:
    """Run ``argv`` and return its standard output; raise ``CommandError`` when it fails or takes too long.

    ``shown`` is the command that errors name, where ``argv`` is wrapped in what only confuses.
    """
    words = [str(word) for word in argv]
    shown = shown or words
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            words,
            **_standard_input(stdin),
            capture_output=True,
            timeout=timeout,
            env=env,
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise CommandError(shown, -1, f"no end after {timeout:.0f} s") from expired
    except FileNotFoundError as missing:
        raise ClusterError(f"`{words[0]}` is not on this machine; it is needed for `{_shorten(shown)}`") from missing
    if done.returncode != 0:
        raise CommandError(shown, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace")


def _standard_input(stdin: str | IO[bytes] | None) -> dict[str, Any]:
    if isinstance(stdin, str):
        return {"input": stdin.encode()}
    return {"stdin": subprocess.DEVNULL if stdin is None else stdin}


def succeeds(argv: Sequence[str | Path], *, timeout: float = 10) -> bool:
    """Say whether ``argv`` ends with status 0."""
    try:
        run(argv, timeout=timeout)
    except CommandError:
        return False
    return True


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout: float,
    interval: float = 0.1,
    hint: Callable[[], str] = lambda: "",
) -> None:
    """Poll ``condition`` until it holds; after ``timeout`` seconds raise an error that names ``what`` and the hint.

    A command that fails in ``condition`` counts as "not yet": servers refuse before they are ready. Its last error is
    named in the end.
    """
    deadline = time.monotonic() + timeout
    while True:
        reason = ""
        try:
            if condition():
                return
        except CommandError as error:
            reason = str(error)
        if time.monotonic() > deadline:
            raise ClusterError(" ".join(filter(None, [f"{what}: not so after {timeout:.0f} s.", reason, hint()])))
        time.sleep(interval)


def without_proxies(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` for a process inside the cluster's network, from where no proxy can be reached."""
    return {name: value for name, value in env.items() if not name.lower().endswith("_proxy")}


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold ``lock`` for the block, so that no two commands build or remove the same thing; the file goes away after."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(lock: Path) -> int:
    announced = False
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not announced:
                holder = os.pread(descriptor, 32, 0).decode() or "unknown"
                note(f"waiting for the e2e command that runs as process {holder}")
                announced = True
            os.close(descriptor)
            time.sleep(0.2)
            continue
        # The holder before us may have unlinked the file between our open and our lock: then we hold a ghost.
        if lock.exists() and os.fstat(descriptor).st_ino == lock.stat().st_ino:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor
        os.close(descriptor)


def _shorten(argv: Sequence[str | Path]) -> str:
    text = shlex.join(str(word) for word in argv)
    return text if len(text) <= 160 else text[:157] + "..."
