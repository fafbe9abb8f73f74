"""Places, queues, and what is held for pods that are not there yet."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from agentfleet.gateway.types import Match, Rule
from e2e.cluster.shell import wait_until
from e2e.support import scripted
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import dns, gateway


def _rule(name: str, *targets: str, **fields: Any) -> Rule:
    return Rule(name, Match(models=(name,)), targets, **{"request_ms": 5000, **fields})


@dataclass
class Crowd:
    gateway: gateway.Gateway
    pods: list[Server]
    other: Server


@pytest.fixture(scope="module")
def crowd(zone: dns.Zone, port: int) -> Iterator[Crowd]:
    full = routes.target(0, "full", capacity=2)
    other = routes.target(1, "other")
    brief = _rule("brief", "t0", request_ms=1500)
    rules = (brief, _rule("waiting", "t0", request_ms=60_000), _rule("spilling", "t0", "t1", strategy="Weighted"))
    policy = routes.policy(full, other, rules=rules, queue_ms=2000)
    backends = tuple(routes.backend(each, port=port) for each in policy.targets)
    with (
        gateway.pods(zone, "full", 2, port, first=50) as pods,
        gateway.pods(zone, "other", 1, port, first=54) as (other_pod,),
        gateway.running(policy, routes.layout(policy, backends=backends), zone) as running,
    ):
        running.wait_for(pool_t0=2, pool_t1=1)
        yield Crowd(running, pods, other_pod)


def _at_once(route: gateway.Gateway, model: str, times: int, **more: Any) -> list[gateway.httpx.Response]:
    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(lambda _: route.ask(model, **more), range(times)))


def test_no_pod_gets_more_than_its_places(crowd: Crowd) -> None:
    for pod in crowd.pods:
        pod.forget()
        pod.play("delay=0.3")
    statuses = Counter(response.status_code for response in _at_once(crowd.gateway, "waiting", 12))
    assert statuses == {200: 12}
    assert [pod.peak for pod in crowd.pods] == [2, 2]


def test_who_waits_too_long_is_told_to_come_back(crowd: Crowd) -> None:
    for pod in crowd.pods:
        pod.play("delay=3")
    refused = [response for response in _at_once(crowd.gateway, "waiting", 6) if response.status_code != 200]
    assert {response.status_code for response in refused} == {503}
    assert len(refused) == 2
    assert refused[0].json()["error"]["code"] == "service_unavailable"
    assert int(refused[0].headers["retry-after"]) > 0


def test_what_finds_no_place_goes_to_the_next(crowd: Crowd) -> None:
    for pod in crowd.pods:
        pod.play("delay=1")
    answers = Counter(
        response.headers["x-served-by"].split("-")[0] for response in _at_once(crowd.gateway, "spilling", 12)
    )
    assert answers["other"] >= 6
    assert answers["full"] >= 3


def test_the_urgent_do_not_wait_behind_others(crowd: Crowd) -> None:
    for pod in crowd.pods:
        pod.play("delay=0.4")
    done: list[str] = []

    def ask(priority: str) -> None:
        if crowd.gateway.ask("waiting", headers={"x-agentroute-priority": priority}).status_code == 200:
            done.append(priority)

    order = ["normal"] * 4 + ["low"] * 3 + ["high"] * 3
    threads = [threading.Thread(target=ask, args=(each,)) for each in order]
    for thread in threads:
        thread.start()
        time.sleep(0.02)  # they shall come in this order
    for thread in threads:
        thread.join()
    waited = done[4:]
    assert waited.index("low") > waited.index("high")


def test_requests_are_held_until_there_is_a_pod(zone: dns.Zone, port: int) -> None:
    target = routes.target(0, "sleeper", scales_to_zero=True, capacity=3)
    policy = routes.policy(target, queue_ms=8000)
    backends = (routes.backend(target, port=port, service_port=port),)
    zone.set("sleeper.team.svc.cluster.local", "127.0.0.60")
    with gateway.running(policy, routes.layout(policy, backends=backends), zone) as running:
        wait_until(lambda: running.metrics_page("/readyz").text == "ok", "ready without a pod", timeout=10)
        with ThreadPoolExecutor(60) as threads:
            held = [threads.submit(running.ask, "auto") for _ in range(40)]
            wait_until(lambda: "hold_t0" in running.command("show sess all"), "they are held", timeout=5)
            with scripted.serving("sleeper-0", "delay=0.3", host="127.0.0.60", port=port) as pod:
                zone.set("sleeper-pods.team.svc.cluster.local", "127.0.0.60")
                running.wait_for(ready_t0=1)
                held += [threads.submit(running.ask, "auto") for _ in range(20)]
                statuses = Counter(each.result().status_code for each in held)
                assert statuses == {200: 60}
                assert pod.peak <= 3
                assert running.logged(running.ask("auto"))["server"].startswith("pool_t0/pod")


def test_who_waits_is_not_lost_with_the_last_pod(zone: dns.Zone, port: int) -> None:
    target = routes.target(0, "tired", capacity=1)
    policy = routes.policy(target, queue_ms=15_000)
    backends = (routes.backend(target, port=port, service_port=port),)
    zone.set("tired.team.svc.cluster.local", "127.0.0.62")
    zone.set("tired-pods.team.svc.cluster.local", "127.0.0.62")
    with (
        ThreadPoolExecutor(12) as threads,
        gateway.running(policy, routes.layout(policy, backends=backends), zone) as running,
    ):
        with scripted.serving("tired-0", "delay=0.5", host="127.0.0.62", port=port) as pod:
            running.wait_for(ready_t0=1)
            waiting = [threads.submit(running.ask, "auto") for _ in range(12)]
            wait_until(lambda: pod.in_flight == 1, "the place is taken", timeout=5, interval=0.02)
            zone.set("tired-pods.team.svc.cluster.local")
            running.wait_for(ready_t0=0)
        with scripted.serving("tired-1", host="127.0.0.62", port=port):
            zone.set("tired-pods.team.svc.cluster.local", "127.0.0.62")
            assert Counter(each.result().status_code for each in waiting) == {200: 12}
            running.wait_for(ready_t0=1)
            assert running.logged(running.ask("auto"))["server"].startswith("pool_t0/pod")


def test_a_pod_that_dies_loses_none_of_those_it_had(zone: dns.Zone, port: int) -> None:
    """Its name stays for a while: what it had is sent to an address where nobody is, until that is known."""
    target = routes.target(0, "mortal", capacity=2)
    policy = routes.policy(target, queue_ms=15_000)
    backends = (routes.backend(target, port=port, service_port=port),)
    zone.set("mortal.team.svc.cluster.local", "127.0.0.66")
    zone.set("mortal-pods.team.svc.cluster.local", "127.0.0.66")
    with (
        ThreadPoolExecutor(8) as threads,
        gateway.running(policy, routes.layout(policy, backends=backends), zone) as running,
    ):
        with scripted.serving("mortal-0", "delay=1,close_after=0", host="127.0.0.66", port=port) as pod:
            running.wait_for(ready_t0=1)
            waiting = [threads.submit(running.ask, "auto") for _ in range(8)]
            wait_until(lambda: pod.in_flight == 2, "its places are taken", timeout=5, interval=0.02)
        running.wait_for(ready_t0=0)
        with scripted.serving("mortal-1", host="127.0.0.66", port=port):
            assert Counter(each.result().status_code for each in waiting) == {200: 8}


def test_nobody_is_held_for_longer_than_the_queue_allows(zone: dns.Zone, port: int) -> None:
    target = routes.target(0, "never", scales_to_zero=True)
    policy = routes.policy(target, queue_ms=2000)
    zone.set("never.team.svc.cluster.local", "127.0.0.61")
    backends = (routes.backend(target, port=port, service_port=port),)
    with gateway.running(policy, routes.layout(policy, backends=backends), zone) as running:
        wait_until(lambda: running.metrics_page("/readyz").text == "ok", "ready without a pod", timeout=10)
        began = time.monotonic()
        response = running.ask("auto")
        assert 1 < time.monotonic() - began < 4
        assert response.status_code == 503


def test_an_answer_after_its_deadline_is_none(crowd: Crowd) -> None:
    """HAProxy's limit begins after the queue; the time in it counts all the same."""
    for pod in crowd.pods:
        pod.play("delay=1.2")
    with ThreadPoolExecutor(4) as threads:
        filling = [threads.submit(crowd.gateway.ask, "waiting") for _ in range(4)]
        wait_until(lambda: sum(pod.in_flight for pod in crowd.pods) == 4, "all are busy", timeout=5, interval=0.02)
        late = crowd.gateway.ask("brief")
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
        assert {each.result().status_code for each in filling} == {200}


