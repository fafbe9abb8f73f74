"""NetworkPolicies and pods of the cluster, as e2e/policies wants to know them."""

from __future__ import annotations

import json

from e2e.policies.evaluator import Manifest, Peer
from e2e.scenarios.scenario import Scenario


def policies(scenario: Scenario) -> list[Manifest]:
    """The live ones of the scenario's namespace."""
    found = json.loads(scenario.kubectl("get", "networkpolicies", "-o", "json"))["items"]
    return [
        {"metadata": {field: policy["metadata"][field] for field in ("name", "namespace")}, "spec": policy["spec"]}
        for policy in found
    ]


def peer(scenario: Scenario, pod: Manifest) -> Peer:
    """A pod, with the labels of its namespace."""
    namespace = pod["metadata"]["namespace"]
    found = scenario.kube.get("Namespace", namespace)
    assert found is not None
    return Peer(pod["status"]["podIP"], namespace, pod["metadata"].get("labels", {}), found["metadata"]["labels"])


def running_pods(scenario: Scenario) -> list[Manifest]:
    """All pods of the cluster that have an address of their own."""
    found = scenario.kube.list("Pod", fields="status.phase=Running")
    return [pod for pod in found if "podIP" in pod["status"] and not pod["spec"].get("hostNetwork")]
