"""One name server and one port for the pods of each test module."""

from collections.abc import Iterator

import pytest

from tests.gateway.dataplane import cloudy, dns, gateway


@pytest.fixture(scope="module")
def zone() -> Iterator[dns.Zone]:
    with dns.serving() as zone:
        yield zone


@pytest.fixture(scope="module")
def port() -> int:
    """Where all pods listen, each at its own address."""
    return gateway.free_port("127.0.0.2")


@pytest.fixture(scope="module")
def running_cloudy_route(zone: dns.Zone, port: int) -> Iterator[cloudy.Route]:
    with cloudy.running(zone, port) as route:
        yield route


@pytest.fixture
def cloudy_route(running_cloudy_route: cloudy.Route) -> cloudy.Route:
    """The route as it was at first, but for what its gateway remembers."""
    for server in (running_cloudy_route.small, running_cloudy_route.big, running_cloudy_route.cloud):
        server.play("")
    running_cloudy_route.decider.intent, running_cloudy_route.decider.delay = "", 0.0
    running_cloudy_route.decider.asked.clear()
    return running_cloudy_route
