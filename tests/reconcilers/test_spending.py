"""spending.py: what gateways have counted is kept in the cluster, whatever becomes of the route's spec."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from agentfleet.cache import Cache
from agentfleet.errors import Transient
from agentfleet.metrics import Metrics
from agentfleet.objects import AGENT_ROUTE_LABEL, DEMAND_SOURCE_LABEL, FIELD_MANAGER, MANAGED_BY, Key
from agentfleet.reconcilers.base import Surroundings
from agentfleet.reconcilers.spending import Spending
from agentfleet.references import References
from agentfleet.settings import Settings
from tests.fakes import FakeCluster

ROUTE = Key("AgentRoute", "demo", "chat")
KEPT = Key("ConfigMap", "demo", "chat-route-budgets")
ALICE = "Key|alice|tokens|Day|2026-11-21"
BUDGET = {"scope": "Key", "tokens": 1000, "window": "Day", "onExceeded": "Reject"}


class Stage:
    """A route with two gateways, and what each of them answers."""

    def __init__(self) -> None:
        self.cluster, self.cache = FakeCluster(), Cache()
        self.cluster.on_change = lambda seen, deleted: self.cache.observe(seen, deleted=deleted)
        self.answers: dict[str, str] = {}
        self.asked: list[tuple[list[str], str]] = []
        self.now = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)
        around = Surroundings(self.cluster, self.cache, References(), Settings(), Metrics(), lambda: self.now)
        self.spending = Spending(around, self)
        self.route(budgets=[BUDGET])
        for index in range(2):
            self.gateway(index)

    async def pages(self, addresses: Sequence[str], path: str) -> Mapping[str, str]:
        self.asked.append((list(addresses), path))
        return {address: self.answers[address] for address in addresses if address in self.answers}

    def route(self, **spec: Any) -> None:
        metadata = {"name": ROUTE.name, "namespace": ROUTE.namespace}
        self.cluster.put({"apiVersion": "agentfleet.dev/v1alpha1", "kind": "AgentRoute"} | {
            "metadata": metadata, "spec": {"targets": []} | spec
        })  # fmt: skip

    def gateway(self, index: int, **status: Any) -> None:
        labels = {MANAGED_BY: FIELD_MANAGER, AGENT_ROUTE_LABEL: "chat", DEMAND_SOURCE_LABEL: "8091"}
        metadata = {"name": f"chat-route-{index}", "namespace": "demo", "labels": labels}
        status = {"phase": "Running", "podIP": f"10.0.0.{index}"} | status
        self.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})

    def says(self, index: int, **counts: str) -> None:
        counted = {f"chat-route-{gateway[1:]}": {ALICE: amount} for gateway, amount in counts.items()}
        self.answers[f"10.0.0.{index}:8091"] = json.dumps(counted)

    def kept(self) -> dict[str, str]:
        """Gateway → what Alice used there."""
        used = json.loads(self.cluster.objects[KEPT]["data"]["used.json"])
        return {gateway: counters[ALICE] for gateway, counters in used.items()}


async def test_what_was_used_is_kept_and_written_only_when_it_changed() -> None:
    stage = Stage()
    stage.says(0, g0="10")
    stage.says(1, g1="5", g0="8")
    await stage.spending.look()
    assert stage.asked == [(["10.0.0.0:8091", "10.0.0.1:8091"], "/budgets")]
    assert stage.kept() == {"chat-route-0": "10", "chat-route-1": "5"}
    assert stage.cluster.writes == [("apply", KEPT)]
    await stage.spending.look()
    assert stage.cluster.writes == [("apply", KEPT)]
    stage.says(0, g0="11")
    await stage.spending.look()
    assert stage.kept() == {"chat-route-0": "11", "chat-route-1": "5"}


async def test_a_gateway_that_is_gone_or_silent_keeps_its_share() -> None:
    stage = Stage()
    stage.says(0, g0="10")
    stage.says(1, g1="5")
    await stage.spending.look()
    del stage.answers["10.0.0.1:8091"]
    stage.says(0, g0="12")
    await stage.spending.look()
    stage.cluster.remove(Key("Pod", "demo", "chat-route-1"))
    await stage.spending.look()
    assert stage.kept() == {"chat-route-0": "12", "chat-route-1": "5"}
    stage.answers.clear()
    stage.cluster.writes.clear()
    await stage.spending.look()
    assert stage.cluster.writes == [], "nobody answers: what is kept stays"


async def test_the_next_day_begins_with_nothing() -> None:
    stage = Stage()
    stage.says(0, g0="10")
    await stage.spending.look()
    stage.now = datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
    await stage.spending.look()
    assert stage.kept() == {}


async def test_a_spec_that_has_become_invalid_is_counted_on() -> None:
    stage = Stage()
    stage.route(budgets=[BUDGET], targets="none")
    stage.says(0, g0="10")
    await stage.spending.look()
    assert stage.kept() == {"chat-route-0": "10"}


async def test_routes_without_budgets_are_left_alone() -> None:
    stage = Stage()
    stage.route()
    await stage.spending.look()
    assert stage.asked == [([], "/budgets")]
    assert stage.cluster.writes == []


async def test_nothing_used_makes_nothing() -> None:
    stage = Stage()
    stage.answers["10.0.0.0:8091"] = "{}"
    await stage.spending.look()
    assert stage.cluster.writes == []


@pytest.mark.parametrize("answer", ["", "no JSON", '{"a": {"x": "1"}}'])
async def test_nonsense_is_nothing(answer: str) -> None:
    stage = Stage()
    stage.answers["10.0.0.0:8091"] = answer
    await stage.spending.look()
    assert stage.cluster.writes == []


async def test_what_cannot_be_written_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.says(0, g0="10")
    stage.cluster.fail = lambda verb, key: Transient("503") if verb == "apply" else None
    await stage.spending.look()
    assert "what was used of budgets is not kept: 503" in caplog.text
    stage.cluster.fail = lambda verb, key: None
    await stage.spending.look()
    assert stage.kept() == {"chat-route-0": "10"}


async def test_a_foreign_object_of_that_name_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    metadata = {"name": KEPT.name, "namespace": KEPT.namespace}
    stage.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}})
    stage.says(0, g0="10")
    await stage.spending.look()
    assert stage.cluster.objects[KEPT]["data"] == {"a": "b"}
    assert "exists and is not this AgentRoute's" in caplog.text
