"""A model in a PersistentVolumeClaim: a missing claim is named, and once it is there, the model serves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.scenarios.scenario import Scenario

NAME = "from-claim"


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario) -> Iterator[None]:
    scenario.apply("modelserver.yaml")
    yield
    scenario.kube.delete("PersistentVolume", "e2e-models")


def test_the_missing_claim_is_named(scenario: Scenario) -> None:
    scenario.until(lambda: scenario.stalled(NAME) == "ClaimNotFound", "it is Stalled by ClaimNotFound")
    stalled = scenario.condition(NAME, "Stalled")
    assert stalled is not None
    assert "models" in stalled["message"]


def test_it_serves_when_the_claim_appears(scenario: Scenario) -> None:
    scenario.apply("volume.yaml")
    scenario.wait_ready(NAME)
    with scenario.chat(NAME) as chat:
        assert chat.ask().text
