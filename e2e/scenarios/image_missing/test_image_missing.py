"""An image that cannot be pulled: it is explained, what served before goes on serving, and the correction suffices."""

from __future__ import annotations

import pytest

from e2e.scenarios.scenario import Scenario

_ABSENT = '{"spec":{"image":"agentfleet/absent:e2e"}}'
_DEFAULT = '{"spec":{"image":null}}'


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario) -> None:
    scenario.apply("servers.yaml")
    scenario.wait_ready("runs")
    scenario.kubectl("patch", "ms", "runs", "--type=merge", "-p", _ABSENT)


@pytest.mark.parametrize("name", ["never-ran", "runs"])
def test_it_is_stalled_with_the_images_name(scenario: Scenario, name: str) -> None:
    scenario.until(lambda: scenario.stalled(name) == "ImagePullFailed", f"{name} is Stalled by ImagePullFailed")
    stalled = scenario.condition(name, "Stalled")
    assert stalled is not None
    assert "agentfleet/absent:e2e" in stalled["message"]
    assert "spec.image" in stalled["message"]


def test_what_never_ran_is_not_ready(scenario: Scenario) -> None:
    ready = scenario.condition("never-ran", "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "ImagePullFailed")


def test_what_served_goes_on_serving(scenario: Scenario) -> None:
    ready = scenario.condition("runs", "Ready")
    assert ready is not None
    assert ready["status"] == "True"
    with scenario.chat("runs") as chat:
        assert chat.ask().text


def test_the_corrected_image_suffices(scenario: Scenario) -> None:
    for name in ("never-ran", "runs"):
        scenario.kubectl("patch", "ms", name, "--type=merge", "-p", _DEFAULT)
    for name in ("never-ran", "runs"):
        scenario.wait_settled(name)
        assert scenario.stalled(name) is None
