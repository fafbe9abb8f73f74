"""Redis for tests on this machine: the real program, Debian's from the cache, else one in PATH.

Tests call `running()`, which fetches nothing; `python3 e2e test` calls `prepare()` before them.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import note
from e2e.cluster.shell import wait_until
from e2e.images import Progress, cache, redis
from e2e.support.ports import free_port


class Missing(ClusterError):
    """There is no Redis here; the message says how to get it."""


def command() -> list[str]:
    """The words that run it. Raises Missing; let that fail the test."""
    if root := redis.built():
        return redis.command(root)
    if installed := shutil.which("redis-server"):
        return [installed]
    raise Missing(
        f"no Redis: nothing in {cache.folder()}, and no redis-server in PATH. Run `python3 -m e2e.support.redis` once "
        "with network (Debian, no root), or install it"
    )


@contextmanager
def running(folder: Path, password: str) -> Iterator[str]:
    """A Redis of its own for the time of the block, once it takes connections; yields its address, redis://HOST:PORT/0.

    It logs into `folder` and keeps nothing.
    """
    port, log = free_port(), folder / "redis.log"
    words = [*command(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", password]
    with log.open("wb") as output:
        process = subprocess.Popen([*words, "--dir", str(folder)], stdin=subprocess.DEVNULL, stdout=output)

    def listens() -> bool:
        if process.poll() is not None:
            raise ClusterError(f"Redis ended with status {process.returncode}:\n{log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        wait_until(listens, f"Redis listens on port {port}", timeout=20, interval=0.02, hint=log.read_text)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()  # it has nothing to keep
        process.wait()


def prepare(progress: Progress = note) -> None:
    """Fetch it where it is missing; BuildError says why it cannot be had."""
    try:
        command()
    except Missing:
        with cache.lock():
            redis.tree(progress)


if __name__ == "__main__":
    prepare()
