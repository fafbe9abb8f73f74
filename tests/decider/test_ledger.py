"""Used budgets: counters that only grow, merged in any order; and what is spent."""

import itertools
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.decider import ledger as ledgers
from agentfleet.decider.audit import Line, parse
from agentfleet.decider.budgets import Budgets
from agentfleet.decider.ledger import Counter, Ledger, decimal, whole
from agentfleet.gateway.decider_config import TokenCost
from agentfleet.gateway.layout import Budget

NOW = datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 22, tzinfo=UTC)
ALICE = Counter("Key", "alice", "tokens", "Day", "2026-11-21")


def total(ledger: Ledger, counter: Counter) -> int:
    return dict(ledger.used()).get(counter, 0)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 100), st.booleans()), max_size=30))
def test_gateways_that_tell_each_other_in_any_order_come_to_the_same_sum(steps: list[tuple[int, int, bool]]) -> None:
    gateways = [Ledger(f"g-{number}") for number in range(3)]
    expected = 0
    for number, amount, tell in steps:
        gateways[number].add(ALICE, amount)
        expected += amount
        if tell:
            gateways[(number + 1) % 3].merge(gateways[number].to_json(), NOW)
    for one, other in itertools.product(gateways, gateways):
        one.merge(other.to_json(), NOW)
    assert {total(each, ALICE) for each in gateways} == {expected}


def test_a_restarted_gateway_goes_on_from_what_others_know() -> None:
    before, peer = Ledger("g-0"), Ledger("g-1")
    before.add(ALICE, 100)
    peer.merge(before.to_json(), NOW)
    after = Ledger("g-0")
    after.merge(json.dumps({"g-0": {ALICE.text: "60"}}), NOW)  # what the operator had kept
    after.merge(peer.to_json(), NOW)
    after.add(ALICE, 7)
    assert after.own() == [(ALICE, 107)]
    peer.merge(after.to_json(), NOW)
    assert total(peer, ALICE) == 107


def test_a_day_that_is_over_is_forgotten_a_month_is_not() -> None:
    ledger = Ledger("g-0")
    month = Counter("Route", "", "usd", "Month", "2026-11")
    ledger.add(ALICE, 1)
    ledger.add(month, 1)
    ledger.merge(json.dumps({"g-1": {ALICE.text: "5"}}), TOMORROW)
    assert total(ledger, ALICE) == 1
    ledger.forget(TOMORROW)
    assert [counter for counter, _ in ledger.used()] == [month]


def test_the_file_has_the_format_that_the_operator_keeps() -> None:
    ledger = Ledger("support-route-0")
    ledger.add(Counter("Key", "auth0|a b", "usd", "Month", "2026-11"), whole("usd", "12.5"))
    ledger.add(ALICE, 3)
    text = ledger.to_json()
    assert json.loads(text) == {
        "support-route-0": {"Key|alice|tokens|Day|2026-11-21": "3", "Key|auth0|a b|usd|Month|2026-11": "12.5"}
    }
    other = Ledger("x")
    other.merge(text, NOW)
    assert other.to_json() == text


@pytest.mark.parametrize(
    "text", ["", "[]", '{"g": 1}', '{"g": {"x": "1"}}', '{"g": {"Key|a|tokens|Day|2026-11-21": "-1"}}',
             '{"g": {"Key|a|tokens|Day|2026-11-21": "NaN"}}', '{"g": {"Key|a|tokens|Week|2026": "1"}}'],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_whole(text: str) -> None:
    ledger = Ledger("g-0")
    with pytest.raises(ValueError):
        ledger.merge(text, NOW)
    assert not list(ledger.used())


def test_callers_beyond_the_most_are_told_and_the_route_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "MOST", 2)
    ledger = Ledger("g-0")
    for name in ("a", "b", "c", "a"):
        ledger.add(ALICE._replace(value=name), 1)
    ledger.add(Counter("Route", "", "tokens", "Day", "2026-11-21"), 4)
    assert (len(ledger.own()), ledger.refused) == (3, 1)


@pytest.mark.parametrize(("unit", "amount", "written"), [
    ("tokens", 12, "12"), ("usd", 0, "0"), ("usd", 1, "0.000000000001"), ("usd", 25 * 10**11, "2.5"),
    ("usd", 10 * 10**12, "10"),
])  # fmt: skip
def test_amounts_are_exact(unit: str, amount: int, written: str) -> None:
    assert decimal(unit, amount) == written
    assert whole(unit, written) == amount


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


def budgets_of(*budgets: Budget, costs: dict[str, TokenCost] | None = None) -> tuple[Budgets, Ledger, Clock]:
    ledger, clock = Ledger("g-0"), Clock()
    return Budgets(budgets, costs or {}, ledger, clock), ledger, clock


def test_what_is_spent_is_said_by_scope_and_action() -> None:
    budgets, _, clock = budgets_of(
        Budget("Key", "tokens", "100", "Day", "SmallerTier"),
        Budget("Key", "tokens", "200", "Day", "Reject"),
        Budget("Group", "tokens", "150", "Month", "LocalOnly"),
        Budget("Route", "tokens", "1000", "Day", "Reject"),
    )
    budgets.take(Line(caller="auth0|é x", groups=("a", "b"), status=200, tokens_in=60, tokens_out=40))
    assert budgets.spent() == {"key:auth0%7C%C3%A9%20x": "small"}
    budgets.take(Line(caller="auth0|é x", groups=("b",), status=200, tokens_in=100))
    assert budgets.spent() == {"key:auth0%7C%C3%A9%20x": "spent,small", "group:b": "local"}
    budgets.take(Line(caller="bob", status=200, tokens_in=800))
    assert budgets.spent()["route"] == "spent"
    clock.now = TOMORROW
    assert budgets.spent() == {"group:b": "local"}


def test_money_is_counted_by_the_cost_of_the_target_that_answered() -> None:
    costs = {"cloud": TokenCost("t1", "2.50", "10.000001")}
    budgets, ledger, _ = budgets_of(Budget("Route", "usd", "0.01", "Month", "LocalOnly"), costs=costs)
    budgets.take(Line(target="local", status=200, tokens_in=10**9))
    budgets.take(Line(target="cloud", status=503, tokens_in=10**9))
    assert not list(ledger.used())
    budgets.take(Line(target="cloud", status=200, tokens_in=1000, tokens_out=749))
    ((_, used),) = ledger.used()
    assert decimal("usd", used) == "0.009990000749"
    assert budgets.spent() == {}
    budgets.take(Line(target="cloud", status=200, tokens_in=4))
    assert budgets.spent() == {"route": "local"}


def test_an_audit_line_is_read_whatever_is_missing() -> None:
    text = b'{"caller":"alice","groups":"a,b","rule":"vip","target":"cloud","status":200,"attempts":2,"tokens_in":"12"}'
    assert parse(text) == Line("alice", ("a", "b"), "vip", "cloud", 200, 2, 12)
    assert parse(b'{"caller":null,"tokens_out":-3,"tokens_in":""}') == Line()
    for bad in (b"", b"[]", b'{"status":"x"}', b'{"caller":"\xff"}'):
        with pytest.raises(ValueError):
            parse(bad)
