"""Endpoints outside the cluster: found, listed, lost and found again; and addresses that are never asked.

The llama-server is a real one, outside of Kubernetes, on a machine that the pods can reach. Foundry Local is a stand-in
(foundry.py), since no real one can be had here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.chat import chat
from e2e.cluster import EmbeddedCluster
from e2e.cluster.layout import CONTROL_IP
from e2e.cluster.node import Node
from e2e.scenarios.external import foundry
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario

MODEL = "desk/tiny"
DESK_PORT, FOUNDRY_PORT = 18200, 18201
_IMAGE = "docker.io/agentfleet/llama-server:e2e"
_TO_NOTICE = 60
"""Seconds at most until a silent endpoint is told: it is asked every 30 s, then twice more, and kubelet asks too."""


@contextmanager
def desk(node: Node) -> Iterator[None]:
    """A llama-server for the time of the block: a container on the node's network that Kubernetes knows nothing of."""
    models = "type=bind,src=/var/lib/agentfleet/models,dst=/models,options=rbind:ro"
    arguments = ["--model", "/models/tiny.gguf", "--alias", MODEL, "--host", node.ip, "--port", str(DESK_PORT)]
    container = ["ctr", "-n", "k8s.io", "run", "--rm", "--net-host", "--cgroup=", "--mount", models]
    command = node.enter([*container, _IMAGE, "e2e-desk", "/app/llama-server", *arguments, "--ctx-size", "256"])
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()  # ctr passes it on to the container
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def machine(embedded: EmbeddedCluster) -> Node:
    """Where the llama-server runs."""
    node = embedded.nodes[-1]
    assert node.ip == "172.30.0.12", "servers.yaml names this address"
    return node


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario, machine: Node) -> Iterator[None]:
    with foundry.serving(CONTROL_IP, FOUNDRY_PORT):
        scenario.apply("servers.yaml")
        yield


def _models(scenario: Scenario, name: str) -> dict[str, str]:
    """Name → state of the models in status."""
    models: list[Manifest] = scenario.server(name)["status"].get("models", [])
    return {model["name"]: model["state"] for model in models}


def _wait_not_ready(scenario: Scenario, name: str, reason: str, timeout: float = 30) -> str:
    """Wait until the server is not Ready for this reason; returns the condition's message."""

    def found() -> Manifest | None:
        ready = scenario.condition(name, "Ready")
        return ready if ready and (ready["status"], ready["reason"]) == ("False", reason) else None

    message: str = scenario.until(found, f"{name} is not Ready: {reason}", timeout)["message"]
    return message


def test_an_endpoint_that_nobody_has_started_is_told(scenario: Scenario) -> None:
    message = _wait_not_ready(scenario, "desk", "EndpointUnreachable")
    assert f"172.30.0.12:{DESK_PORT}" in message
    assert "external.url" in message


def test_it_is_found_lost_and_found_again(scenario: Scenario, machine: Node) -> None:
    with desk(machine):
        scenario.wait_ready("desk")
        assert _models(scenario, "desk") == {MODEL: "Ready"}
        assert scenario.server("desk")["status"]["url"] == f"http://{machine.ip}:{DESK_PORT}/v1"
        with chat(f"{machine.ip}:{DESK_PORT}", MODEL) as client:  # as a client does that reads status.url
            assert client.ask().text
        assert "acme/absent" in _wait_not_ready(scenario, "absent", "ModelNotFound")
    _wait_not_ready(scenario, "desk", "EndpointUnreachable", _TO_NOTICE)
    with desk(machine):
        scenario.wait_ready("desk")
        assert _models(scenario, "desk") == {MODEL: "Ready"}


def test_foundry_tells_what_it_has(scenario: Scenario) -> None:
    """The wanted model under the name by which it is wanted; of the other, that it is not in memory."""
    scenario.wait_ready("foundry")
    wanted = foundry.LOADED.partition(":")[0]
    assert _models(scenario, "foundry") == {wanted: "Ready", foundry.CACHED: "Ready"}
    messages = {model["name"]: model.get("message", "") for model in scenario.server("foundry")["status"]["models"]}
    assert "not in memory" not in messages[wanted]
    assert "not in memory" in messages[foundry.CACHED]


@pytest.mark.parametrize(
    ("name", "why"),
    [("loopback", "loopback"), ("link-local", "metadata"), ("api-server", "never asked")],
)
def test_some_addresses_are_never_asked(scenario: Scenario, name: str, why: str) -> None:
    message = _wait_not_ready(scenario, name, "EndpointRefused")
    assert why in message
    assert scenario.stalled(name) == "EndpointRefused"
