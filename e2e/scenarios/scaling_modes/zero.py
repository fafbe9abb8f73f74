"""To zero where nobody asks, and back with the first request, which waits in a gateway meanwhile: none is lost."""

from __future__ import annotations

import time

from e2e.scenarios.replicas import decision
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, table, traffic

NAME = "sleeper"
RATE = Rate(streams=0.5, stream_tokens=30, shorts=0.5)
_IDLE = 10.0
"""Seconds: scaleToZeroAfter."""


def to_zero_and_back(scenario: Scenario) -> str:
    """Twice to zero: at first nobody had ever asked."""
    _without_a_source_of_demand_one_stays(scenario)
    try:
        _start_the_gateway(scenario)
        _it_goes_to_zero(scenario)
        seen = _requests_wake_it(scenario)
        _it_goes_to_zero(scenario)
    finally:
        # The sweep knows pods of ModelServers only.
        scenario.kubectl("delete", "deployment/gateway", "--ignore-not-found", "--wait=false")
    return seen


def _without_a_source_of_demand_one_stays(scenario: Scenario) -> None:
    """A server without pods would see no request, and stay there for ever."""
    scenario.until(lambda: _reason(scenario, "ScalingActive") == "NoDemandSource", "it says that a source is missing")
    scenario.stays(lambda: _pods(scenario) == 1, "one replica stays", seconds=_IDLE + 5)


def _start_the_gateway(scenario: Scenario) -> None:
    scenario.kubectl("create", "configmap", "gateway", f"--from-file={scenario.folder / 'gateway.py'}")
    scenario.apply("gateway.yaml")
    scenario.kubectl("rollout", "status", "deployment/gateway", "--timeout=60s", timeout=90)


def _it_goes_to_zero(scenario: Scenario) -> None:
    scenario.until(lambda: _pods(scenario) == 0, "nobody asks, so nobody serves", timeout=90)
    scenario.until(lambda: _reason(scenario, "Ready") == "ScaledToZero", "which is as it should be")
    assert (scenario.condition(NAME, "Ready") or {})["status"] == "True", "zero on purpose is no failure"
    taken = decision(scenario, NAME)
    assert (taken["action"], taken["to"], taken["binding"]) == ("scale_in", 0, "Idle"), taken


def _requests_wake_it(scenario: Scenario) -> str:
    with (
        scenario.kube.cluster.service(scenario.namespace, "gateway", 80) as address,
        traffic(address, NAME, RATE) as seen,
    ):
        asked = time.monotonic()
        scenario.until(lambda: _pods(scenario) > 0, "a replica is made")
        woken = time.monotonic() - asked
        scenario.until(lambda: seen.whole() >= 3, "what waited is answered", timeout=60)
    seen.assert_nothing_lost()
    return f"from the first request to a pod: {woken:.1f} s\n{table(seen)}"


def _pods(scenario: Scenario) -> int:
    return len(scenario.children("Pod", NAME))


def _reason(scenario: Scenario, kind: str) -> str:
    return str((scenario.condition(NAME, kind) or {}).get("reason"))
