"""Steady traffic through all that moves pods on purpose, and through a crash of the operator: no request is lost.

Streams of some seconds and short requests, to two engines at once, through the Service's address as any client in the
cluster. One test is one thing that happens; the traffic flows through all of them, and the last one prints the counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.disruptions import drained
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, Traffic, table, traffic

MODELS = {"llama": "llama", "ollama": "acme/slow"}
RATE = Rate(streams=0.5, stream_tokens=60, shorts=1.0)
_SETTLED = 2
"""Streams of each server that must be whole before the next thing happens."""


@pytest.fixture(scope="module", autouse=True)
def flowing(scenario: Scenario) -> Iterator[list[Traffic]]:
    """The traffic on every server."""
    scenario.apply("servers.yaml")
    scenario.wait_ready()
    for name in MODELS:
        scenario.wait_settled(name, pods=3)
    with ExitStack() as stack:
        traffics = [
            stack.enter_context(traffic(stack.enter_context(scenario.address(name)), model, RATE, name=name))
            for name, model in MODELS.items()
        ]
        _flows_on(scenario, traffics)
        yield traffics


@pytest.fixture
def during(scenario: Scenario, flowing: list[Traffic], request: pytest.FixtureRequest) -> Iterator[None]:
    """The test's name is the phase of its traffic, which goes on for a while after it; nothing may be lost in it."""
    for seen in flowing:
        seen.phase = request.node.name.removeprefix("test_")
    yield
    print(table(*flowing))  # pytest shows it where something fails
    _flows_on(scenario, flowing)
    for seen in flowing:
        seen.assert_nothing_lost()


def _flows_on(scenario: Scenario, flowing: list[Traffic]) -> None:
    """Wait until streams that begin from now on were answered by every server."""
    since = {seen.name: seen.now for seen in flowing}
    scenario.until(
        lambda: all(seen.whole(after=since[seen.name]) >= _SETTLED for seen in flowing),
        "every server answers streams",
        timeout=90,
    )


def _change(scenario: Scenario, spec: Manifest) -> None:
    for name in MODELS:
        scenario.kubectl("patch", "ms", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def _pods(scenario: Scenario) -> list[Manifest]:
    return [pod for name in MODELS for pod in scenario.children("Pod", name)]


def _wait_settled(scenario: Scenario, pods: int) -> None:
    """Wait until every server is as it shall be, and all other pods have ended."""
    for name in MODELS:
        scenario.wait_settled(name, pods)
    scenario.until(
        lambda: len(scenario.kube.list("Pod", scenario.namespace)) == pods * len(MODELS), "old pods end", timeout=90
    )


@pytest.mark.usefixtures("during")
def test_scale_in(scenario: Scenario) -> None:
    scenario.kubectl("scale", "ms", *MODELS, "--replicas=2")
    _wait_settled(scenario, pods=2)


@pytest.mark.usefixtures("during")
def test_rollout(scenario: Scenario) -> None:
    _change(scenario, {"env": [{"name": "ROLLOUT", "value": "first"}]})
    _wait_settled(scenario, pods=2)


@pytest.mark.usefixtures("during")
def test_operator_killed_in_a_rollout(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    before = {pod["metadata"]["name"] for pod in _pods(scenario)}
    restarts = scenario.operators.restarts()
    _change(scenario, {"env": [{"name": "ROLLOUT", "value": "second"}]})
    scenario.until(lambda: {pod["metadata"]["name"] for pod in _pods(scenario)} - before, "the rollout has begun")
    scenario.operators.kill_leader(embedded)
    scenario.until(lambda: scenario.operators.restarts() > restarts, "the operator was restarted", timeout=60)
    _wait_settled(scenario, pods=2)


def _nodes(scenario: Scenario) -> set[str]:
    return {pod["spec"]["nodeName"] for pod in _pods(scenario)}


@pytest.mark.usefixtures("during")
def test_node_drain(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    """One node after the other: for the second drain all pods are on one node, and yet some must always serve."""
    for node in embedded.nodes:
        with drained(scenario, node.name):
            assert node.name not in _nodes(scenario)
            _wait_settled(scenario, pods=2)


def test_counts(flowing: list[Traffic], capsys: pytest.CaptureFixture[str]) -> None:
    for seen in flowing:
        seen.end()
    with capsys.disabled():
        print(f"\n{table(*flowing)}")
    for seen in flowing:
        seen.assert_nothing_lost()