def test_headers_long_before_the_answer(zone: dns.Zone, port: int) -> None:
    """Some clouds send white space until the answer is there."""
    target = routes.target(0, "blank", kind="External")
    policy = routes.policy(target)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            taken, _ = server.accept()
            with taken:
                taken.recv(65536)
                taken.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for _ in range(11):
                    time.sleep(1)
                    taken.sendall(b"1\r\n\n\r\n")
                taken.sendall(b"2\r\n{}\r\n0\r\n\r\n")

        place = {"host": "127.0.0.1", "port": server.getsockname()[1]}
        layout = routes.layout(policy, backends=(routes.backend(target, **place),))
        quiet = {
            f"server endpoint {place['host']}:{place['port']} check inter 5s fall 2 rise 1": "server endpoint "
            + ":".join(map(str, place.values()))
        }
        with gateway.running(policy, layout, zone, changed=quiet) as running:
            thread = threading.Thread(target=serve)
            thread.start()
            assert running.ask("auto").json() == {}
            thread.join()


def test_a_pod_that_is_gone_hurts_nobody(zone: dns.Zone, port: int) -> None:
    target = routes.target(0, "pair")
    policy = routes.policy(target)
    backends = (routes.backend(target, port=port, hashed=True),)
    with (
        gateway.pods(zone, "pair", 2, port, first=64) as (_first, second),
        gateway.running(policy, routes.layout(policy, backends=backends), zone) as running,
    ):
        running.wait_for(pool_t0=2)
        second.play("close_after=0,health=503")
        assert {running.ask("auto", f"text {number}").status_code for number in range(20)} == {200}
        running.wait_for(pool_t0=1)
