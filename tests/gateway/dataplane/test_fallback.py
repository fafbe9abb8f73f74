"""Who takes over: after answered errors, timeouts, lost connections; when all is full; when nothing is there yet."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from agentfleet.gateway.types import Escalate, Match, Rule
from e2e.support.scripted import Server
from tests.gateway import routes
from tests.gateway.dataplane import dns, gateway


def _rule(name: str, *targets: str, **fields: Any) -> Rule:
    return Rule(name, Match(models=(name,)), targets, **{"request_ms": 5000, **fields})


@dataclass
class Chain:
    gateway: gateway.Gateway
    a: Server
    b: Server
    c: Server
    agent: Server

    def ask(self, model: str, **more: Any) -> tuple[int, str, str]:
        """Status, who answered, and the attempt."""
        response = self.gateway.ask(model, **more)
        attempt = response.headers["x-agentroute-decision"].rpartition("attempt=")[2]
        return response.status_code, response.headers.get("x-served-by", ""), attempt


@pytest.fixture(scope="module")
def running(zone: dns.Zone, port: int) -> Iterator[Chain]:
    a, b, c = (routes.target(number, name) for number, name in enumerate("abc"))
    agent = routes.target(3, "agent", kind="Agent", side_effects=True)
    rules = (
        _rule("all", "t0", "t1", "t2", strategy="Weighted"),
        _rule("limited-only", "t0", "t1", strategy="Weighted", when=("RateLimited",)),
        _rule("hurried", "t0", "t1", strategy="Weighted", first_byte_ms=1000, request_ms=10_000),
        _rule("short", "t0", "t1", strategy="Weighted", request_ms=1500, when=("Timeout",)),
        _rule("acting", "t3", "t1", strategy="Weighted"),
        _rule("to-agent", "t0", "t3", "t1", strategy="Weighted"),
        _rule("awake", "t4", fallback=("t1",), when=("ColdStart",)),
        _rule("patient", "t4", fallback=("t1",)),
        _rule("replaced", "t5", fallback=("t1",), when=("NoEndpoint",)),
        _rule("faithful", "t5", fallback=("t1",), when=("ColdStart",)),
        _rule("larger", "t5", escalate=Escalate(("t2",), no_endpoint=True), when=()),
        _rule("content", "t0", escalate=Escalate(("t2",), no_endpoint=True), when=()),
    )
    weights = {"t0": 1, "t1": 0, "t2": 0, "t3": 1}
    targets = [
        routes.target(
            int(each.id[1:]), each.name, kind=each.kind, side_effects=each.side_effects, weight=weights[each.id]
        )
        for each in (a, b, c, agent)
    ]
    podless = (routes.target(4, "asleep", scales_to_zero=True), routes.target(5, "away"))
    policy = routes.policy(*targets, *podless, rules=rules)
    backends = tuple(routes.backend(each, port=port, service_port=port) for each in policy.targets)
    with (
        gateway.pods(zone, "a", 1, port, first=40) as (one,),
        gateway.pods(zone, "b", 1, port, first=41) as (two,),
        gateway.pods(zone, "c", 1, port, first=42) as (three,),
        gateway.pods(zone, "agent", 1, port, first=43) as (four,),
        gateway.running(policy, routes.layout(policy, backends=backends), zone) as running,
    ):
        running.wait_for(pool_t0=1, pool_t1=1, pool_t2=1, pool_t3=1)
        yield Chain(running, one, two, three, four)


@pytest.fixture
def chain(running: Chain) -> Chain:
    for server in (running.a, running.b, running.c, running.agent):
        server.play("")
        server.forget()
    return running


@pytest.mark.parametrize(
    "script", ["status=429", "status=500", "status=502", "status=503", "status=504", "status=529", "close_after=0"]
)
def test_an_answered_error_goes_to_the_next(chain: Chain, script: str) -> None:
    chain.a.play(script)
    assert chain.ask("all") == (200, "b-0", "2")
    assert chain.ask("all", stream=True) == (200, "b-0", "2")
    chain.b.play(script)
    assert chain.ask("all") == (200, "c-0", "3")


def test_who_answered_is_in_header_and_audit(chain: Chain) -> None:
    chain.a.play("status=500")
    response = chain.gateway.ask("all")
    assert "target=b;" in response.headers["x-agentroute-decision"]
    assert response.json()["model"] == "b-id"
    line = chain.gateway.logged(response)
    assert (line["target"], line["attempts"], line["plan"]) == ("b", 2, "t0,t1,t2")
    assert not [name for name in response.headers if name.startswith("x-af-")]


@pytest.mark.parametrize(
    ("model", "served_by", "reason"),
    [
        ("awake", "b-0", "Spill"),
        ("replaced", "b-0", "Spill"),
        ("larger", "c-0", "Escalated"),
        ("content", "a-0", "Rule"),
    ],
)
def test_who_takes_over_from_a_target_without_pods(chain: Chain, model: str, served_by: str, reason: str) -> None:
    response = chain.gateway.ask(model)
    assert (response.status_code, response.headers["x-served-by"]) == (200, served_by)
    assert f"reason={reason};" in response.headers["x-agentroute-decision"]


@pytest.mark.parametrize(("model", "target"), [("patient", "asleep"), ("faithful", "away")])
def test_a_target_without_pods_is_waited_for(chain: Chain, model: str, target: str) -> None:
    """Where the rule does not name its cause; by a dry run, as it would be a long one."""
    response = chain.gateway.ask(model, headers={"x-agentroute-dry-run": "true"})
    assert response.json()["plan"][0] == target


def test_what_is_the_clients_fault_goes_nowhere_else(chain: Chain) -> None:
    chain.a.play("status=400")
    assert chain.ask("all") == (400, "a-0", "1")
    assert chain.b.received == 0


def test_the_last_answer_is_the_clients(chain: Chain) -> None:
    for server in (chain.a, chain.b, chain.c):
        server.play("status=503,retry_after=7")
    response = chain.gateway.ask("all")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["message"] == "scripted 503"


def test_only_causes_that_the_rule_names(chain: Chain) -> None:
    chain.a.play("status=429")
    assert chain.ask("limited-only") == (200, "b-0", "2")
    chain.a.play("status=500")
    assert chain.ask("limited-only")[0] == 500


def test_a_slow_first_byte(chain: Chain) -> None:
    with chain.a.holding():
        began = time.monotonic()
        assert chain.ask("hurried") == (200, "b-0", "2")
        assert time.monotonic() - began > 0.9


def test_one_deadline_over_all_attempts(chain: Chain) -> None:
    """Each with its own would take 3 s."""
    with chain.a.holding(), chain.b.holding():
        began = time.monotonic()
        response = chain.gateway.ask("short")
        assert 1.4 < time.monotonic() - began < 2.9
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "timeout"


def test_an_answer_that_has_begun_is_never_repeated(chain: Chain) -> None:
    chain.a.play("close_after=2,chunks=5")
    with pytest.raises(gateway.httpx.RemoteProtocolError):
        chain.gateway.ask("all", stream=True)
    assert chain.b.received == 0


def test_agents_are_never_asked_twice(chain: Chain) -> None:
    for script in ("status=500", "status=429", "close_after=0"):
        chain.agent.play(script)
        chain.agent.forget()
        assert chain.ask("acting")[0] >= 429
        assert chain.agent.received == 1
    assert chain.b.received == 0


def test_a_target_that_only_hangs_up_is_a_502(chain: Chain) -> None:
    chain.c.play("close_after=0")
    for _ in range(3):
        response = chain.gateway.ask("model/c")
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "bad_gateway"


def test_nobody_follows_an_agent_in_a_plan(chain: Chain) -> None:
    chain.a.play("status=500")
    chain.agent.play("status=500")
    assert chain.ask("to-agent")[0] == 500
    assert (chain.agent.received, chain.b.received) == (1, 0)


def test_a_body_over_the_buffer_is_sent_once(chain: Chain) -> None:
    chain.a.play("status=500")
    response = chain.gateway.ask("all", "x" * 400_000)
    assert response.status_code == 500
    assert chain.b.received == 0


def test_large_bodies_reach_the_next_one_whole(chain: Chain) -> None:
    chain.a.play("status=500")
    response = chain.gateway.ask("all", "x" * 200_000)
    assert response.headers["x-served-by"] == "b-0"
    assert response.json()["scripted"]["size"] > 200_000


@pytest.mark.parametrize("size", [1, 1000, 16_000, 16_384, 48_000, 64_000, 65_000, 65_536, 66_000, 130_000, 250_000])
@pytest.mark.parametrize("script", ["status=503", "close_after=0"])
def test_what_the_next_target_gets_is_whole(chain: Chain, size: int, script: str) -> None:
    """Of any size: HAProxy 3.4 keeps what is sent once more in smaller buffers, where it fits."""
    chain.a.play(script)
    for more in range(-2, 3):
        content = "".join(chr(ord("a") + place % 26) for place in range(max(1, size + 7 * more)))
        status, served_by, attempt = chain.ask("all", content=content)
        assert (status, served_by, attempt) == (200, "b-0", "2")
        assert json.loads(chain.b.body)["messages"][-1]["content"] == content
        assert json.loads(chain.b.body)["model"] == "b-id"
