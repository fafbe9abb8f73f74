"""Deleting a ModelServer leaves nothing, holds up nobody, and its name can be used again at once."""

from __future__ import annotations

import json

from e2e.scenarios.scenario import OWNED, Scenario

NAME = "leaving"
_KINDS = ("Deployment", "ReplicaSet", "Pod", "Service", "EndpointSlice", "ConfigMap")


def _left(scenario: Scenario, namespace: str) -> list[str]:
    return [
        f"{kind} {found['metadata']['name']}"
        for kind in _KINDS
        for found in scenario.kube.list(kind, namespace, labels=f"{OWNED}={NAME}")
    ]


def test_nothing_is_left(scenario: Scenario) -> None:
    scenario.apply("modelserver.yaml")
    scenario.wait_ready(NAME)
    assert {kind.split()[0] for kind in _left(scenario, scenario.namespace)} == set(_KINDS)
    scenario.kubectl("delete", "modelserver", NAME, "--timeout=5s")  # no finalizer: it goes at once
    scenario.until(lambda: not _left(scenario, scenario.namespace), "all children are gone", timeout=45)


def test_the_name_can_be_used_again_at_once(scenario: Scenario) -> None:
    scenario.apply("modelserver.yaml")
    scenario.wait_ready(NAME)
    first = scenario.server(NAME)["metadata"]["uid"]
    scenario.kubectl("delete", "modelserver", NAME, "--timeout=5s")
    scenario.apply("modelserver.yaml")
    scenario.wait_ready(NAME)
    second = scenario.server(NAME)["metadata"]["uid"]
    assert second != first
    for kind in ("Deployment", "Service", "ConfigMap"):
        children = scenario.children(kind, NAME)
        assert children, f"no {kind}"
        for child in children:
            assert child["metadata"]["ownerReferences"][0]["uid"] == second
    with scenario.chat(NAME) as chat:
        assert chat.ask().text


def test_a_namespace_goes_with_all_that_is_in_it(scenario: Scenario) -> None:
    namespace = f"{scenario.namespace}-whole"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    scenario.kube.create("Namespace", manifest)
    scenario.kube.cluster.kubectl("-n", namespace, "apply", "-f", str(scenario.folder / "modelserver.yaml"))
    scenario.until(lambda: scenario.kube.list("Pod", namespace), "it has pods")
    scenario.kube.cluster.kubectl("delete", "namespace", namespace, "--timeout=90s", timeout=100)
    assert json.loads(scenario.kube.cluster.kubectl("get", "ms", "-n", namespace, "-o", "json"))["items"] == []
