"""Asks the kernel about TCP sockets over netlink (sock_diag, what `ss -ti` uses); needs no privilege.

/proc/net/tcp says that a connection is open. This says who spoke last on it and when, and so whether it carries a
request. A sandbox without sock_diag (gVisor, kernels without tcp_diag) answers with an OSError: the caller has to do
without. Decoding is pure: bytes in, sockets out.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from agentfleet.sidecar.procnet import Address

TIMEOUT = 2.0

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_DUMP = 0x001 | 0x300
_INFO = 2
_ANY_STATE = 0xFFFFFFFF
_RECEIVE_BUFFER = 1 << 17

_HEADER = struct.Struct("=IHHII")
_ID_BYTES = 48
_MESSAGE_BYTES = 72
_SENT_AT, _RECEIVED_AT, _BYTES_RECEIVED_AT, _SEGMENTS_SENT_AT = 44, 52, 128, 156
"""Offsets in the kernel's struct tcp_info, which only ever grows at its end."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One TCP socket of this network namespace."""

    state: int
    address: Address
    port: int
    peer: Address
    inode: int
    user: int = 0
    queued: bool = False
    """Bytes wait to be read by the program, or to be taken by the peer."""
    received: int | None = None
    """Bytes from the peer so far; None where the kernel does not say."""
    answered: bool = False
    """Data was sent to the peer, ever."""
    sent_ago: float = 0.0
    """Seconds since data was last sent to the peer, or since the connection was made."""
    received_ago: float = 0.0
    """Seconds since data last came from the peer, or since the connection was made."""


def dump() -> list[Connection]:
    """All TCP sockets, IPv4 and IPv6. OSError where the kernel does not answer, ValueError where it makes no sense."""
    return [*_dump(socket.AF_INET), *_dump(socket.AF_INET6)]


def decode(body: bytes) -> Connection:
    """One answer of the kernel (struct inet_diag_msg and its attributes)."""
    if len(body) < _MESSAGE_BYTES:
        raise ValueError(f"sock_diag message of {len(body)} bytes")
    family, state = body[0], body[1]
    (port,) = struct.unpack_from(">H", body, 4)
    width = 4 if family == socket.AF_INET else 16
    waiting_in, waiting_out, user, inode = struct.unpack_from("=IIII", body, 56)
    info = _attributes(body[_MESSAGE_BYTES:]).get(_INFO, b"")
    known = len(info) >= _SEGMENTS_SENT_AT + 4
    return Connection(
        state=state,
        address=ipaddress.ip_address(body[8 : 8 + width]),
        port=port,
        peer=ipaddress.ip_address(body[24 : 24 + width]),
        inode=inode,
        user=user,
        queued=bool(waiting_in or waiting_out),
        received=struct.unpack_from("=Q", info, _BYTES_RECEIVED_AT)[0] if known else None,
        answered=known and struct.unpack_from("=I", info, _SEGMENTS_SENT_AT)[0] > 0,
        sent_ago=struct.unpack_from("=I", info, _SENT_AT)[0] / 1000 if known else 0.0,
        received_ago=struct.unpack_from("=I", info, _RECEIVED_AT)[0] / 1000 if known else 0.0,
    )


def messages(buffer: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each netlink message in one datagram."""
    at = 0
    while at + _HEADER.size <= len(buffer):
        length, kind, *_ = _HEADER.unpack_from(buffer, at)
        if not _HEADER.size <= length <= len(buffer) - at:
            raise ValueError(f"netlink message of {length} bytes in {len(buffer) - at}")
        yield kind, buffer[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _dump(family: int) -> Iterator[Connection]:
    query = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 1 << (_INFO - 1), _ANY_STATE) + bytes(_ID_BYTES)
    header = _HEADER.pack(_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(TIMEOUT)
        netlink.sendto(header + query, (0, 0))
        while True:
            for kind, body in messages(netlink.recv(_RECEIVE_BUFFER)):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "the kernel does not list TCP sockets")
                yield decode(body)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            raise ValueError(f"netlink attribute of {length} bytes")
        found[kind] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found
