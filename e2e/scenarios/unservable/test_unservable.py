"""Legal specs that this cluster cannot serve: each shows a stable reason and a hint as soon as the cause shows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario

_FILE = Path(__file__).parent / "servers.yaml"
_EXPECTED: dict[str, str] = {
    server["metadata"]["name"]: server["metadata"]["labels"]["expect"]
    for server in yaml.safe_load_all(_FILE.read_text(encoding="utf-8"))
}
_PROMPT_SECONDS = 10.0
_ON_ITS_WAY = (None, "PodInitializing", "ContainerCreating")
_HINT_WORDS = ("spec.", "setting", "Create", "extraArgs")
_WITHOUT_PODS = {"ClaimNotFound", "NotAllowed"}


@dataclass
class Seen:
    """When, in seconds of one clock, the cause could first be seen, and when the status first named it."""

    symptom: float | None = None
    named: float | None = None


def _shows_a_cause(pod: Manifest) -> bool:
    """Whether anybody who looks at the pod would see that something is wrong."""
    status = pod.get("status", {})
    if any(each["type"] == "PodScheduled" and each["status"] == "False" for each in status.get("conditions", ())):
        return True
    states = [
        state
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
        for state in (container.get("state", {}), container.get("lastState", {}))
    ]
    waiting = any(state.get("waiting", {}).get("reason") not in _ON_ITS_WAY for state in states)
    return waiting or any(state.get("terminated", {}).get("exitCode") for state in states)


def _reason(server: Manifest) -> str | None:
    conditions = {each["type"]: each for each in server.get("status", {}).get("conditions", ())}
    found = conditions.get("Stalled") or conditions.get("Reconciling")
    return found["reason"] if found else None


@pytest.fixture(scope="module")
def seen(scenario: Scenario) -> dict[str, Seen]:
    """All at once: what was seen of each server, until each has been explained."""
    scenario.apply("servers.yaml")
    began = time.monotonic()
    found = {name: Seen() for name in _EXPECTED}

    def all_explained() -> bool:
        now = time.monotonic() - began
        pods = scenario.kube.list("Pod", scenario.namespace)
        for server in scenario.kube.list("ModelServer", scenario.namespace):
            name = server["metadata"]["name"]
            mine = [pod for pod in pods if pod["metadata"]["labels"]["agentfleet.dev/modelserver"] == name]
            if found[name].symptom is None and any(map(_shows_a_cause, mine)):
                found[name].symptom = now
            if found[name].named is None and _reason(server) == _EXPECTED[name]:
                found[name].named = now
        return all(each.named is not None for each in found.values())

    try:
        scenario.until(all_explained, "each server shows its reason", timeout=60)
    except AssertionError as error:
        missing = [f"{name} ({_EXPECTED[name]})" for name, each in found.items() if each.named is None]
        print(f"not explained: {', '.join(missing)}\n{error}")
    return found


@pytest.mark.parametrize("name", _EXPECTED)
def test_the_reason_is_named_soon(scenario: Scenario, seen: dict[str, Seen], name: str) -> None:
    named = seen[name].named
    assert named is not None, f"{_reason(scenario.server(name))} instead of {_EXPECTED[name]}"
    since = seen[name].symptom
    assert named - (since if since is not None else 0.0) <= _PROMPT_SECONDS


@pytest.mark.parametrize("name", _EXPECTED)
def test_it_comes_with_a_hint_and_without_being_ready(scenario: Scenario, seen: dict[str, Seen], name: str) -> None:
    assert seen
    conditions = {each["type"]: each for each in scenario.server(name)["status"]["conditions"]}
    named = conditions.get("Stalled") or conditions["Reconciling"]
    assert conditions["Ready"]["status"] != "True"
    assert len(named["message"]) > 40
    assert any(word in named["message"] for word in _HINT_WORDS)


@pytest.mark.parametrize("name", [name for name, reason in _EXPECTED.items() if reason == "Unschedulable"])
def test_what_may_pass_by_itself_is_not_stalled(scenario: Scenario, seen: dict[str, Seen], name: str) -> None:
    assert seen
    assert scenario.stalled(name) is None


def test_what_is_not_allowed_makes_no_pods(scenario: Scenario, seen: dict[str, Seen]) -> None:
    assert seen
    for name, reason in _EXPECTED.items():
        if reason in _WITHOUT_PODS:
            assert scenario.children("Pod", name) == []


def test_an_event_tells_it_too(scenario: Scenario, seen: dict[str, Seen]) -> None:
    assert seen
    events = scenario.kube.list("Event", scenario.namespace, fields="involvedObject.kind=ModelServer")
    told = {(event["involvedObject"]["name"], event["reason"]) for event in events}
    assert {(name, reason) for name, reason in _EXPECTED.items() if reason != "Unschedulable"} <= told
