"""HAProxy for tests on this machine: the real program, to check what is rendered and to send requests through it.

Tests call `command()`, which fetches nothing: they run where no network is. `python3 e2e test` calls `prepare()` before
them. By hand, `python3 -m e2e.support.haproxy -c -f FILE` does both.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import note
from e2e.cluster.shell import wait_until
from e2e.images import BuildError, Progress, cache, haproxy

Version = Literal["3.2", "3.4"]
_TO_START = _TO_STOP = 10.0
_EDITIONS: dict[Version, haproxy.Edition] = {"3.2": haproxy.SERVED, "3.4": haproxy.NEWER}


class Missing(ClusterError):
    """There is no such HAProxy here; the message says how to get it."""


def command(version: Version = "3.2") -> list[str]:
    """The words that run an HAProxy of at least `version`: Debian's from the cache, else one in PATH.

    Raises Missing. For 3.2 let that fail the test; 3.4 may be gone from Debian, so its tests may be skipped for it.
    """
    if root := haproxy.built(_EDITIONS[version]):
        return haproxy.command(root)
    if not (installed := shutil.which("haproxy")):
        raise Missing(_advice(version, "there is none in PATH"))
    try:
        haproxy.require([installed], version)
    except BuildError as error:
        raise Missing(_advice(version, str(error))) from error
    return [installed]


@dataclass(frozen=True)
class Running:
    """An HAProxy that runs."""

    process: subprocess.Popen[bytes]
    log: Path
    """All that it says, with what `log stdout` of its configuration adds."""


@contextmanager
def running(config: Path, address: str, version: Version = "3.2") -> Iterator[Running]:
    """HAProxy with a configuration for the time of the block, once it listens on `address`, a host:port of it.

    At the end requests in flight may end; after ten seconds it is killed.
    """
    log = config.with_suffix(".log")
    with log.open("wb") as output:
        words = [*command(version), "-db", "-f", str(config)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def listens() -> bool:
        if process.poll() is not None:
            raise ClusterError(f"HAProxy ended with status {process.returncode}:\n{log.read_text()}")
        return _accepts(address)

    try:
        wait_until(listens, f"HAProxy listens on {address}", timeout=_TO_START, interval=0.02, hint=log.read_text)
        yield Running(process, log)
    finally:
        process.send_signal(signal.SIGUSR1)
        try:
            process.wait(_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def prepare(progress: Progress = note) -> None:
    """Fetch what is missing. 3.2 must be had, or BuildError says why not; without 3.4 a few tests are skipped."""
    _fetch("3.2", progress)
    try:
        _fetch("3.4", progress)
    except BuildError as error:
        progress(f"tests on HAProxy 3.4 will be skipped: {error}")


def _fetch(version: Version, progress: Progress) -> None:
    try:
        command(version)
    except Missing:
        with cache.lock():
            haproxy.tree(_EDITIONS[version], progress)


def _advice(version: Version, found: str) -> str:
    return (
        f"no HAProxy {version} with Lua, PCRE2 and the Prometheus exporter: nothing in {cache.folder()}, and {found}. "
        "Run `python3 -m e2e.support.haproxy -v` once with network (Debian, no root), or install it"
    )


def main() -> None:
    """Become HAProxy, with the arguments of this process."""
    try:
        prepare()
        words = command()
    except ClusterError as error:
        sys.exit(f"error: {error}")
    os.execv(words[0], [*words, *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
