"""What GitOps tools rely on: kstatus, applying again without effect, and silence when all is well."""

from __future__ import annotations

import pytest

from e2e.scenarios.kstatus import Verdict, kstatus
from e2e.scenarios.scenario import Scenario

_CHILDREN = ("ModelServer", "Deployment", "Service", "ConfigMap")
_QUIET_SECONDS = 8.0


def _verdicts(scenario: Scenario, name: str, last: Verdict) -> list[Verdict]:
    """Every verdict in turn until `last` has come."""
    seen: list[Verdict] = []

    def arrived() -> bool:
        verdict = kstatus(scenario.server(name))
        if not seen or seen[-1] != verdict:
            seen.append(verdict)
        return verdict == last

    scenario.until(arrived, f"kstatus of {name} is {last}", timeout=60)
    return seen


def _versions(scenario: Scenario) -> dict[str, str]:
    return {
        f"{kind} {found['metadata']['name']}": found["metadata"]["resourceVersion"]
        for kind in _CHILDREN
        for found in scenario.kube.list(kind, scenario.namespace)
        if found["metadata"]["name"] != "kube-root-ca.crt"
    }


@pytest.fixture(scope="module", autouse=True)
def first(scenario: Scenario) -> list[Verdict]:
    """The verdicts on a new object; what follows begins once the scaling loop has seen its pods, too."""
    scenario.apply("fleet.yaml")
    verdicts = _verdicts(scenario, "small", "Current")
    scenario.until(lambda: _sees(scenario, "small") == "True", "the loop has seen small")
    scenario.until(lambda: _sees(scenario, "asleep") == "Unknown", "the loop has seen asleep")
    return verdicts


def _sees(scenario: Scenario, name: str) -> str | None:
    condition = scenario.condition(name, "MetricsAvailable")
    return condition["status"] if condition else None


def test_a_new_object_is_in_progress_then_current(scenario: Scenario, first: list[Verdict]) -> None:
    assert first == ["InProgress", "Current"]
    scenario.wait_ready()


def test_one_that_sleeps_on_purpose_is_current(scenario: Scenario) -> None:
    assert _verdicts(scenario, "asleep", "Current")[-1] == "Current"
    ready = scenario.condition("asleep", "Ready")
    assert ready is not None
    assert ready["reason"] == "ScaledToZero"


def test_reconciling_and_stalled_are_absent_when_all_is_well(scenario: Scenario) -> None:
    types = {condition["type"] for condition in scenario.server("small")["status"]["conditions"]}
    assert types == {"Ready", "ModelReady", "MetricsAvailable", "ScalingActive"}


def test_every_condition_says_which_generation_it_is_about(scenario: Scenario) -> None:
    server = scenario.server("small")
    for condition in server["status"]["conditions"]:
        assert condition["observedGeneration"] == server["metadata"]["generation"]
        assert condition["reason"]


def test_applying_the_same_again_changes_nothing(scenario: Scenario) -> None:
    before = _versions(scenario)
    assert len(before) >= 8  # two servers, two Deployments, four Services at least
    assert set(scenario.apply("fleet.yaml").split()) >= {"unchanged"}
    assert "configured" not in scenario.apply("fleet.yaml")
    assert _versions(scenario) == before


def test_applying_on_the_servers_side_changes_nothing(scenario: Scenario) -> None:
    scenario.apply("fleet.yaml", server_side=True)  # another field manager takes a share: that is a change, once
    before = _versions(scenario)
    scenario.apply("fleet.yaml", server_side=True)
    assert _versions(scenario) == before


def test_when_all_is_well_nothing_is_written(scenario: Scenario) -> None:
    before = _versions(scenario)
    writes = scenario.operators.metric("agentfleet_api_writes_total")
    leases = scenario.operators.metric("agentfleet_api_writes_total", kind="Lease")
    scenario.stays(lambda: _versions(scenario) == before, "no object changes", _QUIET_SECONDS)
    written = scenario.operators.metric("agentfleet_api_writes_total") - writes
    renewed = scenario.operators.metric("agentfleet_api_writes_total", kind="Lease") - leases
    assert renewed > 0  # the operator was alive
    assert written == renewed


def test_a_changed_spec_is_in_progress_until_it_serves(scenario: Scenario) -> None:
    # What the tool asks right after its apply must not be answered with the old state.
    scenario.kubectl("patch", "ms", "small", "--type=merge", "-p", '{"spec":{"llamaCpp":{"contextSize":256}}}')
    assert kstatus(scenario.server("small")) == "InProgress"
    assert _verdicts(scenario, "small", "Current") == ["InProgress", "Current"]


def test_what_only_a_human_can_mend_is_failed_until_mended(scenario: Scenario) -> None:
    patch = '{"spec":{"model":{"uri":"file:///etc/elsewhere.gguf"}}}'
    scenario.kubectl("patch", "ms", "small", "--type=merge", "-p", patch)
    assert _verdicts(scenario, "small", "Failed")[-1] == "Failed"
    scenario.apply("fleet.yaml", server_side=True)
    assert _verdicts(scenario, "small", "Current")[-1] == "Current"
