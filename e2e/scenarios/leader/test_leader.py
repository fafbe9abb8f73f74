"""Two operator replicas: one works, and when it is gone, politely or not, the other takes over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster
from e2e.install import NAMESPACE, install
from e2e.scenarios.scenario import Scenario

_LEASE_SECONDS = 15  # the chart's leaseDuration
_MARGIN_SECONDS = 15


@pytest.fixture(scope="module", autouse=True)
def _two_replicas(scenario: Scenario, cluster: Cluster) -> Iterator[None]:
    install(cluster, {"replicas": 2})
    try:
        scenario.operators.wait_ready()
        yield
    finally:
        install(cluster)
        scenario.operators.wait_ready()


def _leaders(scenario: Scenario) -> float:
    return sum(scenario.operators.metric_of(pod, "agentfleet_leader") for pod in scenario.operators.names())


def test_one_leads_and_both_are_ready(scenario: Scenario) -> None:
    assert len(scenario.operators.pods()) == 2
    assert _leaders(scenario) == 1
    scenario.apply("modelserver.yaml")
    scenario.wait_ready("guarded")


def test_a_leader_that_ends_hands_over_at_once(scenario: Scenario) -> None:
    leader = scenario.operators.leader()
    assert leader is not None
    scenario.kube.delete("Pod", leader, NAMESPACE)
    # left alone, the Lease runs out after 15 s
    scenario.until(lambda: scenario.operators.leader() not in (leader, None), "the other one leads", timeout=13)
    _serves_changes(scenario, context=512)


def test_a_leader_that_vanishes_is_replaced_after_the_lease(scenario: Scenario) -> None:
    scenario.operators.wait_ready()
    leader = scenario.operators.leader()
    assert leader is not None
    scenario.kube.delete("Pod", leader, NAMESPACE, grace=0)  # killed, and nothing of that name comes back
    scenario.until(
        lambda: scenario.operators.leader() not in (leader, None),
        "the other one leads",
        timeout=_LEASE_SECONDS + _MARGIN_SECONDS,
    )
    _serves_changes(scenario, context=1024)
    scenario.operators.wait_ready()
    assert _leaders(scenario) == 1


def _serves_changes(scenario: Scenario, context: int) -> None:
    patch = f'{{"spec":{{"llamaCpp":{{"contextSize":{context}}}}}}}'
    scenario.kubectl("patch", "ms", "guarded", "--type=merge", "-p", patch)
    scenario.wait_settled("guarded")
    (pod,) = scenario.children("Pod", "guarded")
    assert str(context) in pod["spec"]["containers"][0]["args"]
