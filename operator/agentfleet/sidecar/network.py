"""Looks at the sockets of this pod: which process serves on the engine's port, and what it is at.

The containers of a pod share one network namespace, so the sidecar sees the engine's sockets, whatever user it runs as.
"""

import asyncio
import logging
from pathlib import Path

from agentfleet.sidecar import procnet, sockdiag
from agentfleet.sidecar.traffic import Traffic, judge

log = logging.getLogger(__name__)

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class Network:
    """The sockets around the engine's port."""

    def __init__(self, port: int, tables: tuple[Path, ...] = TABLES) -> None:
        self.port = port
        self._tables = tables
        self._told = False

    async def incarnation(self) -> frozenset[int]:
        """Identity of the running server process: its listening sockets. Empty while there is none."""
        return procnet.listeners(await self.table(), self.port)

    async def traffic(self) -> Traffic | None:
        """What the engine is at; None where the kernel does not tell idle connections from busy ones."""
        try:
            return judge(await asyncio.to_thread(sockdiag.dump), self.port)
        except (OSError, ValueError) as error:
            if not self._told:
                self._told = True
                log.warning(
                    "the kernel does not tell who spoke last on a connection, so all open ones count: %s", error
                )
            return None

    async def table(self) -> list[procnet.Socket]:
        """The kernel's own table of TCP sockets."""
        texts = await asyncio.gather(*(asyncio.to_thread(_read, path) for path in self._tables))
        return [socket for text in texts for socket in procnet.parse(text)]


def _read(path: Path) -> str:
    """A table of the kernel; there is none for IPv6 where the node has it switched off."""
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        if path.name == "tcp6":
            return ""
        raise
