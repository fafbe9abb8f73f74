"""Hardware profiles: pods run on the best that the nodes have, move up and down by themselves, and lose no request.

The GPU is a number in a node's status: the scheduler counts it, and llama-server computes on the CPU all the same. So
everything here really serves, but vLLM, whose A100 never comes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.disruptions import gpus_everywhere
from e2e.scenarios.kube import Kube
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, Traffic, table, traffic

NAME = "chat"
RATE = Rate(streams=0.5, stream_tokens=60, shorts=0.5)
_GPU = "nvidia.com/gpu"
_PRODUCT = "nvidia.com/gpu.product"
_SETTLED = 2
"""Streams that must be whole before the next thing happens."""


@pytest.fixture(scope="module", autouse=True)
def _without_gpus(embedded: EmbeddedCluster, kube: Kube) -> Iterator[None]:
    with gpus_everywhere(embedded, kube, 0):
        yield
    for node in embedded.nodes:
        embedded.kubectl("label", "node", node.name, f"{_PRODUCT}-")


@pytest.fixture(scope="module", autouse=True)
def flowing(scenario: Scenario, _without_gpus: None) -> Iterator[Traffic]:
    """Steady traffic, whatever the pods run on."""
    scenario.apply("modelserver.yaml")
    scenario.wait_ready(NAME)
    with scenario.address(NAME) as address, traffic(address, NAME, RATE) as seen:
        _flows_on(scenario, seen)
        yield seen


def _flows_on(scenario: Scenario, seen: Traffic) -> None:
    since = seen.now
    scenario.until(lambda: seen.whole(after=since) >= _SETTLED, "streams are answered", timeout=60)


def _wait_for(scenario: Scenario, profile: str) -> str:
    """Wait until only pods of the profile serve; returns the plan's explanation."""

    def there() -> bool:
        return bool(scenario.server(NAME).get("status", {}).get("profile") == profile)

    scenario.until(there, f"profile {profile} is chosen", timeout=60)
    scenario.wait_settled(NAME)
    plan = scenario.server(NAME)["status"]["plan"]
    return "\n".join(plan["explanation"])


def _model_file(scenario: Scenario) -> str:
    """The file that the one engine serves, and the GPUs that its pod has."""
    (pod,) = scenario.children("Pod", NAME)
    engine = pod["spec"]["containers"][0]
    arguments = engine["args"]
    file = arguments[arguments.index("--model") + 1].rpartition("/")[2]
    return f"{file} on {engine['resources'].get('requests', {}).get(_GPU, '0')} GPUs"


def test_without_gpus_it_serves_on_cpus(scenario: Scenario) -> None:
    explanation = _wait_for(scenario, "cpu")
    for words in ("room for 1 pod of cpu", "a100: no node can run it", "l4: no node can run it", "Variant q4"):
        assert words in explanation
    assert _model_file(scenario) == "tiny.gguf on 0 GPUs"
    with scenario.chat(NAME) as chat:
        assert chat.ask().text


def test_it_moves_up_to_a_gpu_that_appears(scenario: Scenario, embedded: EmbeddedCluster, flowing: Traffic) -> None:
    flowing.phase = "up"
    node = embedded.nodes[-1].name
    scenario.kubectl("label", "node", node, f"{_PRODUCT}=NVIDIA-L4")
    embedded.set_gpus(node, 1)
    # A GPU that is free for a moment moves nobody: it has to last.
    scenario.until(lambda: "l4" in scenario.server(NAME)["status"].get("betterProfiles", {}), "l4 is seen", timeout=20)
    assert scenario.server(NAME)["status"]["profile"] == "cpu"
    explanation = _wait_for(scenario, "l4")
    for words in ("room for 1 pod of l4", "a100: no node can run it", "Variant q8"):
        assert words in explanation
    assert _model_file(scenario) == "slow.gguf on 1 GPUs"
    _flows_on(scenario, flowing)


def test_it_falls_back_when_the_gpu_is_gone(scenario: Scenario, embedded: EmbeddedCluster, flowing: Traffic) -> None:
    flowing.phase = "down"
    embedded.set_gpus(embedded.nodes[-1].name, 0)
    explanation = _wait_for(scenario, "cpu")
    for words in ("room for 1 pod of cpu", "l4: no node can run it", "Variant q4"):
        assert words in explanation
    assert _model_file(scenario) == "tiny.gguf on 0 GPUs"
    _flows_on(scenario, flowing)


def test_nothing_was_lost(flowing: Traffic, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{table(flowing)}")
    flowing.assert_nothing_lost()
