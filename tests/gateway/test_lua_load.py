"""What a gateway knows by itself: loads from HAProxy, shares of escalation, draws and turns, the decider's answers.

Real backends of a real HAProxy; the pods behind them answer late on demand.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agentfleet.gateway.types import Escalate, Match, Policy, Rule, Strategy, Target
from e2e.support.ports import free_port
from tests.gateway.lua.gateway import Answer, Gateway, running

BODY = json.dumps({"messages": [{"role": "user", "content": "hi"}], "model": "auto"}).encode()
HEADERS = {"x-test-endpoint": "chat/completions"}
SLOW = {**HEADERS, "x-slow": "yes"}
_POD = """\
frontend pod
  bind unix@{folder}/pod.sock
  http-request pause 3s if {{ req.hdr(x-slow) -m found }}
  http-request pause 80ms
  http-request return status 200
"""


def target(number: int, **fields: Any) -> Target:
    return Target(f"t{number}", f"name-{number}", "ModelServer", f"m{number}", (f"model/n{number}",), **fields)


def two(queue_max: int = 1000, capacity: int | None = 1, **fields: Any) -> Policy:
    rule = Rule("all", Match(), ("t0",), fallback=("t1",), **fields)
    targets = (target(0, capacity=capacity), target(1, capacity=capacity))
    return Policy("team", "r", ("auto",), targets, rules=(rule,), queue_max=queue_max)


def pods(folder: Path, count: int = 1, options: str = "maxconn 1") -> str:
    return "\n".join(f"  server pod-{number} unix@{folder}/pod.sock {options}" for number in range(count))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"after 10 s still not: {what}")
        time.sleep(0.01)


@contextmanager
def in_flight(gateway: Gateway, count: int, headers: dict[str, str]) -> Iterator[None]:
    """So many requests that are answered late."""

    def send() -> Answer:
        other = gateway.another()
        try:
            return other.post("/v1/chat/completions", BODY, headers)
        finally:
            other.close()

    with ThreadPoolExecutor(count) as pool:
        sent = [pool.submit(send) for _ in range(count)]
        yield
        assert {each.result().status for each in sent} == {200}


def reason(gateway: Gateway) -> tuple[str, list[str], bool]:
    found = gateway.dry_run(BODY, HEADERS)
    return found["reason"], found["plan"], found["hold"]


def test_pods_that_are_ready_are_counted(tmp_path: Path) -> None:
    pools = {"t0": pods(tmp_path, options="disabled"), "t1": pods(tmp_path)}
    with running(tmp_path, two(), pools=pools, more=_POD.format(folder=tmp_path)) as gateway:
        assert reason(gateway) == ("Spill", ["name-1"], False)
        body = BODY.replace(b'"auto"', b'"model/n0"')
        assert gateway.dry_run(body, HEADERS)["hold"] is True


def test_requests_in_flight_fill_a_target(tmp_path: Path) -> None:
    pools = {"t0": pods(tmp_path, 2), "t1": pods(tmp_path)}
    with running(tmp_path, two(), pools=pools, more=_POD.format(folder=tmp_path)) as gateway:
        with in_flight(gateway, 1, SLOW):
            until(lambda: gateway.decide(BODY, HEADERS)["plan"] == "t0,t1", "one of two places is free")
            with in_flight(gateway, 1, SLOW):
                until(lambda: reason(gateway) == ("Spill", ["name-1", "name-0"], False), "both pods are busy")
        assert reason(gateway) == ("Rule", ["name-0", "name-1"], False)


def test_the_queue_has_an_end(tmp_path: Path) -> None:
    """One is answered and one waits at each target; then there is no place."""
    pools = {"t0": pods(tmp_path), "t1": pods(tmp_path)}
    steps = [("t0", "t1"), ("t1", "t0"), ("t0", "t1"), ("t1", "")]
    with (
        running(tmp_path, two(queue_max=1), pools=pools, more=_POD.format(folder=tmp_path)) as gateway,
        ExitStack() as sent,
    ):
        for taken, free in steps:
            assert gateway.decide(BODY, HEADERS)["target"] == taken
            sent.enter_context(in_flight(gateway, 1, SLOW))
            until(lambda free=free: gateway.decide(BODY, HEADERS)["target"] == free, f"{taken} has a request more")  # type: ignore[misc]
        found = gateway.decide(BODY, HEADERS)
        assert (found["status"], found["code"]) == ("429", "queue_full")


def test_requests_that_are_held_count(tmp_path: Path) -> None:
    """At the gate of a target without pods, and at the gateway that owns a target's count."""
    more = _POD.format(folder=tmp_path) + f"backend hold_t0\n{pods(tmp_path)}\nbackend own_t1\n{pods(tmp_path)}\n"
    asleep = Policy("team", "r", ("auto",), (target(0, scales_to_zero=True), target(1, capacity=1)), queue_max=1)
    named = BODY.replace(b'"auto"', b'"model/n0"')
    rules = "  use_backend own_t1 if { req.hdr(x-own) -m found }\n"
    pools = {"t0": pods(tmp_path, options="disabled"), "t1": pods(tmp_path)}
    with running(tmp_path, asleep, pools=pools, rules=rules, more=more) as gateway:
        found = gateway.decide(named, HEADERS)
        assert (found["target"], found["hold"]) == ("t0", "1")
        other = gateway.another()
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(other.post, "/v1/chat/completions", named, SLOW)
            until(lambda: gateway.decide(named, HEADERS)["code"] == "queue_full", "one is held, and one may be")
            assert held.result().status == 200
        other.close()
        with in_flight(gateway, 1, {**SLOW, "x-own": "yes"}):
            until(lambda: "t1" not in gateway.decide(BODY, HEADERS)["plan"][:2], "the owner's requests fill t1")


