"""How long a request may take, from its first header to the end of its answer; what answers that never came cost."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from agentfleet.gateway.layout import Limit
from agentfleet.gateway.types import EVERY_CAUSE, Match, Rule
from e2e.cluster.shell import wait_until
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import dns, gateway

_EVENTS, _GAP = 20, 0.2
_SECONDS = 1.0
_PATIENCE = 6.0


@dataclass
class Route:
    gateway: gateway.Gateway
    pod: Server
    slow: int
    """Port of a server that the test itself plays."""

    def tokens(self) -> int:
        """What counts against the limit at this moment."""
        table = self.gateway.command("show table gateways/" + self._table())
        charged, returned = (re.search(rf"gpc{number}=(\d+)", table) for number in "01")
        return int(charged[1]) - int(returned[1]) if charged and returned else 0

    def _table(self) -> str:
        found = re.search(r"limit_\w+", self.gateway.command("show table"))
        assert found
        return found[0]


@pytest.fixture(scope="module")
def route(zone: dns.Zone, port: int) -> Iterator[Route]:
    slow = gateway.free_port()
    targets = (
        routes.target(0, "first", capacity=1),
        routes.target(1, "second", weight=0),
        routes.target(2, "blank", kind="External"),
        routes.target(3, "absent", kind="External"),
    )
    brief = {"request_ms": int(1000 * _SECONDS)}
    rules = (
        Rule("direct", Match(models=("direct",)), ("t0",), when=(), **brief),
        Rule("chained", Match(models=("chained",)), ("t0", "t1"), strategy="Weighted", when=EVERY_CAUSE, **brief),
        Rule("blank", Match(models=("blank",)), ("t2",), when=(), **brief),
        Rule("absent", Match(models=("absent",)), ("t3",), when=()),
        Rule("lasting", Match(models=("lasting",)), ("t0",), when=(), request_ms=3000),
        Rule("waiting", Match(models=("waiting",)), ("t0",), when=()),
    )
    policy = routes.policy(*targets, rules=rules, queue_ms=500)
    outside = {"host": "127.0.0.1", "health": None}
    layout = routes.layout(
        policy,
        backends=(
            routes.backend(targets[0], port=port),
            routes.backend(targets[1], port=port),
            routes.backend(targets[2], port=slow, **outside),
            routes.backend(targets[3], port=gateway.free_port(), **outside),
        ),
        limits=(Limit("Route", "tokens", 10**6, 3600),),
    )
    changed = {
        f"127.0.0.1:{slow} check inter 5s fall 2 rise 1": f"127.0.0.1:{slow}",
        "wait-for-body time 10s": "wait-for-body time 1s",
        "timeout client 10s": "timeout client 1s",
        "timeout http-request 10s": "timeout http-request 1s",
    }
    with (
        gateway.pods(zone, "first", 1, port, first=90) as (pod,),
        gateway.pods(zone, "second", 1, port, first=91),
        gateway.running(policy, layout, zone, changed=changed) as running,
    ):
        running.wait_for(ready_t0=1, ready_t1=1)
        yield Route(running, pod, slow)


@pytest.mark.parametrize("model", ["direct", "chained"])
def test_a_stream_that_goes_on_is_broken_off(route: Route, model: str) -> None:
    route.pod.forget()
    route.pod.play(f"chunks={_EVENTS},gap={_GAP}")
    before, began, lines = route.tokens(), time.monotonic(), 0
    body = {"model": model, "messages": [], "stream": True}
    with (
        pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"),
        route.gateway.client.stream("POST", gateway.CHAT, json=body) as response,
    ):
        for line in response.iter_lines():
            lines += bool(line)
    assert _SECONDS - 0.1 < time.monotonic() - began < _EVENTS * _GAP
    logged = route.gateway.logged(response)
    assert (logged["cut"], logged["status"]) == (1, 200)
    # The last one was on its way when it was cut.
    assert lines <= logged["tokens_out"] <= lines + 1
    wait_until(lambda: route.pod.stats["abandoned"] == 1, "the target knows that nobody listens", timeout=10)
    spent = logged["tokens_in"] + logged["tokens_out"]
    wait_until(lambda: route.tokens() - before == spent, f"{spent} tokens are charged", timeout=10)


def test_a_stream_that_ends_in_time_is_whole(route: Route) -> None:
    route.pod.play("chunks=3,gap=0.02")
    response = route.gateway.ask("direct", stream=True)
    assert response.text.endswith("data: [DONE]\n\n")
    assert route.gateway.logged(response)["cut"] == 0


def test_an_answer_that_is_complete_too_late_is_none(route: Route) -> None:
    """Its headers came in time."""
    with socket.create_server(("127.0.0.1", route.slow)) as server:

        def serve() -> None:
            taken, _ = server.accept()
            with taken:
                taken.recv(65536)
                taken.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n")
                for seconds, part in ((_SECONDS / 2, b" \n"), (_SECONDS * 1.5, b"{}")):
                    time.sleep(seconds)
                    taken.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        response = route.gateway.ask("blank")
        thread.join()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")


def test_what_was_never_answered_has_cost_nothing(route: Route) -> None:
    """503 and 504 of HAProxy itself: nobody is there, the queue took too long, the deadline has passed."""
    before = route.tokens()
    assert route.gateway.ask("absent").status_code == 503
    with route.pod.holding():
        assert route.gateway.ask("direct").status_code == 504
        wait_until(lambda: route.pod.in_flight == 0, "its place is free", timeout=10)
        with ThreadPoolExecutor(1) as thread:
            filling = thread.submit(route.gateway.ask, "lasting")
            wait_until(lambda: route.pod.in_flight == 1, "the place is taken", timeout=2, interval=0.02)
            assert route.gateway.ask("waiting").status_code == 503
            assert filling.result().status_code == 504
    wait_until(lambda: route.tokens() == before, "nothing is charged", timeout=10)


def test_who_dawdles_loses_the_connection(route: Route) -> None:
    """The rest of the body would be waited for as long as for an answer."""
    address = route.gateway.client.base_url
    with socket.create_connection((address.host, address.port or 80), timeout=_PATIENCE) as client:
        client.sendall(f"POST {gateway.CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
        began = time.monotonic()
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < _PATIENCE


def test_who_sends_a_header_for_ever_loses_the_connection(route: Route) -> None:
    """Each byte comes in time, the request never."""
    address = route.gateway.client.base_url
    with socket.create_connection((address.host, address.port or 80), timeout=0.1) as client:
        client.sendall(f"POST {gateway.CHAT} HTTP/1.1\r\nhost: x\r\nx-long: ".encode())
        began, answer = time.monotonic(), b""
        while not answer and time.monotonic() - began < _PATIENCE:
            try:
                answer = client.recv(65536)
            except TimeoutError:
                client.sendall(b"x")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"content-type: application/json" in answer
    assert b'"code": "request_timeout"' in answer
