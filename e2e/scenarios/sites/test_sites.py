"""Two sites: each store's model runs on its own node, and a site that does not exist is named with those that do."""

from __future__ import annotations

import pytest

from e2e.scenarios.scenario import Scenario

_ZONE = "topology.kubernetes.io/zone"


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario) -> None:
    scenario.apply("servers.yaml")


def _sites_of_pods(scenario: Scenario, name: str) -> list[str]:
    zones = {node["metadata"]["name"]: node["metadata"]["labels"][_ZONE] for node in scenario.kube.list("Node")}
    return [zones[pod["spec"]["nodeName"]] for pod in scenario.children("Pod", name)]


def test_each_site_has_its_own(scenario: Scenario) -> None:
    scenario.wait_ready("first-store", "second-store")
    assert _sites_of_pods(scenario, "first-store") == ["store-1", "store-1"]
    assert _sites_of_pods(scenario, "second-store") == ["store-2"]
    for name in ("first-store", "second-store"):
        with scenario.chat(name) as chat:
            assert chat.ask().text


def test_an_unknown_site_is_named_with_the_known_ones(scenario: Scenario) -> None:
    def explained() -> str | None:
        condition = scenario.condition("unknown-store", "Reconciling")
        return condition["message"] if condition and condition["reason"] == "Unschedulable" else None

    message = scenario.until(explained, "unknown-store is Reconciling with reason Unschedulable")
    for word in ("store-99", "store-1", "store-2", _ZONE):
        assert word in message


def test_it_serves_once_the_site_is_right(scenario: Scenario) -> None:
    patch = '{"spec":{"placement":{"sites":["store-99","store-1"]}}}'
    scenario.kubectl("patch", "ms", "unknown-store", "--type=merge", "-p", patch)
    scenario.wait_ready("unknown-store")
    assert _sites_of_pods(scenario, "unknown-store") == ["store-1"]
