"""Load: ten at once for each pod and not one more, by whichever gateway; then the queue, another target, or another
tier; conversations that stay where they are; and budgets.

The engines are scripted, so that each pod can tell how many requests it had at once.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from e2e.scenarios import scripted
from e2e.scenarios.issuer import Issuer
from e2e.scenarios.routes import LOOKS, Answer, Ask, Route, gateways, route, wait_ready
from e2e.scenarios.scenario import Scenario

PLACES = 10
"""maxConcurrent"""
DESKS = 2
_QUEUE_SECONDS = 6
_TALKS = 30
_PREFIXES = 16
_CANARY_PERCENT = 20
_SIMPLE, _MODERATE, _COMPLEX = "Hi there", "Write a poem about the sea", "Analyse the root cause and prove it"
_UNSURE = "The sea and the wind and the rain, all day long. " * 4


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """Who vouches for the callers of the allowance."""
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def office(scenario: Scenario, issuer: Issuer) -> Iterator[Route]:
    """The route, with two gateways."""
    issuer.publish(scenario, "login")
    servers = {"desk": DESKS, "attic": 1, "parlour": 3}
    models = [scripted.model_server(name, replicas=replicas) for name, replicas in servers.items()]
    scripted.apply_engines(scenario, *models)
    scenario.apply("route.yaml", "tiers.yaml", "allowance.yaml")
    scenario.wait_ready(timeout=90)
    for name, replicas in servers.items():
        scenario.wait_settled(name, replicas)
    wait_ready(scenario, "office", "tiers", "allowance")
    assert len(gateways(scenario, "office")) == 2
    with route(scenario, "office") as found:
        # Each look comes to either gateway; one that still knows pods of before would let more wait than there is room.
        scenario.until(
            lambda: all(_ready(found) == servers for _ in range(LOOKS)), "both gateways know all pods", timeout=30
        )
        yield found


@pytest.fixture(scope="module")
def tiers(scenario: Scenario, office: Route) -> Iterator[Route]:
    """The route with three tiers, of 10, 20 and 30 places: the servers are those of the office."""
    places = {"lightweight": 1, "balanced": DESKS, "capable": 3}
    with route(scenario, "tiers") as found:
        scenario.until(lambda: _ready(found) == places, "the gateway knows all pods")
        yield found


def _ready(office: Route) -> dict[str, int]:
    return {target["name"]: target["ready"] for target in office.get("/health").json()["targets"]}


def _by_status(answers: Sequence[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def _by_target(answers: Sequence[Answer]) -> Counter[str]:
    return Counter(answer.target for answer in answers)


def _held(text: str, after: float) -> Ask:
    """Five seconds after the burst began, its place is free again."""
    return Ask(text=text, script=f"delay={5 - after}", after=after)


def test_each_pod_has_ten_at_once_and_the_rest_spills(
    scenario: Scenario, office: Route, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.forget(scenario, "desk")
    answers = office.burst([Ask("spilled", script="delay=4")] * 60)
    assert _by_status(answers) == {200: 60}, [str(each) for each in answers if each.status != 200]
    at_desk = [answer for answer in answers if answer.pod.startswith("desk")]
    peaks = [each["peak"] for each in scripted.stats(scenario, "desk").values()]
    with capsys.disabled():
        slowest = max(answer.seconds for answer in answers)
        print(f"\n60 at once: {len(at_desk)} at desk, peaks {peaks}, the slowest took {slowest:.1f} s")
    assert peaks == [PLACES] * DESKS
    assert len(at_desk) == PLACES * DESKS
    assert {answer.target for answer in answers} == {"desk", "attic"}


def test_each_complexity_has_its_tier(tiers: Route) -> None:
    texts = {_SIMPLE: "lightweight", _MODERATE: "balanced", _COMPLEX: "capable", _UNSURE: "balanced"}
    answers = tiers.burst([Ask(text=text) for text in texts])
    assert {answer.ask.text: answer.target for answer in answers} == texts
    assert {answer.decision["reason"] for answer in answers} == {"Tier"}


def test_a_full_tier_spills_to_the_least_loaded_with_room(tiers: Route) -> None:
    """Eleven of 20 places are taken at one of the others and two of 30 at the third, which takes the rest."""
    others = [*[_held(_MODERATE, 0)] * 11, *[_held(_COMPLEX, 0)] * 2]
    answers = tiers.burst([*others, *[_held(_SIMPLE, 1)] * PLACES, *[Ask(text=_SIMPLE, after=2)] * 5])
    assert _by_target(answers) == {"balanced": 11, "capable": 2 + 5, "lightweight": PLACES}
    assert {(each.status, each.target, each.decision["reason"]) for each in answers[-5:]} == {(200, "capable", "Spill")}


def test_when_all_tiers_are_full_it_waits_at_the_balanced_one(tiers: Route) -> None:
    full = {_SIMPLE: PLACES, _MODERATE: PLACES * DESKS, _COMPLEX: PLACES * 3}
    held = [_held(text, 0) for text, places in full.items() for _ in range(places)]
    *first, late = tiers.burst([*held, Ask(text=_SIMPLE, after=3)])
    assert _by_target(first) == {"lightweight": 10, "balanced": 20, "capable": 30}
    assert (late.status, late.target, late.decision["reason"]) == (200, "balanced", "Spill"), late
    assert late.began < min(each.ended for each in first if each.target == "balanced") < late.ended, late


def test_those_that_wait_go_by_priority(scenario: Scenario, office: Route) -> None:
    full = [Ask("queued", script="delay=4.5")] * (PLACES * DESKS)
    waves = {
        priority: [Ask("queued", script="delay=0.7", after=after, headers={"x-agentroute-priority": priority})] * 20
        for priority, after in {"low": 2.0, "normal": 2.5, "high": 3.0}.items()
    }
    scripted.forget(scenario, "desk")
    answers = office.burst([*full, *waves["low"], *waves["normal"], *waves["high"]])
    assert _by_status(answers) == {200: 80}, [str(each) for each in answers if each.status != 200][:5]
    ended = {
        priority: [answer.ended for answer in answers if answer.ask.headers.get("x-agentroute-priority") == priority]
        for priority in waves
    }
    assert max(ended["high"]) < min(ended["normal"]), "one of normal priority came before one of high"
    assert max(ended["normal"]) < min(ended["low"]), "one of low priority came before one of normal"
    assert max(each["peak"] for each in scripted.stats(scenario, "desk").values()) == PLACES


def test_the_queue_has_an_end_in_length_and_in_time(office: Route) -> None:
    full = [Ask("queued", script="delay=12")] * (PLACES * DESKS)
    answers = office.burst([*full, *[Ask("queued", after=1.5)] * 250])
    late = [answer for answer in answers if answer.status == 503]
    refused = [answer for answer in answers if answer.status == 429]
    assert _by_status(answers).keys() == {200, 429, 503}, _by_status(answers)
    assert len(late) >= 40, _by_status(answers)
    for answer in late:
        assert _QUEUE_SECONDS - 0.5 < answer.seconds < _QUEUE_SECONDS + 6, answer
        assert "retry-after" in answer.headers, answer
    for answer in refused:
        assert (answer.code, int(answer.headers["retry-after"]) > 0) == ("queue_full", True), answer
        assert answer.seconds < _QUEUE_SECONDS - 0.5, answer


def test_a_client_that_leaves_frees_its_place(scenario: Scenario, office: Route) -> None:
    asks = [Ask("queued", script="delay=8", leaves_after=1.0)] * (PLACES * DESKS)
    asks += [Ask("queued", after=0.5, leaves_after=1.0)] * 30
    answers = office.burst([*asks, Ask("queued", after=0.7)])
    assert (answers[-1].status, answers[-1].seconds < 6) == (200, True), answers[-1]
    scenario.until(
        lambda: not any(each["in_flight"] for each in scripted.stats(scenario, "desk").values()), "nobody is there"
    )


def test_a_caller_with_a_token_has_a_budget(scenario: Scenario, office: Route, issuer: Issuer) -> None:
    with route(scenario, "allowance") as nobody:
        tokens = issuer.token("dora"), issuer.token("emil"), issuer.token("dora", "https://other.example.com/")
        dora, emil, stranger = (Route(nobody.address, token) for token in tokens)
        assert [caller.ask().status for caller in (nobody, stranger, dora)] == [401, 401, 200]
        scenario.until(lambda: dora.ask().status == 429, "dora's budget is spent")
        refused = dora.ask()
        assert (refused.code, int(refused.headers["retry-after"]) > 0) == ("insufficient_quota", True), refused
        assert emil.ask().status == 200


def test_requests_that_begin_alike_share_a_pod(office: Route) -> None:
    pods: dict[int, set[str]] = {book: set() for book in range(_PREFIXES)}
    for page in range(4):
        for book in range(_PREFIXES):
            messages = [
                {"role": "system", "content": f"Book {book}. " * 80},
                {"role": "user", "content": f"Page {page}?"},
            ]
            answer = office.ask("notes", body={"messages": messages})
            assert answer.status == 200, answer
            pods[book].add(answer.pod)
    assert all(len(each) == 1 for each in pods.values()), pods
    assert len(set.union(*pods.values())) > 1, pods


def test_a_canary_gets_its_share_of_conversations(office: Route) -> None:
    asks = [Ask("trial", headers={"x-session-id": f"c-{number}"}) for number in range(100)]
    expected = {number for number in range(100) if zlib.crc32(f"|s|c-{number}".encode()) % 100 < _CANARY_PERCENT}
    for _ in range(2):
        answers = [answer for part in range(0, 100, 20) for answer in office.burst(asks[part : part + 20])]
        assert {number for number, answer in enumerate(answers) if answer.target == "attic"} == expected
        assert {answer.decision["reason"] for answer in answers if answer.target == "attic"} == {"Canary"}


def test_conversations_move_only_when_their_pod_dies(
    scenario: Scenario, office: Route, capsys: pytest.CaptureFixture[str]
) -> None:
    homes = _homes(office)
    for _ in range(3):
        assert _homes(office) == homes
    assert len(set(homes.values())) == 3, Counter(homes.values())
    victim = homes[0]
    scenario.kubectl("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")

    def moved_on() -> dict[int, str] | None:
        found = _homes(office)
        return None if victim in found.values() else found

    after = scenario.until(moved_on, "nobody talks to the dead pod", timeout=20)  # not one look later: the successor
    moved = {talk for talk, pod in after.items() if homes[talk] != pod}
    with capsys.disabled():
        print(f"\na pod of 3 died: {len(moved)} of {_TALKS} conversations moved")
    assert moved == {talk for talk, pod in homes.items() if pod == victim}


def _homes(office: Route) -> dict[int, str]:
    """Where each conversation is; its next turn is answered there. One after the other: load would spread them."""
    answers = [office.ask("talk", f"Hello, this is {each}") for each in range(_TALKS)]
    assert _by_status(answers) == {200: _TALKS}, [str(each) for each in answers if each.status != 200][:3]
    return {number: answer.pod for number, answer in enumerate(answers)}