def test_the_share_of_escalation_is_kept(tmp_path: Path) -> None:
    escalate = Escalate(("t1",), complexity=("Complex",), max_percent=30)
    with running(tmp_path, two(capacity=None, escalate=escalate)) as gateway:
        headers = {**HEADERS, "x-test-complexity": "Complex"}
        assert gateway.dry_run(BODY, headers)["reason"] == "Escalated"
        found = [gateway.decide(BODY, headers)["reason"] for _ in range(100)]
        assert found[:5] == ["Escalated", "Rule", "Rule", "Rule", "Escalated"]
        assert Counter(found) == {"Escalated": 30, "Rule": 70}
        for _ in range(100):
            assert gateway.dry_run(BODY, headers)["reason"] == "Rule", "dry runs must not count"
        assert [gateway.decide(BODY, headers)["reason"] for _ in range(2)] == ["Rule", "Escalated"]


_TIMED = """\
  http-response set-var(proc.latency_t0) int({milliseconds}000)
  http-response set-var(proc.latency_at_t0) date(-{age})
"""


def test_slow_targets_escalate_until_nothing_is_known_of_them(tmp_path: Path) -> None:
    slow, before = (_TIMED.format(milliseconds=80, age=age) for age in (0, 55))
    pools = {"t0": slow + pods(tmp_path), "t1": pods(tmp_path)}
    policy = two(escalate=Escalate(("t1",), latency_ms=40))
    with running(tmp_path, policy, pools=pools, more=_POD.format(folder=tmp_path)) as gateway:
        assert reason(gateway)[0] == "Rule"
        gateway.post("/v1/chat/completions", BODY, HEADERS)
        assert reason(gateway)[0] == "Escalated"
    pools["t0"] = before + pods(tmp_path)
    with running(tmp_path, policy, pools=pools, more=_POD.format(folder=tmp_path)) as gateway:
        gateway.post("/v1/chat/completions", BODY, HEADERS)
        assert reason(gateway)[0] == "Escalated"
        until(lambda: reason(gateway)[0] == "Rule", "after a minute without an answer it is tried again")


def _first_targets(folder: Path, strategy: Strategy, count: int) -> list[str]:
    targets = (target(0, weight=3), target(1, weight=1), target(2, weight=0))
    rule = Rule("all", Match(), ("t0", "t1", "t2"), strategy=strategy)
    with running(folder, Policy("team", "r", ("auto",), targets, rules=(rule,))) as gateway:
        bodies = [BODY.replace(b'"hi"', f'"conversation {number}"'.encode()) for number in range(count)]
        return [gateway.decide(body, HEADERS)["target"] for body in bodies]


def test_weights(tmp_path: Path) -> None:
    found = Counter(_first_targets(tmp_path, "Weighted", 2000))
    assert set(found) == {"t0", "t1"}
    assert 1400 < found["t0"] < 1600


def test_round_robin(tmp_path: Path) -> None:
    found = _first_targets(tmp_path, "RoundRobin", 300)
    assert Counter(found) == {"t0": 100, "t1": 100, "t2": 100}
    assert len(set(found[:3])) == 3


def test_sticky_conversations_are_spread(tmp_path: Path) -> None:
    found = Counter(_first_targets(tmp_path, "Sticky", 600))
    assert all(150 < count < 250 for count in found.values())


_DECIDER = """\
frontend decider
  bind 127.0.0.1:{port}
  http-request wait-for-body time 1s
  http-request pause 8s if {{ req.body -m sub slow }}
  http-request deny status 500 if {{ req.body -m sub wrong }}
  http-request return status 200 if {{ req.body -m sub unsure }}
  http-request return status 200 hdr x-intent %[req.hdr(x-agentroute-want)] hdr x-complexity Complex if {{ req.body -m str hello }}
"""  # noqa: E501


def test_the_decider_is_asked_and_never_waited_for_long(tmp_path: Path) -> None:
    port = free_port()
    rules = (
        f"  http-request lua.ask http://127.0.0.1:{port}/decide 1500 both\n"
        '  http-request return status 200 content-type text/plain lf-string "%[var(txn.intent)] %[var(txn.cplx)]"\n'
    )
    with running(tmp_path, two(), rules=rules, more=_DECIDER.format(port=port)) as gateway:

        def asked(word: str) -> tuple[bytes, float]:
            start = time.monotonic()
            body = BODY.replace(b'"hi"', f'"{word}"'.encode())
            return gateway.post("/v1/chat/completions", body, HEADERS).body, time.monotonic() - start

        assert asked("hello")[0] == b"both Complex"
        for word in ("unsure", "wrong", "slow", ""):
            answer, took = asked(word)
            assert answer == b" ", word
            assert took < 7, word
