"""Places, queues, and what is held for pods that are not there yet."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from agentfleet.gateway.haproxy_backends import RAMP
from agentfleet.gateway.haproxy_process import MOST_AT_ONCE
from agentfleet.gateway.types import Match, Rule
from e2e.cluster.shell import wait_until
from e2e.support import scripted
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import crowds, dns, gateway


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
    other = routes.target(1, "other", weight=0)
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


@contextmanager
def _full(crowd: Crowd) -> Iterator[None]:
    """In the block all places of `full` are taken."""
    with ThreadPoolExecutor(1) as thread:
        with ExitStack() as held:
            for pod in crowd.pods:
                held.enter_context(pod.holding())
            sent = thread.submit(crowds.at_once, [crowd.gateway], "waiting", 4)
            taken = "all places are taken"
            wait_until(lambda: [pod.in_flight for pod in crowd.pods] == [2, 2], taken, timeout=5, interval=0.02)
            yield
        assert {answer.status for answer in sent.result()} == {200}


def test_no_pod_gets_more_than_its_places(crowd: Crowd) -> None:
    for pod in crowd.pods:
        pod.forget()
    with ThreadPoolExecutor(1) as thread:
        with _full(crowd):
            sent = thread.submit(crowds.at_once, [crowd.gateway], "waiting", 8)
            wait_until(lambda: crowd.gateway.waiting("pool_t0") == 8, "all others wait", timeout=5, interval=0.02)
        assert Counter(answer.status for answer in sent.result()) == {200: 8}
    assert [pod.peak for pod in crowd.pods] == [2, 2]


def test_who_waits_too_long_is_told_to_come_back(crowd: Crowd) -> None:
    with _full(crowd):
        refused = crowd.gateway.ask("waiting")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert int(refused.headers["retry-after"]) > 0


def test_what_finds_no_place_goes_to_the_next(crowd: Crowd) -> None:
    with _full(crowd):
        served_by = {crowd.gateway.ask("spilling").headers["x-served-by"] for _ in range(8)}
    assert served_by == {"other-0"}
    assert crowd.gateway.ask("spilling").headers["x-served-by"].startswith("full-")


def test_the_urgent_do_not_wait_behind_others(zone: dns.Zone, port: int) -> None:
    """At one place, so that they are served in an order."""
    said = {"low": "later will do", "high": "now"}
    place: dict[str, Any] = {"host": "127.0.0.70", "port": port}
    with (
        scripted.serving("urgent-0", **place) as pod,
        _one_pod(zone, port, "urgent", place["host"], 1) as running,
        ThreadPoolExecutor(7) as threads,
    ):
        running.wait_for(ready_t0=1)
        with pod.holding():
            sent = [threads.submit(running.ask, "auto")]
            wait_until(lambda: pod.in_flight == 1, "the place is taken", timeout=5, interval=0.02)
            for waiting, priority in enumerate(["low"] * 3 + ["high"] * 3, start=1):
                headers = {"x-agentroute-priority": priority}
                sent.append(threads.submit(running.ask, "auto", said[priority], headers=headers))
                wait_until(partial(_so_many_wait, running, waiting), "it waits", timeout=5, interval=0.02)
        assert {each.result().status_code for each in sent} == {200}
        sizes = [request.size for request in pod.requests[1:]]
    low, high = max(sizes), min(sizes)
    assert sizes == [high] * 3 + [low] * 3


def _so_many_wait(running: gateway.Gateway, count: int) -> bool:
    return running.waiting("pool_t0") == count


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
            with scripted.serving("sleeper-0", "delay=0.1", host="127.0.0.60", port=port) as pod:
                zone.set("sleeper-pods.team.svc.cluster.local", "127.0.0.60")
                running.wait_for(ready_t0=1)
                held += [threads.submit(running.ask, "auto") for _ in range(20)]
                statuses = Counter(each.result().status_code for each in held)
                assert statuses == {200: 60}
                assert pod.peak <= 3
                assert running.logged(running.ask("auto"))["server"].startswith("pool_t0/pod")


def test_the_first_pod_does_not_get_all_that_were_held_at_once(zone: dns.Zone, port: int) -> None:
    """Also where nobody has said how many it can take."""
    place: dict[str, Any] = {"host": "127.0.0.63", "port": port}
    crowd = 5 * RAMP
    with ThreadPoolExecutor(crowd) as threads, _one_pod(zone, port, "early", place["host"]) as running:
        held = [threads.submit(running.ask, "auto") for _ in range(crowd)]
        wait_until(lambda: _at_this_moment(running, "hold_t0", "BACKEND") == crowd, "all are held", timeout=10)
        with scripted.serving("early-0", "delay=0.3", **place) as pod:
            assert Counter(each.result().status_code for each in held) == {200: crowd}
            assert pod.peak == RAMP


@contextmanager
def _one_pod(
    zone: dns.Zone, port: int, name: str, address: str, places: int | None = None
) -> Iterator[gateway.Gateway]:
    """A route to one target with so many places (None is no limit), whose pods come and go at one address."""
    target = routes.target(0, name, capacity=places)
    policy = routes.policy(target, queue_ms=15_000)
    backends = (routes.backend(target, port=port, service_port=port),)
    for each in (name, f"{name}-pods"):
        zone.set(f"{each}.team.svc.cluster.local", address)
    with gateway.running(policy, routes.layout(policy, backends=backends), zone) as running:
        yield running


def test_who_waits_is_not_lost_with_the_last_pod(zone: dns.Zone, port: int) -> None:
    place: dict[str, Any] = {"host": "127.0.0.62", "port": port}
    with ThreadPoolExecutor(12) as threads, _one_pod(zone, port, "tired", place["host"], 1) as running:
        with scripted.serving("tired-0", "delay=0.5", **place) as pod:
            running.wait_for(ready_t0=1)
            waiting = [threads.submit(running.ask, "auto") for _ in range(12)]
            wait_until(lambda: pod.in_flight == 1, "the place is taken", timeout=5, interval=0.02)
            zone.set("tired-pods.team.svc.cluster.local")
            running.wait_for(ready_t0=0)
        with scripted.serving("tired-1", **place):
            zone.set("tired-pods.team.svc.cluster.local", place["host"])
            assert Counter(each.result().status_code for each in waiting) == {200: 12}
            running.wait_for(ready_t0=1)
            assert running.logged(running.ask("auto"))["server"].startswith("pool_t0/pod")


def test_a_pod_that_dies_loses_none_of_those_it_had(zone: dns.Zone, port: int) -> None:
    """Its name stays for a while: what it had is sent to an address where nobody is, until that is known."""
    place: dict[str, Any] = {"host": "127.0.0.66", "port": port}
    with ThreadPoolExecutor(8) as threads, _one_pod(zone, port, "mortal", place["host"], 2) as running:
        with scripted.serving("mortal-0", "delay=1,close_after=0", **place) as pod:
            running.wait_for(ready_t0=1)
            waiting = [threads.submit(running.ask, "auto") for _ in range(8)]
            wait_until(lambda: pod.in_flight == 2, "its places are taken", timeout=5, interval=0.02)
        running.wait_for(ready_t0=0)
        with scripted.serving("mortal-1", **place):
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
    with ThreadPoolExecutor(1) as thread:
        with _full(crowd):
            for pod in crowd.pods:
                pod.play("delay=1.3")  # HAProxy's limit of 1.5 s lets it pass
            asked = thread.submit(crowd.gateway.ask, "brief")
            wait_until(lambda: crowd.gateway.waiting("pool_t0") == 1, "it waits", timeout=1, interval=0.02)
            time.sleep(0.5)  # with these it is too late
        late = asked.result()
    for pod in crowd.pods:
        pod.play("")
    assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")


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


def test_a_full_gateway_still_answers_its_probes(zone: dns.Zone, port: int) -> None:
    """Else kubelet would end it, with all that it has."""
    target = routes.target(0, "busy")
    policy = routes.policy(target)
    layout = routes.layout(policy, backends=(routes.backend(target, port=port),))
    full = {f"maxconn {MOST_AT_ONCE}": "maxconn 20"}
    with (
        ExitStack() as clients,
        gateway.pods(zone, "busy", 1, port, first=68),
        gateway.running(policy, layout, zone, changed=full) as running,
    ):
        running.wait_for(pool_t0=1)
        url = running.client.base_url
        for _ in range(20):
            clients.enter_context(socket.create_connection((url.host, url.port or 80)))
        taken = "all places are taken"
        wait_until(lambda: _at_this_moment(running, "route", "FRONTEND") == 20, taken, timeout=5, interval=0.02)
        with pytest.raises(gateway.httpx.ReadTimeout):
            running.client.get("/v1/models", timeout=0.5)
        assert running.metrics_page("/healthz").text == "ok"
        assert running.metrics_page("/readyz").text == "ok"
        clients.close()
        assert running.client.get("/v1/models").status_code == 200


def _at_this_moment(running: gateway.Gateway, proxy: str, side: str) -> int:
    """Sessions of a frontend (its clients' connections) or of a backend."""
    names, *rows = (line.split(",") for line in running.command("show stat").splitlines() if line)
    row = next(row for row in rows if row[:2] == [proxy, side])
    return int(row[names.index("scur")])
