"""Security: pods at Pod Security `restricted`, endpoints that are watched or refused, and who may speak with whom.

The network of the test cluster enforces no policies: cyclonus says what the live ones mean.
"""

from __future__ import annotations

import pytest

from e2e.install import NAMESPACE as OPERATORS
from e2e.policies.evaluator import Connection, Peer, allowed
from e2e.scenarios.networks import peer, policies
from e2e.scenarios.scenario import Scenario

MODEL = "acme/tiny:1"
RESTRICTED = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
REGISTRY = "agentfleet-e2e"
OLLAMA, SIDECAR = 11434, 9901


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario) -> None:
    scenario.kube.patch("Namespace", scenario.namespace, "", RESTRICTED)
    scenario.apply("servers.yaml")
    scenario.wait_ready("pulled")


def test_serves_where_only_restricted_pods_are_admitted(scenario: Scenario) -> None:
    with scenario.chat("pulled", MODEL) as chat:
        assert chat.ask().text


def test_an_endpoint_is_watched(scenario: Scenario) -> None:
    scenario.wait_ready("watched")
    assert MODEL in {model["name"] for model in scenario.server("watched")["status"]["models"]}


def test_the_api_server_is_no_endpoint(scenario: Scenario) -> None:
    scenario.until(lambda: scenario.stalled("apiserver") == "EndpointRefused", "the API server's address is refused")


def test_a_pod_that_downloads_is_admitted(scenario: Scenario) -> None:
    scenario.until(lambda: scenario.children("Pod", "loading"), "there is a pod with a loader")


def test_a_folder_of_the_node_is_not_admitted_and_the_status_says_so(scenario: Scenario) -> None:
    scenario.until(lambda: scenario.stalled("folder"), "what the namespace refuses is told")
    stalled = scenario.condition("folder", "Stalled")
    assert stalled is not None
    assert "restricted" in stalled["message"]
    assert "hostPath" in stalled["message"]
    assert scenario.children("Pod", "folder") == []


def test_live_policies_let_through_what_is_needed_and_no_more(scenario: Scenario) -> None:
    scenario.until(lambda: scenario.children("Pod", "watched"), "the endpoint is watched")
    pulled, watched = (peer(scenario, scenario.children("Pod", name)[0]) for name in ("pulled", "watched"))
    operator = peer(scenario, scenario.kube.list("Pod", OPERATORS)[0])
    registry = peer(scenario, scenario.kube.list("Pod", REGISTRY, labels="app=registry")[0])
    client = Peer("10.244.1.250", scenario.namespace, {"app": "chat"}, pulled.namespace_labels)
    metadata, internet = Peer("169.254.169.254"), Peer("203.0.113.7")
    expected = {
        "client": (Connection(client, pulled, OLLAMA), True),
        "client to the sidecar": (Connection(client, pulled, SIDECAR), False),
        "client of another namespace": (Connection(registry, pulled, OLLAMA), False),
        "operator": (Connection(operator, pulled, SIDECAR), True),
        "operator to the watcher": (Connection(operator, watched, SIDECAR), True),
        "pull": (Connection(pulled, registry, 5000), True),
        "pull from elsewhere": (Connection(pulled, internet, 5000), False),
        "metadata": (Connection(pulled, metadata, 443), False),
        "watch": (Connection(watched, pulled, OLLAMA), True),
        "watcher to the sidecar": (Connection(watched, pulled, SIDECAR), False),
        "watcher to the internet": (Connection(watched, internet, 443), False),
    }
    verdicts = allowed(policies(scenario), [connection for connection, _ in expected.values()])
    assert dict(zip(expected, verdicts, strict=True)) == {name: verdict for name, (_, verdict) in expected.items()}
