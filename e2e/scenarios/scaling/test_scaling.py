"""Replicas follow the load, 1 → 4 → 1, and no request is lost: while the operator is killed, and while nobody can see
what the pods do.

One story on real llama-servers. The tests are its chapters: traffic flows through all of them, and a record of the
replicas is kept beside it. ``--plot FOLDER`` draws both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.disruptions import silenced
from e2e.scenarios.plots import draw
from e2e.scenarios.replicas import Record, decision, recorded
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, Traffic, table, traffic

NAME = "busy"
CALM = Rate(streams=0.2, stream_tokens=40, shorts=0.2)
CROWD = Rate(streams=2.4, stream_tokens=40, shorts=0.2)
MOST = 4
_SIDECAR = 9901
_FORGOTTEN = 240
"""Seconds until nothing speaks of the crowd any more: demand is a mean of up to 120 s, half of the surplus goes at a
time, and only after the window."""
_KNOWN = 5
"""Streams after which the operator knows roughly what a pod can carry."""


@pytest.fixture(scope="module", autouse=True)
def flowing(scenario: Scenario) -> Iterator[Traffic]:
    """The traffic, calm at first."""
    scenario.apply("servers.yaml")
    scenario.wait_ready(NAME)
    with scenario.address(NAME) as address, traffic(address, NAME, CALM) as seen:
        seen.phase = "calm"
        scenario.until(lambda: seen.whole() >= _KNOWN, "streams are answered", timeout=90)
        yield seen


@pytest.fixture(scope="module")
def record(scenario: Scenario, flowing: Traffic) -> Iterator[Record]:
    """The replicas, from the calm before the crowd on."""
    with recorded(scenario, NAME) as looks:
        yield looks


def _metrics(scenario: Scenario) -> tuple[str, str]:
    condition = scenario.condition(NAME, "MetricsAvailable") or {}
    return condition.get("status", "absent"), condition.get("reason", "")


def _addresses(scenario: Scenario) -> list[str]:
    return [pod["status"]["podIP"] for pod in scenario.children("Pod", NAME)]


def test_a_crowd_gets_replicas(
    scenario: Scenario, flowing: Traffic, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record.last.wanted == 1
    flowing.phase, flowing.rate = "crowd", CROWD
    came = time.monotonic()
    scenario.until(lambda: record.last.ready == MOST, f"{MOST} replicas serve", timeout=180)
    taken = decision(scenario, NAME)
    assert (taken["action"], taken["state"]) == ("scale_out", "Applied"), taken
    assert taken["reason"], taken
    with capsys.disabled():
        print(f"\nfrom the crowd to more replicas wanted: {record.seconds_until_wanted(1, since=came):.1f} s")
        print(f"{taken['binding']}: {taken['reason']}")


def test_an_operator_that_is_killed_keeps_them(
    scenario: Scenario, embedded: EmbeddedCluster, flowing: Traffic, record: Record
) -> None:
    flowing.phase = "operator killed"
    began, restarts = time.monotonic(), scenario.operators.restarts()
    scenario.operators.kill_leader(embedded)
    scenario.until(lambda: scenario.operators.restarts() > restarts, "the operator was restarted", timeout=60)
    scenario.operators.wait_ready()
    scenario.until(lambda: _metrics(scenario)[0] == "True", "its successor sees the pods", timeout=30)
    # Three ticks in which it knows too little to take anything away.
    scenario.stays(lambda: record.last.wanted == MOST, "the replicas stay", seconds=15)
    assert {look.wanted for look in record.since(began)} == {MOST}
    assert record.fewest_ready(began) == MOST


def test_what_is_not_seen_is_not_taken_away(
    scenario: Scenario, embedded: EmbeddedCluster, flowing: Traffic, record: Record, full: bool
) -> None:
    """The crowd leaves in that very moment, so all that the operator last saw and all that is true speak for fewer."""
    began = time.monotonic()
    with silenced(embedded, _addresses(scenario), _SIDECAR):
        flowing.phase, flowing.rate = "metrics cut", CALM
        scenario.until(lambda: _metrics(scenario)[0] == "False", "the missing metrics are a condition", timeout=40)
        assert _metrics(scenario)[1] in ("MetricsStale", "MetricsMissing")
        cut = 600.0 if full else 60.0
        scenario.stays(lambda: record.last.wanted == MOST, "the replicas stay", seconds=began + cut - time.monotonic())
        assert record.fewest_ready(began) == MOST
    scenario.until(lambda: _metrics(scenario) == ("True", "MetricsFound"), "the metrics are back", timeout=30)


def test_without_the_crowd_they_go(scenario: Scenario, flowing: Traffic, record: Record) -> None:
    flowing.phase, began = "calm again", time.monotonic()
    scenario.until(lambda: record.last.wanted == 1, "one replica is wanted", timeout=_FORGOTTEN)
    assert decision(scenario, NAME)["action"] == "scale_in"
    scenario.wait_settled(NAME, pods=1)
    course = [look.wanted for look in record.since(began)]
    assert course == sorted(course, reverse=True), f"it went up again on its way down: {course}"
    since = flowing.now
    scenario.until(lambda: flowing.whole(after=since) >= 2, "the last one answers")


def test_nothing_was_lost(flowing: Traffic, record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    flowing.end()
    with capsys.disabled():
        print(f"\n{table(flowing)}")
    if folder := os.environ.get("AGENTFLEET_E2E_PLOTS"):
        draw(Path(folder) / "scaling-live.png", flowing, record)
    flowing.assert_nothing_lost()
