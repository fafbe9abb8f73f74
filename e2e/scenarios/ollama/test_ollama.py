"""Ollama: the model is pulled from a registry, served under the wanted name, and what cannot be pulled is explained."""

from __future__ import annotations

import pytest

from e2e.scenarios.scenario import Scenario

MODEL = "acme/tiny:1"


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario) -> None:
    scenario.apply("servers.yaml")
    scenario.wait_ready("pulled")


def test_answers_and_streams_under_the_wanted_name(scenario: Scenario) -> None:
    with scenario.chat("pulled", MODEL) as chat:
        assert MODEL in chat.models()
        assert chat.ask().text
        assert chat.stream().pieces > 1


def test_status_names_the_model_with_digest_and_size(scenario: Scenario) -> None:
    model = scenario.server("pulled")["status"]["models"][0]
    assert (model["name"], model["state"]) == (MODEL, "Ready")
    assert len(model["digest"]) == 64
    assert model["size"] > 100_000


@pytest.mark.parametrize(("name", "reason"), [("absent", "ModelNotFound"), ("nowhere", "RegistryUnreachable")])
def test_a_model_that_cannot_be_pulled_is_explained(scenario: Scenario, name: str, reason: str) -> None:
    scenario.until(lambda: scenario.stalled(name) == reason, f"{name} is Stalled by {reason}")
    for kind in ("Ready", "ModelReady"):
        condition = scenario.condition(name, kind)
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("False", reason)
    stalled = scenario.condition(name, "Stalled")
    assert stalled is not None
    assert "spec.model.uri" in stalled["message"]


def test_the_reason_goes_when_the_name_is_corrected(scenario: Scenario) -> None:
    uri = "ollama://registry.agentfleet-e2e.svc:5000/library/tiny:latest"
    scenario.kubectl("patch", "ms", "absent", "--type=merge", "-p", f'{{"spec":{{"model":{{"uri":"{uri}"}}}}}}')
    scenario.wait_ready("absent")
    assert scenario.stalled("absent") is None
