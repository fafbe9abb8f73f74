"""Secrets are mounted, never read: their values are in no log, no status, no event and no ConfigMap."""

from __future__ import annotations

import json

import pytest
import yaml

from e2e.scenarios.scenario import Scenario


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario) -> None:
    scenario.apply("servers.yaml")
    scenario.wait_ready("discreet")
    scenario.until(lambda: scenario.stalled("gated"), "the loader of gated has failed", timeout=60)


@pytest.fixture(scope="module")
def values(scenario: Scenario) -> list[str]:
    """What must not be seen anywhere."""
    documents = yaml.safe_load_all((scenario.folder / "servers.yaml").read_text(encoding="utf-8"))
    secret = next(document for document in documents if document["kind"] == "Secret")
    return list(secret["stringData"].values())


def test_the_engine_has_the_value(scenario: Scenario, values: list[str]) -> None:
    (pod,) = scenario.children("Pod", "discreet")
    seen = scenario.kubectl("exec", pod["metadata"]["name"], "-c", "engine", "--", "sh", "-c", "echo $SECRET_KEY")
    assert seen.strip() in values


@pytest.mark.parametrize("kind", ["ModelServer", "Deployment", "Pod", "ConfigMap", "Service", "Event"])
def test_no_object_shows_it(scenario: Scenario, values: list[str], kind: str) -> None:
    text = json.dumps(scenario.kube.list(kind, scenario.namespace))
    assert not [value for value in values if value in text]


def test_no_log_shows_it(scenario: Scenario, values: list[str]) -> None:
    logs = scenario.operators.log()
    for name in ("discreet", "gated"):
        for pod in scenario.children("Pod", name):
            logs += scenario.kubectl("logs", pod["metadata"]["name"], "--all-containers", "--ignore-errors")
    assert logs
    assert not [value for value in values if value in logs]


def test_the_operator_may_not_read_secrets(scenario: Scenario) -> None:
    account = "system:serviceaccount:agentfleet-system:agentfleet"
    for verb in ("get", "list", "watch"):
        assert not _may(scenario, verb, account)


def _may(scenario: Scenario, verb: str, account: str) -> bool:
    attributes = {"namespace": scenario.namespace, "verb": verb, "resource": "secrets"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": account, "resourceAttributes": attributes},
    }
    answer = json.loads(scenario.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    return bool(answer["status"]["allowed"])
