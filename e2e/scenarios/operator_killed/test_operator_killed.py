"""The operator is killed in the middle of its work: models go on answering, and its successor finishes it."""

from __future__ import annotations

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.scenario import Scenario


@pytest.fixture(scope="module", autouse=True)
def _killed(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    scenario.apply("servers.yaml")
    scenario.wait_ready()
    restarts = scenario.operators.restarts()
    # All that follows falls into the moment of the crash, or into the absence after it.
    scenario.kubectl("patch", "ms", "stays", "--type=merge", "-p", '{"spec":{"llamaCpp":{"contextSize":256}}}')
    scenario.apply("later.yaml")
    scenario.operators.kill_leader(embedded)
    scenario.kube.delete("ModelServer", "goes", scenario.namespace)
    scenario.kube.delete("Service", "stays-model-pods", scenario.namespace)
    with scenario.chat("stays") as chat:
        assert chat.ask().text  # nobody needs the operator for an answer
    scenario.until(lambda: scenario.operators.restarts() > restarts, "the operator was restarted", timeout=60)


def test_what_was_begun_is_finished(scenario: Scenario) -> None:
    scenario.operators.wait_ready()
    for name in ("stays", "comes"):
        scenario.wait_settled(name)
        with scenario.chat(name) as chat:
            assert chat.ask().text
    (pod,) = scenario.children("Pod", "stays")
    assert "256" in pod["spec"]["containers"][0]["args"]


def test_what_was_deleted_meanwhile_returns_or_goes(scenario: Scenario) -> None:
    scenario.until(
        lambda: scenario.kube.get("Service", "stays-model-pods", scenario.namespace), "the deleted Service is back"
    )
    scenario.until(lambda: not scenario.children("Pod", "goes"), "the deleted server's pods go")
    assert scenario.children("Deployment", "goes") == []
