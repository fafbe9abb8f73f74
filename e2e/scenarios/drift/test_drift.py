"""Drift: what is deleted returns, what is edited is put right, and what belongs to others is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import OWNED, Scenario

NAME = "steady"


@pytest.fixture(scope="module", autouse=True)
def _served(scenario: Scenario) -> None:
    scenario.apply("modelserver.yaml", "foreign.yaml")
    scenario.wait_ready(NAME)


def test_an_object_of_somebody_else_is_not_taken_over(scenario: Scenario) -> None:
    foreign = scenario.kube.get("Service", "taken-model", scenario.namespace)
    assert foreign is not None
    scenario.until(lambda: scenario.stalled("taken") == "NameConflict", "taken is Stalled by NameConflict")
    stalled = scenario.condition("taken", "Stalled")
    assert stalled is not None
    assert "taken-model" in stalled["message"]
    now = scenario.kube.get("Service", "taken-model", scenario.namespace)
    assert now is not None
    assert now["metadata"]["resourceVersion"] == foreign["metadata"]["resourceVersion"]
    assert now["spec"]["selector"] == {"app": "something-else"}
    assert OWNED not in now["metadata"]["labels"]
    scenario.kubectl("delete", "service", "taken-model")


def _uids(scenario: Scenario) -> dict[tuple[str, str], str]:
    """Kind and name of all children that can be deleted → uid."""
    return {
        (kind, child["metadata"]["name"]): child["metadata"]["uid"]
        for kind in ("Service", "ConfigMap", "Pod", "Deployment")
        for child in scenario.children(kind, NAME)
    }


def _wish(child: Manifest) -> Manifest:
    """What the operator says about a child."""
    meta = child["metadata"]
    kept = {key: meta.get(key) for key in ("labels", "annotations", "ownerReferences")}
    # Deployments count their own rollouts there.
    kept["annotations"] = {k: v for k, v in (kept["annotations"] or {}).items() if k.startswith("agentfleet.dev/")}
    return {**kept, "spec": child.get("spec"), "data": child.get("data")}


def test_deleted_children_return(scenario: Scenario) -> None:
    before = _uids(scenario)
    assert sorted(kind for kind, _ in before) == ["ConfigMap", "Deployment", "Pod", "Service", "Service"]
    for kind, name in before:
        scenario.kube.delete(kind, name, scenario.namespace)

    def all_back() -> bool:
        now = _uids(scenario)
        return all(now.get(child, uid) != uid for child, uid in before.items() if child[0] != "Pod")

    scenario.until(all_back, "Services, ConfigMap and Deployment are there again")
    scenario.wait_ready(NAME)
    scenario.until(lambda: scenario.server(NAME)["status"]["readyReplicas"] == 1, "a new pod serves")
    with scenario.chat(NAME) as chat:
        assert chat.ask().text


_ENGINE_IMAGE = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "intruder:1"}]
EDITS: dict[str, tuple[str, str, Any]] = {
    "selector of the Service": ("Service", "model", {"spec": {"selector": {"app": "intruder"}}}),
    "port of the Service": (
        "Service",
        "model",
        {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]}},
    ),
    "type of the Service": ("Service", "model", {"spec": {"type": "NodePort"}}),
    "labels of the headless Service": ("Service", "model-pods", {"metadata": {"labels": None}}),
    "image of the Deployment": ("Deployment", "", _ENGINE_IMAGE),
    "replicas of the Deployment": ("Deployment", "", {"spec": {"replicas": 3}}),
    "labels of the Deployment": ("Deployment", "", {"metadata": {"labels": None}}),
    "content of the ConfigMap": ("ConfigMap", "files", {"data": {"file-0": "as somebody else wants it"}}),
}
"""What is edited: kind, suffix of the name, merge patch or JSON patch."""


@pytest.mark.parametrize("edit", EDITS)
def test_edited_children_are_put_right(scenario: Scenario, edit: str) -> None:
    kind, suffix, patch = EDITS[edit]
    name = _child_name(scenario, kind, suffix)
    before = scenario.kube.get(kind, name, scenario.namespace)
    assert before is not None
    scenario.kube.patch(kind, name, scenario.namespace, patch, how="json" if isinstance(patch, list) else "merge")

    def repaired() -> bool:
        now = scenario.kube.get(kind, name, scenario.namespace)
        return now is not None and _wish(now) == _wish(before)

    scenario.until(repaired, f"{kind} {name} is as it was")


def _child_name(scenario: Scenario, kind: str, suffix: str) -> str:
    names = [child["metadata"]["name"] for child in scenario.children(kind, NAME)]
    if kind == "Service":
        return f"{NAME}-{suffix}"
    assert len(names) == 1
    name: str = names[0]
    return name


def test_it_serves_after_all_that(scenario: Scenario) -> None:
    scenario.until(lambda: scenario.server(NAME)["status"]["readyReplicas"] == 1, "one pod serves")
    with scenario.chat(NAME) as chat:
        assert chat.ask().text
    assert len(scenario.children("Deployment", NAME)) == 1


def test_the_conflict_ends_with_the_object(scenario: Scenario) -> None:
    scenario.until(lambda: scenario.stalled("taken") is None, "taken is not Stalled any more", timeout=45)
    scenario.wait_ready("taken")
