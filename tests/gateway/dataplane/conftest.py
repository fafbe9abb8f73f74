"""One name server and one port for the pods of each test module, and the HAProxy that its gateways are."""

import os
from collections.abc import Iterator

import pytest

from e2e.support import haproxy
from tests.gateway.dataplane import cloudy, dns, gateway

_VERSIONS: tuple[haproxy.Version, ...] = ("3.4",) if os.environ.get("GATEWAY_HAPROXY") == "3.4" else ("3.2", "3.4")
_LONG = {"test_agreement"}
"""Modules that take long and are about the policy: they run on the first version alone."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All modules run on the oldest HAProxy that will do, and on the one that users get."""
    is_long = metafunc.module.__name__.rpartition(".")[2] in _LONG
    metafunc.parametrize("version", _VERSIONS[:1] if is_long else _VERSIONS, scope="module", indirect=True)


@pytest.fixture(scope="module", autouse=True)
def version(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the gateways of this module are, where nothing else is said."""
    try:
        haproxy.command(request.param)
    except haproxy.Missing as error:
        if request.param == "3.2":
            raise
        pytest.skip(str(error))  # it may be gone from Debian
    with gateway.made_by(request.param):
        yield


@pytest.fixture(scope="module")
def zone(version: None) -> Iterator[dns.Zone]:
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
