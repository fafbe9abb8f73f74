"""The first five minutes: apply a ModelServer, wait for it, ask it, look at it, scale it."""

from __future__ import annotations

import pytest

from e2e.cluster import CommandError
from e2e.scenarios.scenario import Scenario

NAME = "helpdesk"


@pytest.fixture(scope="module", autouse=True)
def _served(scenario: Scenario) -> None:
    assert "created" in scenario.apply("modelserver.yaml")
    scenario.wait_ready(NAME)


def test_answers_through_its_service(scenario: Scenario) -> None:
    with scenario.chat(NAME) as chat:
        assert chat.models() == [NAME]
        answer = chat.ask()
    assert answer.text
    assert answer.prompt_tokens > 0
    assert 0 < answer.completion_tokens <= 16


def test_streams(scenario: Scenario) -> None:
    with scenario.chat(NAME) as chat:
        whole, streamed = chat.ask(), chat.stream()
    assert streamed.pieces > 1
    assert streamed.text == whole.text  # greedy, so the same noise twice
    assert streamed.completion_tokens == whole.completion_tokens


def test_url_in_status_works_from_a_pod(scenario: Scenario) -> None:
    status = scenario.server(NAME)["status"]
    assert status["url"] == f"http://{NAME}-model.{scenario.namespace}.svc.cluster.local/v1"
    pod = scenario.children("Pod", NAME)[0]["metadata"]["name"]
    script = f"import urllib.request as r; print(r.urlopen('{status['url']}/models').status)"
    assert scenario.kubectl("exec", pod, "-c", "sidecar", "--", "python3", "-c", script).strip() == "200"


def test_kubectl_get_tells_what_one_wants_to_know(scenario: Scenario) -> None:
    header, line = scenario.kubectl("get", "modelservers").splitlines()
    assert header.split() == ["NAME", "ENGINE", "MODEL", "WANTED", "SERVING", "SCALING", "READY", "REASON", "AGE"]
    for word in (NAME, "LlamaCpp", "file:///var/lib/agentfleet/models/tiny.gguf", "True", "Serving"):
        assert word in line.split()
    wide = scenario.kubectl("get", "ms", NAME, "-o", "wide")
    assert scenario.server(NAME)["status"]["url"] in wide


def test_status_says_what_runs(scenario: Scenario) -> None:
    status = scenario.server(NAME)["status"]
    assert [(model["name"], model["state"]) for model in status["models"]] == [(NAME, "Ready")]
    assert status["engineVersion"]
    assert status["revision"] == scenario.children("Pod", NAME)[0]["metadata"]["labels"]["agentfleet.dev/revision"]


def test_explain_is_documentation(scenario: Scenario) -> None:
    text = scenario.kubectl("explain", "modelserver.spec.model.uri")
    for word in ("hf://owner/repo", "pvc://claim/path", "file:///path", "ollama://name:tag"):
        assert word in text
    assert "DESCRIPTION" in scenario.kubectl("explain", "modelserver.spec.llamaCpp.contextSize")


def test_kubectl_scale(scenario: Scenario) -> None:
    scenario.kubectl("scale", "ms", NAME, "--replicas=2")
    scenario.until(lambda: scenario.server(NAME)["status"]["readyReplicas"] == 2, "two pods serve")
    ready = scenario.condition(NAME, "Ready")
    assert ready is not None
    assert ready["status"] == "True"  # scaling out was no outage
    scenario.kubectl("scale", "ms", NAME, "--replicas=0")
    scenario.until(lambda: (scenario.condition(NAME, "Ready") or {}).get("reason") == "ScaledToZero", "it is at zero")
    scenario.until(lambda: not scenario.children("Pod", NAME), "its pods are going")
    scenario.kubectl("scale", "ms", NAME, "--replicas=1")
    scenario.until(lambda: scenario.server(NAME)["status"]["readyReplicas"] == 1, "one pod serves again")
    with scenario.chat(NAME) as chat:
        assert chat.ask().text


def test_a_refusal_names_field_value_and_legal_values(scenario: Scenario) -> None:
    with pytest.raises(CommandError) as refused:
        scenario.kubectl("patch", "ms", NAME, "--type=merge", "-p", '{"spec":{"model":{"uri":"ollama://tiny"}}}')
    for word in ("spec.model.uri", "ollama://tiny", "hf://", "pvc://", "file://"):
        assert word in refused.value.stderr
