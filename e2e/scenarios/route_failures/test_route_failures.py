"""Failures: another target takes over after each cause, larger ones what the own should not do, and nothing that has
effects is done twice.

All targets are scripted: they fail as they are told.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from e2e.scenarios import scripted
from e2e.scenarios.routes import LOOKS, Answer, Ask, Route, route, wait_ready
from e2e.scenarios.scenario import Scenario

SERVERS = ("one", "two", "narrow", "cloud")
LONELY = "lonely"
"""A ModelServer with one pod."""
_HARD = "Analyse the architecture of our whole system step by step and prove that the design is safe, then compare it."
_CAUSES = {
    "rate limited": "status=429,retry_after=30",
    "internal error": "status=500",
    "unavailable": "status=503",
    "overloaded": "status=529",
    "timeout": "delay=9",
    "closed connection": "close_after=0",
}
Servers = Mapping[str, httpx.Client]


@pytest.fixture(scope="module")
def servers(scenario: Scenario) -> Iterator[Servers]:
    """The scripted servers by name, past the route."""
    scripted.apply_engines(scenario, scripted.model_server(LONELY))
    scripted.apply_all(scenario, *SERVERS)
    with ExitStack() as stack:
        yield {name: stack.enter_context(scripted.control(scenario, name)) for name in SERVERS}


@pytest.fixture(scope="module")
def sturdy(scenario: Scenario, servers: Servers) -> Iterator[Route]:
    """The route."""
    scenario.wait_ready(LONELY)
    scenario.apply("route.yaml")
    wait_ready(scenario, "sturdy")
    with route(scenario, "sturdy", "sk-alice") as found:
        scenario.until(
            # each look comes to either gateway
            lambda: all(_ready(found) == {*SERVERS, LONELY} for _ in range(LOOKS)),
            "both gateways reach all targets",
        )
        yield found


def _ready(sturdy: Route) -> set[str]:
    targets = sturdy.get("/health").json()["targets"]
    return {target["name"] for target in targets if target["status"] == "ready"}


@pytest.fixture(autouse=True)
def _fresh(servers: Servers) -> None:
    for server in servers.values():
        server.delete("/stats").raise_for_status()


@contextmanager
def _playing(server: httpx.Client, script: str) -> Iterator[None]:
    server.put("/script", content=script).raise_for_status()
    try:
        yield
    finally:
        server.put("/script", content="").raise_for_status()


def _received(servers: Servers) -> dict[str, int]:
    counts = {name: int(server.get("/stats").json()["received"]) for name, server in servers.items()}
    return {name: count for name, count in counts.items() if count}


def _took_over(answer: Answer, target: str, attempt: str = "2") -> bool:
    return (answer.status, answer.target, answer.decision["attempt"]) == (200, target, attempt)


@pytest.mark.parametrize("cause", _CAUSES)
def test_another_target_takes_over(sturdy: Route, servers: Servers, cause: str) -> None:
    with _playing(servers["one"], _CAUSES[cause]):
        answer = sturdy.ask("any")
        assert _took_over(answer, "two"), answer
        assert answer.pod.startswith("two")
        assert answer.seconds < 8, answer  # it does not wait for an answer that takes 9
        streamed = sturdy.ask("any", body={"stream": True})
        assert _took_over(streamed, "two"), streamed
        assert streamed.content.endswith(b"data: [DONE]\n\n")
    assert _received(servers)["two"] == 2


def test_what_is_wrong_with_a_request_stays_wrong(sturdy: Route, servers: Servers) -> None:
    with _playing(servers["one"], "status=400"):
        assert sturdy.ask("any").status == 400
    assert _received(servers) == {"one": 1}


def test_only_the_causes_of_the_rule_count(sturdy: Route, servers: Servers) -> None:
    with _playing(servers["one"], "status=503"):
        assert sturdy.ask("limited").status == 503
    with _playing(servers["one"], "status=429"):
        assert _took_over(sturdy.ask("limited"), "two")
    assert _received(servers) == {"one": 2, "two": 1}


@pytest.mark.parametrize("cause", _CAUSES)
def test_what_has_effects_is_never_sent_twice(sturdy: Route, servers: Servers, cause: str) -> None:
    with _playing(servers["one"], _CAUSES[cause]):
        answer = sturdy.ask("once")
    assert answer.status in (429, 500, 502, 503, 504), answer
    assert answer.json["error"]["message"]
    assert _received(servers) == {"one": 1}


def test_there_is_one_deadline_over_all_attempts(sturdy: Route, servers: Servers) -> None:
    answer = sturdy.ask("deadline", script="delay=10")
    assert answer.status == 504, answer
    assert 3.5 < answer.seconds < 5.8, answer  # 6 s were two with a time of their own
    assert _received(servers) == {"one": 1, "two": 1}


def test_the_last_answer_is_given_where_all_fail(sturdy: Route, servers: Servers) -> None:
    answer = sturdy.ask("any", script="status=500")
    assert (answer.status, answer.json["error"]["message"]) == (500, "scripted 500"), answer
    assert _received(servers) == {"one": 1, "two": 1}


def test_who_is_full_passes_on(sturdy: Route, servers: Servers) -> None:
    answers = sturdy.burst([Ask("spilled", script="delay=1.5", after=index * 0.05) for index in range(8)])
    assert {answer.status for answer in answers} == {200}
    stats = servers["narrow"].get("/stats").json()
    # An endpoint outside has its places at each of the two gateways.
    assert 1 <= stats["peak"] == stats["received"] <= 2, stats
    assert _received(servers)["two"] == 8 - stats["received"]


def test_hard_questions_escalate(sturdy: Route) -> None:
    hard, easy = sturdy.ask("hard", _HARD), sturdy.ask("hard", "Hello")
    assert (hard.target, hard.decision["reason"], hard.decision["complexity"]) == ("cloud", "Escalated", "Complex")
    assert (easy.target, easy.decision["reason"]) == ("two", "Rule"), easy


def test_only_so_many_escalate(sturdy: Route, servers: Servers) -> None:
    for _ in range(40):
        assert sturdy.ask("capped", _HARD).status == 200
    received = _received(servers)
    assert 5 <= received["cloud"] <= 14, received  # a quarter, at each of the two gateways
    assert received["cloud"] + received["two"] == 40


def test_a_long_queue_escalates(sturdy: Route, servers: Servers) -> None:
    answers = sturdy.burst([Ask("deep", script="delay=0.5", after=index * 0.1) for index in range(14)])
    assert {answer.status for answer in answers} == {200}, [str(each) for each in answers if each.status != 200]
    escalated = [answer for answer in answers if answer.target == "cloud"]
    assert escalated
    assert {answer.decision["reason"] for answer in escalated} == {"Escalated"}
    assert servers["narrow"].get("/stats").json()["peak"] <= 2


def test_a_slow_target_escalates(scenario: Scenario, sturdy: Route, servers: Servers) -> None:
    with _playing(servers["two"], "delay=0.6"):
        scenario.until(
            lambda: sturdy.ask("slow").decision["reason"] == "Escalated", "what would be slow escalates", timeout=25
        )
    assert _received(servers)["cloud"] >= 1


def test_who_waits_for_the_only_pod_waits_for_its_successor(
    scenario: Scenario, sturdy: Route, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two are with the pod when it dies, the others in the queue before it, and all are answered."""
    (pod,) = scenario.children("Pod", LONELY)
    asks = [Ask(f"model/{LONELY}", script="delay=2")] * 8
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(sturdy.burst, asks)
        time.sleep(1)
        name = pod["metadata"]["name"]
        scenario.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
        answers = answering.result()
    with capsys.disabled():
        print(f"\nthe only pod died: the slowest of 8 took {max(answer.seconds for answer in answers):.1f} s")
    assert {answer.status for answer in answers} == {200}, [str(each) for each in answers if each.status != 200]
    assert {answer.pod for answer in answers} - {name}, "no other pod has answered"


def test_nobody_there(scenario: Scenario, sturdy: Route, servers: Servers) -> None:
    """First connections are refused; once health checks have seen it, nothing is sent there at all."""
    scenario.kubectl("scale", "deployment/one", "--replicas=0")
    scenario.until(lambda: sturdy.ask("any").target == "two", "the other one takes over", timeout=20)
    for _ in range(10):
        answer = sturdy.ask("any")
        assert (answer.status, answer.target) == (200, "two"), answer
    scenario.until(lambda: "one" not in _ready(sturdy), "the gateway knows", timeout=20)
    for _ in range(4):
        answer = sturdy.ask("any")
        assert (answer.status, answer.target) == (200, "two"), answer
    assert "one" not in _received({name: servers[name] for name in ("two", "narrow", "cloud")})
