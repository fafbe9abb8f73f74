"""From an HPA to the operator and from the operator to a human: at no moment do fewer replicas serve than before."""

from __future__ import annotations

import time

from e2e.scenarios.replicas import Record, patch, recorded
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, traffic

NAME = "handed"
_LASTS = 10
"""Seconds for which what was handed over is watched: two ticks of the loop."""


def from_an_hpa_to_the_operator_and_back(scenario: Scenario) -> str:
    """With traffic, so that a dip would be felt."""
    with scenario.address(NAME) as address, traffic(address, NAME, Rate()) as seen, recorded(scenario, NAME) as record:
        _the_hpa_scales_the_model_server(scenario, record)
        _beside_it_the_operator_only_recommends(scenario, record)
        _without_it_the_operator_takes_over(scenario, record)
        _handed_back_they_stay(scenario, record)
        _until_somebody_says_otherwise(scenario)
    seen.assert_nothing_lost()
    return f"{seen.started} requests, none lost"


def _the_hpa_scales_the_model_server(scenario: Scenario, record: Record) -> None:
    _serve(scenario, record, 2)
    assert scenario.server(NAME)["spec"]["replicas"] == 2, scenario.server(NAME)["spec"]
    assert not _is_in_conflict(scenario), "an HPA is no conflict while the operator only recommends"


def _beside_it_the_operator_only_recommends(scenario: Scenario, record: Record) -> None:
    began = time.monotonic()
    patch(scenario, NAME, mode="Apply", minReplicas=3, maxReplicas=3)
    scenario.until(lambda: _is_in_conflict(scenario), "the other autoscaler is a condition")
    assert _mode(scenario) == "Recommend", "it would fight with the HPA"
    scenario.stays(lambda: record.last.wanted == 2, "the HPA's number holds", seconds=_LASTS)
    _no_dip(record, began, 2)


def _without_it_the_operator_takes_over(scenario: Scenario, record: Record) -> None:
    began = time.monotonic()
    scenario.kubectl("delete", "hpa", NAME)
    scenario.until(lambda: _mode(scenario) == "Apply" and not _is_in_conflict(scenario), "the operator decides", 60)
    _serve(scenario, record, 3)
    assert scenario.server(NAME)["spec"]["replicas"] == 2, "spec.replicas is the user's, whatever the operator does"
    _no_dip(record, began, 2)


def _handed_back_they_stay(scenario: Scenario, record: Record) -> None:
    """spec.replicas still says what the HPA once wrote; whoever takes over shall decide in peace."""
    began = time.monotonic()
    patch(scenario, NAME, mode="Recommend", minReplicas=1)
    scenario.until(lambda: _mode(scenario) == "Recommend", "the operator only recommends")
    scenario.stays(lambda: record.last.wanted == 3, "the replicas stay", seconds=_LASTS)
    assert scenario.server(NAME)["status"]["scaling"]["handedBack"]["replicas"] == 3, "status does not say why"
    _no_dip(record, began, 3)


def _until_somebody_says_otherwise(scenario: Scenario) -> None:
    scenario.kubectl("scale", "ms", NAME, "--replicas=1")
    scenario.wait_settled(NAME, pods=1)


def _mode(scenario: Scenario) -> str | None:
    mode: str | None = scenario.server(NAME)["status"].get("scaling", {}).get("mode")
    return mode


def _is_in_conflict(scenario: Scenario) -> bool:
    condition = scenario.condition(NAME, "ConflictingAutoscaler")
    return condition is not None and condition["status"] == "True"


def _serve(scenario: Scenario, record: Record, replicas: int, timeout: float = 150) -> None:
    scenario.until(lambda: record.last.ready == replicas, f"{replicas} replicas serve", timeout)


def _no_dip(record: Record, since: float, replicas: int) -> None:
    assert record.fewest_ready(since) >= replicas, f"fewer than {replicas} replicas served for a while"
