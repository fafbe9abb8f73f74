"""The kernel's socket table: recorded rows, and one table of the machine that runs the test."""

import socket
import sys
from pathlib import Path

import pytest

from agentfleet.sidecar.procnet import connections, listeners, parse

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TAIL = "00000000:00000000 00:00000000 00000000     0        0"


def row(local: str, peer: str, state: str, inode: int = 7) -> str:
    return f"   0: {local} {peer} {state} {TAIL} {inode} 1 0000000000000000 100 0 0 10 0\n"


LISTEN = row("00000000:2CAA", "00000000:0000", "0A", 41)
OUTSIDE = row("0500000A:2CAA", "0900000A:D431", "01")
LOOPBACK = row("0100007F:2CAA", "0100007F:D431", "01")
CLOSING = row("0500000A:2CAA", "0900000A:D431", "06")
OTHER_PORT = row("0500000A:1F90", "0900000A:D431", "01")
OUTGOING = row("0500000A:D431", "0900000A:2CAA", "01")
V6_LISTEN = row("0" * 32 + ":2CAA", "0" * 32 + ":0000", "0A", 43)
V6_LOOPBACK = row("00000000000000000000000001000000:2CAA", "00000000000000000000000001000000:D431", "01")
V6_OUTSIDE = row("B80D01200000000000000000010000FF:2CAA", "B80D012000000000000000000200000A:D431", "01")
MAPPED_OUTSIDE = row("0000000000000000FFFF00000500000A:2CAA", "0000000000000000FFFF00000900000A:D431", "01")
MAPPED_LOOPBACK = row("0000000000000000FFFF00000100007F:2CAA", "0000000000000000FFFF00000100007F:D431", "01")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("", 0),
        (LISTEN, 0),
        (OUTSIDE, 1),
        (OUTSIDE + OUTSIDE + LOOPBACK, 2),
        (CLOSING + OTHER_PORT + OUTGOING, 0),
        (V6_LOOPBACK + MAPPED_LOOPBACK, 0),
        (V6_OUTSIDE + MAPPED_OUTSIDE, 2),
    ],
)
def test_connections_from_outside_the_pod_count(rows: str, expected: int) -> None:
    assert connections(parse(HEADER + rows, "little"), 11434) == expected


def test_listeners_are_told_by_their_inodes() -> None:
    assert listeners(parse(HEADER + LISTEN + V6_LISTEN + OUTSIDE, "little"), 11434) == {41, 43}
    assert listeners(parse(HEADER + OUTSIDE, "little"), 11434) == frozenset()


def test_addresses_are_in_host_byte_order() -> None:
    big, little = row("0A000005:2CAA", "0A000009:D431", "01"), row("0500000A:2CAA", "0900000A:D431", "01")
    assert [s.peer for s in parse(big, "big")] == [s.peer for s in parse(little, "little")]


@pytest.mark.parametrize("text", ["nonsense", "0: zz:1 0:0 01 a b c d e 1", row("00:2CAA", "00:1", "01")])
def test_a_row_that_is_none_is_an_error_and_not_zero(text: str) -> None:
    with pytest.raises(ValueError, match="not a row of /proc/net/tcp"):
        list(parse(text))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_kernels_own_table() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inode = int(Path(f"/proc/self/fd/{server.fileno()}").readlink().name.strip("socket:[]"))
        with socket.create_connection(("127.0.0.1", port)):
            table = list(parse(Path("/proc/net/tcp").read_text()))
    assert listeners(table, port) == {inode}
    assert connections(table, port) == 0
