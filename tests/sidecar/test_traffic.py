"""Who works and who is idle: recorded situations, the kernel's own answer, and hostile bytes."""

import contextlib
import ipaddress
import os
import socket
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.sidecar import sockdiag
from agentfleet.sidecar.procnet import ESTABLISHED, LISTEN
from agentfleet.sidecar.sockdiag import Connection
from agentfleet.sidecar.traffic import QUIET, Traffic, carries_request, judge

PORT, RUNNER, OTHER = 11434, 36057, 43000
ANY, POD, CLIENT, LOCAL = (ipaddress.ip_address(a) for a in ("::", "10.0.0.5", "10.0.0.9", "127.0.0.1"))
LONG = 60.0

ENGINE = Connection(LISTEN, ANY, PORT, ANY, 1, user=1000)
CHILD = Connection(LISTEN, LOCAL, RUNNER, LOCAL, 2, user=1000)
MESH = Connection(LISTEN, LOCAL, OTHER, LOCAL, 3, user=1337)


def client(sent_ago: float, received_ago: float, received: int = 100, *, queued: bool = False) -> Connection:
    return Connection(ESTABLISHED, POD, PORT, CLIENT, 9, 1000, queued, received, True, sent_ago, received_ago)


def inside(port: int, sent_ago: float, received_ago: float) -> Connection:
    return Connection(ESTABLISHED, LOCAL, port, LOCAL, 9, 1000, False, 100, True, sent_ago, received_ago)


WAITING = client(LONG, 30)
ANSWERED = client(30, LONG)
STREAMING = client(0.2, LONG)
NEVER_ASKED = client(LONG, LONG, received=0)
TIE = client(LONG, LONG)
NEW = replace(TIE, answered=False)
"""A question that came as soon as the connection was made."""
RUNS, RESTS = inside(RUNNER, 0.1, LONG), inside(RUNNER, 30, LONG)


@pytest.mark.parametrize(
    ("connection", "busy"),
    [
        (WAITING, True),
        (ANSWERED, False),
        (STREAMING, True),
        (NEVER_ASKED, False),
        (TIE, False),
        (NEW, True),
        (client(QUIET - 0.1, LONG), True),
        (client(QUIET + 0.1, LONG), False),
        (client(30, LONG, queued=True), True),  # the client has not taken all of its answer
        (Connection(ESTABLISHED, POD, PORT, CLIENT, 9), True),  # the kernel does not say
    ],
)
def test_one_connection(connection: Connection, busy: bool) -> None:
    assert carries_request(connection, tie=False) is busy


@pytest.mark.parametrize(
    ("sockets", "in_flight", "works"),
    [
        ([CHILD], 0, False),
        ([CHILD, ANSWERED, RESTS], 0, False),
        ([CHILD, WAITING, ANSWERED, RESTS], 1, False),  # queued in the engine
        ([CHILD, ANSWERED, RUNS], 1, True),  # the engine holds pieces back
        ([CHILD, TIE, TIE, RUNS], 1, True),
        ([CHILD, TIE, inside(RUNNER, LONG, LONG)], 1, True),  # asked for its health, and at once for work
        ([CHILD, TIE, replace(inside(RUNNER, LONG, LONG), answered=False)], 1, True),
        ([CHILD, STREAMING, RUNS], 1, True),
        ([CHILD, RUNS], 0, True),  # the client is gone, or it is our own warm-up
        ([CHILD, inside(PORT, 0.1, 0.1)], 0, False),  # our own question
        ([CHILD, MESH, ANSWERED, inside(OTHER, 0.1, LONG)], 0, False),  # another program of the pod
    ],
)
def test_the_engines_work(sockets: list[Connection], in_flight: int, works: bool) -> None:
    assert judge([ENGINE, *sockets], PORT) == Traffic(in_flight, {RUNNER: works})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="netlink")
def test_the_kernels_own_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inode = os.fstat(server.fileno()).st_ino
        with socket.create_connection(("127.0.0.1", port)) as there, server.accept()[0] as here:
            there.sendall(b"question")
            found = {(s.state, s.port): s for s in sockdiag.dump()}
            assert found[LISTEN, port].inode == inode
            asked = found[ESTABLISHED, port]
            assert (asked.queued, asked.received, str(asked.peer)) == (True, 8, "127.0.0.1")
            assert here.recv(100) == b"question"
            assert not asked.answered
            here.sendall(b"answer")
            told = next(s for s in sockdiag.dump() if (s.state, s.port) == (ESTABLISHED, port))
            assert (told.answered, carries_request(told, tie=False)) == (True, True)


@given(st.binary(max_size=400))
def test_bytes_that_are_no_answer_are_an_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        for _, body in sockdiag.messages(data):
            sockdiag.decode(body)
