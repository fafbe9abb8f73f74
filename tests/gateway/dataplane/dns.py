"""A name server for one test: A records that change at any moment, over UDP on loopback."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Zone:
    """Names and their addresses. May be changed from any thread."""

    def __init__(self) -> None:
        self.port = 0
        self._addresses: dict[str, tuple[str, ...]] = {}

    def set(self, name: str, *addresses: str) -> None:
        """From now on the name has these addresses; none: it exists no more."""
        self._addresses[name.lower()] = addresses

    def answer(self, query: bytes) -> bytes:
        """A response to a query of one question."""
        name, end = _name(query)
        kind = struct.unpack("!H", query[end : end + 2])[0]
        question = query[12 : end + 4]
        known = self._addresses.get(name, ())
        addresses = known if kind == 1 else ()
        flags = 0x8180 if known else 0x8183
        header = query[:2] + struct.pack("!5H", flags, 1, len(addresses), 0, 0)
        records = (struct.pack("!3HIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(each) for each in addresses)
        return header + question + b"".join(records)


def _name(query: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower(), at + 1


@contextmanager
def serving() -> Iterator[Zone]:
    """A name server for the time of the block."""
    zone = Zone()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(0.1)
        zone.port = listening.getsockname()[1]
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    query, client = listening.recvfrom(8192)
                except TimeoutError:
                    continue
                listening.sendto(zone.answer(query), client)

        thread = threading.Thread(target=serve, name="name server")
        thread.start()
        try:
            yield zone
        finally:
            stop.set()
            thread.join()
