"""GPUs: servers wait for them and say so, take what they asked for and no more; classes that must exist are named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.disruptions import gpus_everywhere
from e2e.scenarios.kube import Kube, Manifest
from e2e.scenarios.scenario import Scenario

_GPU = "nvidia.com/gpu"
_WANTED = 2


@pytest.fixture(scope="module", autouse=True)
def _without_gpus(embedded: EmbeddedCluster, kube: Kube) -> Iterator[None]:
    with gpus_everywhere(embedded, kube, 0):
        yield


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario, _without_gpus: None) -> Iterator[None]:
    scenario.apply("classes.yaml", "first.yaml")
    yield
    # The classes belong to no namespace, so they do not go with the scenario's.
    for file in ("classes.yaml", "absent-class.yaml"):
        scenario.kubectl("delete", f"--filename={scenario.folder / file}", "--ignore-not-found", "--wait=false")


def _unschedulable(scenario: Scenario, name: str) -> Manifest | None:
    """The Reconciling condition where it says that no node fits."""
    condition = scenario.condition(name, "Reconciling")
    return condition if condition and condition["reason"] == "Unschedulable" else None


def _scheduled(scenario: Scenario, name: str) -> Manifest | None:
    """The server's pod, once it has a node."""
    return next((pod for pod in scenario.children("Pod", name) if pod["spec"].get("nodeName")), None)


def test_without_gpus_it_waits_and_says_so(scenario: Scenario) -> None:
    reconciling = scenario.until(lambda: _unschedulable(scenario, "first"), "first is Unschedulable")
    ready = scenario.condition("first", "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("Unknown", "Unschedulable")
    for word in (_GPU, "spec.gpu", "add a node"):
        assert word in reconciling["message"]
    assert scenario.stalled("first") is None  # it may pass by itself


def test_it_goes_where_gpus_appear(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    node = embedded.nodes[-1].name
    embedded.set_gpus(node, _WANTED)
    pod = scenario.until(lambda: _scheduled(scenario, "first"), "first has a node")
    assert pod["spec"]["nodeName"] == node
    # What stops it now is the next thing that is wrong with it.
    scenario.until(lambda: scenario.stalled("first") == "ImagePullFailed", "first is not Unschedulable any more")


def test_the_pod_asks_for_what_was_given(scenario: Scenario) -> None:
    pod = _scheduled(scenario, "first")
    assert pod is not None
    spec = pod["spec"]
    engine = spec["containers"][0]
    assert engine["resources"]["requests"][_GPU] == engine["resources"]["limits"][_GPU] == str(_WANTED)
    assert "--tensor-parallel-size=2" in engine["args"]
    memory = next(each["name"] for each in engine["volumeMounts"] if each["mountPath"] == "/dev/shm")
    volume = next(each for each in spec["volumes"] if each["name"] == memory)
    assert volume["emptyDir"]["medium"] == "Memory"
    for key in (_GPU, "e2e/reserved"):
        assert {"key": key, "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert (spec["priorityClassName"], spec["priority"]) == ("e2e-gpus", 1000)
    assert spec["runtimeClassName"] == "e2e-gpus"
    for other in spec["initContainers"]:
        assert _GPU not in other["resources"].get("limits", {})


def test_a_class_that_does_not_exist_is_named(scenario: Scenario) -> None:
    scenario.apply("second.yaml")
    scenario.until(lambda: scenario.stalled("unclassed") == "Rejected", "unclassed is Stalled by Rejected")
    for kind in ("Ready", "Stalled"):
        condition = scenario.condition("unclassed", kind)
        assert condition is not None
        assert "no PriorityClass with name e2e-late was found" in condition["message"]
    assert scenario.children("Pod", "unclassed") == []


def test_it_serves_once_the_class_is_there(scenario: Scenario) -> None:
    scenario.apply("absent-class.yaml")
    scenario.wait_ready("unclassed")
    assert scenario.stalled("unclassed") is None


def test_taken_gpus_are_not_given_twice(scenario: Scenario) -> None:
    scenario.until(lambda: _unschedulable(scenario, "second"), "second is Unschedulable")
    assert _scheduled(scenario, "second") is None
    scenario.kubectl("scale", "ms", "first", "--replicas=0")
    scenario.until(lambda: _scheduled(scenario, "second"), "second has the GPUs that first had")
    assert scenario.children("Pod", "first") == []
