"""One name server and one port for the pods of each test module."""

from collections.abc import Iterator

import pytest

from tests.gateway.dataplane import dns, gateway


@pytest.fixture(scope="module")
def zone() -> Iterator[dns.Zone]:
    with dns.serving() as zone:
        yield zone


@pytest.fixture(scope="module")
def port() -> int:
    """Where all pods listen, each at its own address."""
    return gateway.free_port("127.0.0.2")
