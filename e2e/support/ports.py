"""Ports for servers that are started later: of those that the kernel calls free none is given twice in a process."""

import socket
from contextlib import ExitStack

_given: set[int] = set()


def free_port(address: str = "127.0.0.1") -> int:
    """A port where nobody listens at this address.

    The kernel draws by lot and would draw a port again that was given a moment ago: of six it gives two alike in one
    of a thousand cases.
    """
    with ExitStack() as drawn:
        while True:
            probe = drawn.enter_context(socket.socket())  # open until another one was found: it is not drawn again
            probe.bind((address, 0))
            port = int(probe.getsockname()[1])
            if port not in _given:
                _given.add(port)
                return port


def free_ports(count: int) -> list[int]:
    """So many, all of them different."""
    return [free_port() for _ in range(count)]
