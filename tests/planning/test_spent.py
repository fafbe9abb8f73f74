"""spent.py: what gateways have counted, merged and kept; nothing counts twice and nothing that is told can break it."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.manifests.gateway_names import budgets_name
from agentfleet.objects import Manifest, key_of, parent_of
from agentfleet.planning import spent
from agentfleet.planning.spent import config_map, fitting, merged, name_of, read, write
from agentfleet.resources.agentroute import AgentRoute

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
ALICE = "Key|alice|tokens|Day|2026-11-21"
TEAM = "Group|team|usd|Month|2026-11"
ROUTE: Manifest = {
    "apiVersion": "agentfleet.dev/v1alpha1",
    "kind": "AgentRoute",
    "metadata": {"name": "chat", "namespace": "demo", "uid": "u", "generation": 1},
    "spec": {"targets": []},
}


def text(**gateways: dict[str, str]) -> str:
    return json.dumps(gateways)


def test_the_larger_number_is_the_later_one() -> None:
    before = text(a={ALICE: "10", TEAM: "0.5"}, gone={ALICE: "7"})
    counts = merged(map(read, (before, text(a={ALICE: "9"}), text(a={ALICE: "12"}, b={ALICE: "1"}))), NOW)
    assert json.loads(write(counts)) == {"a": {ALICE: "12", TEAM: "0.5"}, "b": {ALICE: "1"}, "gone": {ALICE: "7"}}


def test_what_is_over_goes() -> None:
    over = {"Key|alice|tokens|Day|2026-11-20": "1", "Group|team|usd|Month|2026-10": "1"}
    early = {"Key|alice|tokens|Day|2026-11-22": "1", "Group|team|usd|Month|2026-12": "1"}
    assert merged([read(text(a=over))], NOW) == {}
    assert merged([read(text(a=early | over))], NOW)["a"].keys() == early.keys(), "a clock that is ahead"


def test_a_caller_may_be_called_anything() -> None:
    name = 'Key|auth0|a "b"|tokens|Day|2026-11-21'
    assert merged([read(text(a={name: "3"}))], NOW) == {"a": {name: Decimal(3)}}


@pytest.mark.parametrize(
    "answer",
    [None, "", "{", "[]", "3", '{"a": 3}', '{"a": {"x": "1"}}', '{"a": {"Key|a|tokens|Day|2026-11-21": 5}}']
    + [text(a={ALICE: amount}) for amount in ("-1", "1e9", "NaN", "", "1" * 19, "\u0665")]
    + [text(a={"Key|a|tokens|Week|2026-11-21": "1"})],
)
def test_what_is_no_counter_is_left_out(answer: str | None) -> None:
    assert not merged([read(answer)], NOW).get("a")


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.dictionaries(st.sampled_from([ALICE, TEAM]), st.decimals(
    min_value=0, max_value=10**12, places=12))), max_size=4))  # fmt: skip
def test_the_order_of_answers_says_nothing_and_reading_gives_what_was_written(
    counts: list[dict[str, dict[str, Decimal]]],
) -> None:
    together = merged(counts, NOW)
    assert merged(reversed(counts), NOW) == together
    assert merged([together, together], NOW) == together
    assert read(write(together)) == together


def test_of_more_than_an_object_holds_the_most_used_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"Key|user-{number}|tokens|Day|2026-11-21": Decimal(number) for number in range(100)}
    route = {"Route||tokens|Day|2026-11-21": Decimal(1), "Key|a|usd|Day|2026-11-21": Decimal("0.01")}
    counts = {"a": many | route, "b": dict(many)}
    assert fitting(counts) == counts
    monkeypatch.setattr(spent, "_LARGEST", 600)
    kept = fitting(counts)
    assert 500 < len(write(kept)) <= 600
    assert set(kept["a"]) > set(route)
    most = [number for number in range(100) if f"Key|user-{number}|tokens|Day|2026-11-21" in kept["a"]]
    assert most == list(range(100 - len(most), 100))


def test_the_config_map_is_the_routes() -> None:
    made = config_map(ROUTE, "{}\n")
    assert made["data"] == {"used.json": "{}\n"}
    assert parent_of(made) == key_of(ROUTE)
    assert made["metadata"]["name"] == name_of("chat") == budgets_name(_route())


def _route() -> AgentRoute:
    external = {"url": "https://models.example/v1", "model": "m"}
    return AgentRoute.from_manifest(ROUTE | {"spec": {"targets": [{"name": "a", "external": external}]}})
