"""Reads the kernel's table of TCP sockets (/proc/net/tcp and tcp6). Pure: text in, sockets out.

Ollama counts no requests. Its pod's containers share one network namespace, so the sidecar sees the engine's sockets
here: who is connected to its port, and which listening socket is behind it (another inode is another process).
"""

import ipaddress
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ESTABLISHED = 0x01
LISTEN = 0x0A

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Socket:
    """One row of the table."""

    address: Address
    port: int
    peer: Address
    state: int
    inode: int


def parse(table: str, byteorder: str = sys.byteorder) -> Iterator[Socket]:
    """The sockets of one table, header included or not. ValueError on a row that is not one."""
    for row in table.splitlines():
        columns = row.split()
        if not columns or columns[0] == "sl":
            continue
        try:
            local, peer, state, inode = columns[1], columns[2], columns[3], columns[9]
            address, port = _endpoint(local, byteorder)
            yield Socket(address, port, _endpoint(peer, byteorder)[0], int(state, 16), int(inode))
        except (IndexError, ValueError) as error:
            raise ValueError(f"not a row of /proc/net/tcp: {row!r}") from error


def connections(sockets: Iterable[Socket], port: int) -> int:
    """How many peers outside this pod are connected to `port`.

    Connections from loopback are the sidecar's own and kubelet's exec probes. An idle keep-alive connection counts:
    the table cannot tell it from a request whose answer is still being computed, and a cut request is the worse error.
    traffic.py can tell them apart; this is for kernels that do not say more than this table.
    """
    return sum(s.port == port and s.state == ESTABLISHED and not is_loopback(s.peer) for s in sockets)


def listeners(sockets: Iterable[Socket], port: int) -> frozenset[int]:
    """Inodes of the sockets that listen on `port`; empty when nobody does."""
    return frozenset(s.inode for s in sockets if s.port == port and s.state == LISTEN)


def is_loopback(address: Address) -> bool:
    """True for 127.0.0.0/8 and ::1, also where IPv4 is written as IPv6."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _endpoint(text: str, byteorder: str) -> tuple[Address, int]:
    """`0100007F:1F90` → 127.0.0.1, 8080. The kernel prints each 32-bit word of an address in host byte order."""
    digits, _, port = text.partition(":")
    words = bytes.fromhex(digits)
    if len(words) not in (4, 16):
        raise ValueError(f"address of {len(words)} bytes")
    if byteorder == "little":
        words = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    return ipaddress.ip_address(words), int(port, 16)
