"""vLLM's longer tests, for --full: traffic through all that moves pods, and each scenario of the contract."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
import yaml

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.disruptions import drained
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, Traffic, table, traffic

pytestmark = pytest.mark.skipif(os.environ.get("AGENTFLEET_E2E_FULL") != "1", reason="a quarter of an hour: --full")

_START = 300
_RATE = Rate(streams=0.3, stream_tokens=200, shorts=0.3, short_tokens=4)
_SCENARIOS = {
    "Development": ["--max-num-seqs=32", "--no-enable-prefix-caching"],
    "Staging": ["--max-num-seqs=64", "--enable-prefix-caching"],
    "ProductionLow": ["--max-num-seqs=128", "--enable-chunked-prefill"],
    "ProductionHigh": ["--max-num-seqs=256", "--max-num-batched-tokens=16384"],
    "Enterprise": ["--max-num-seqs=512", '--structured-outputs-config={"backend": "outlines"}'],
}


def _server(place: Scenario, name: str, **spec: object) -> None:
    written: Manifest = yaml.safe_load((place.folder / "modelserver.yaml").read_text(encoding="utf-8"))
    del written["spec"]["adapters"]
    written["metadata"]["name"] = name
    written["spec"] |= spec
    place.kubectl("apply", "-f", "-", stdin=json.dumps(written))


@pytest.fixture(scope="module")
def flowing(scenario: Scenario, provided: None) -> Iterator[Traffic]:
    """Streams to two pods, for as long as the module runs."""
    _server(scenario, "busy", replicas=2)
    scenario.wait_settled("busy", pods=2, timeout=_START)
    with scenario.address("busy") as address, traffic(address, "busy", _RATE) as seen:
        yield seen


@pytest.fixture
def during(scenario: Scenario, flowing: Traffic, request: pytest.FixtureRequest) -> Iterator[None]:
    """Traffic before, in and after the test; none of it may be lost."""
    flowing.phase = request.node.name.removeprefix("test_")
    yield
    since = flowing.now
    scenario.until(lambda: flowing.whole(after=since) >= 2, "streams are answered", timeout=90)
    flowing.assert_nothing_lost()


@pytest.mark.usefixtures("during")
def test_scale_in_and_out(scenario: Scenario) -> None:
    for replicas in (1, 2):
        scenario.kubectl("scale", "ms", "busy", f"--replicas={replicas}")
        scenario.wait_settled("busy", pods=replicas, timeout=_START)


@pytest.mark.usefixtures("during")
def test_operator_killed_in_a_rollout(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    before = {pod["metadata"]["name"] for pod in scenario.children("Pod", "busy")}
    change = {"spec": {"vllm": {"maxNumSeqs": 8}}}
    scenario.kubectl("patch", "ms", "busy", "--type=merge", "-p", json.dumps(change))
    scenario.until(
        lambda: {pod["metadata"]["name"] for pod in scenario.children("Pod", "busy")} - before, "the rollout has begun"
    )
    scenario.operators.kill_leader(embedded)
    scenario.wait_settled("busy", pods=2, timeout=_START)


@pytest.mark.usefixtures("during")
def test_node_drain(scenario: Scenario, embedded: EmbeddedCluster) -> None:
    with drained(scenario, embedded.nodes[0].name):
        scenario.wait_settled("busy", pods=2, timeout=_START)


def test_counts(scenario: Scenario, flowing: Traffic, capsys: pytest.CaptureFixture[str]) -> None:
    flowing.end()
    with capsys.disabled():
        print(f"\n{table(flowing)}")
    flowing.assert_nothing_lost()
    scenario.kubectl("delete", "ms", "busy")


@pytest.mark.parametrize("name", _SCENARIOS)
def test_each_scenario_serves(scenario: Scenario, provided: None, name: str) -> None:
    server = name.lower()
    _server(scenario, server, scenario=name, vllm={})
    try:
        scenario.wait_ready(server, timeout=_START)
        (pod,) = scenario.children("Pod", server)
        args = next(each for each in pod["spec"]["containers"] if each["name"] == "engine")["args"]
        assert set(_SCENARIOS[name]) <= set(args)
        assert scenario.server(server)["status"]["plan"]["explanation"]
        with scenario.chat(server) as chat:
            assert chat.ask().completion_tokens
    finally:
        scenario.kubectl("delete", "ms", server)
