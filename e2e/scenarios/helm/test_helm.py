"""The chart's life: upgrades restart no engine, uninstalling keeps models serving, a later install takes them over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster, EmbeddedCluster
from e2e.install import RELEASE, helm, install
from e2e.scenarios.scenario import Scenario

NAME = "lasting"
_IMAGE = "docker.io/agentfleet/operator"
_OTHER_TAG = "next"


@pytest.fixture(scope="module", autouse=True)
def _served(scenario: Scenario, cluster: Cluster) -> Iterator[None]:
    scenario.apply("servers.yaml")
    scenario.wait_ready(NAME)
    yield
    install(cluster)
    scenario.operators.wait_ready()


def _pods(scenario: Scenario) -> dict[str, int]:
    """Uid and restarts of every engine pod."""
    return {
        pod["metadata"]["uid"]: sum(
            status["restartCount"]
            for status in (*pod["status"]["containerStatuses"], *pod["status"]["initContainerStatuses"])
        )
        for pod in scenario.children("Pod", NAME)
    }


def test_an_upgrade_restarts_no_engine(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    before, operators = _pods(scenario), {pod["metadata"]["uid"] for pod in scenario.operators.pods()}
    for node in embedded.nodes:
        node.run(["ctr", "-n", "k8s.io", "images", "tag", "--force", f"{_IMAGE}:dev", f"{_IMAGE}:{_OTHER_TAG}"])
    image = {"repository": "agentfleet/operator", "tag": _OTHER_TAG, "pullPolicy": "IfNotPresent"}
    install(embedded, {"image": image, "operator": {"logLevel": "DEBUG"}})
    # `helm upgrade --wait` returns when the new pod stands by; at a next look it finds the Lease free.
    scenario.operators.wait_ready(timeout=30)
    assert not operators & {pod["metadata"]["uid"] for pod in scenario.operators.pods()}
    scenario.stays(lambda: _pods(scenario) == before, "the engine pods stay as they are", 5)


def test_new_pods_get_the_new_sidecar(scenario: Scenario) -> None:
    scenario.kubectl("patch", "ms", NAME, "--type=merge", "-p", '{"spec":{"llamaCpp":{"contextSize":256}}}')
    scenario.wait_settled(NAME, pods=2)
    for pod in scenario.children("Pod", NAME):
        assert pod["spec"]["initContainers"][0]["image"] == f"agentfleet/operator:{_OTHER_TAG}"


def test_uninstalling_keeps_models_and_their_pods(scenario: Scenario, cluster: Cluster) -> None:
    before = _pods(scenario)
    helm(cluster, "uninstall", RELEASE, "--wait", "--timeout=60s")
    assert scenario.operators.pods() == []
    assert scenario.kube.get("CustomResourceDefinition", "modelservers.agentfleet.dev") is not None
    assert scenario.server(NAME)["spec"]["replicas"] == 2
    assert _pods(scenario) == before
    with scenario.chat(NAME) as chat:
        assert chat.ask().text


def test_a_new_install_takes_over_without_a_restart(scenario: Scenario, cluster: Cluster) -> None:
    before = _pods(scenario)
    scenario.kube.delete("Service", f"{NAME}-model-pods", scenario.namespace)  # drift while nobody looks
    install(cluster)
    # Uninstalling took the old operator's rights before it could hand on the Lease, which has to run out.
    scenario.operators.wait_ready(timeout=30)
    scenario.until(
        lambda: scenario.kube.get("Service", f"{NAME}-model-pods", scenario.namespace), "the deleted Service is back"
    )
    scenario.stays(lambda: _pods(scenario) == before, "the engine pods stay as they are", 3)
    scenario.wait_ready(NAME)
