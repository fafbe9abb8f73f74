"""Models from a hub: downloaded with a token and a checksum, cached, with progress; what cannot be had is explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import yaml

from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import OWNED, Scenario

NAME = "chat"


@pytest.fixture(scope="module")
def began() -> datetime:
    """When the first of the manifests was applied."""
    return datetime.now(UTC)


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario, began: datetime) -> Iterator[None]:
    scenario.kubectl("create", "configmap", "hub", f"--from-file={scenario.folder / 'hub.py'}")
    scenario.apply("hub.yaml")
    scenario.kubectl("rollout", "status", "deployment/hub", "--timeout=60s", timeout=90)
    scenario.apply("servers.yaml")
    yield
    scenario.kubectl("exec", "deployment/hub", "--", "sh", "-c", "rm -rf /cache/*")
    scenario.kubectl("delete", "deployment/hub", "--wait=false")  # the sweep knows pods of ModelServers only


def _tokens(scenario: Scenario) -> set[str]:
    """Every token of the manifests."""
    documents = [
        document
        for file in ("hub.yaml", "servers.yaml")
        for document in yaml.safe_load_all((scenario.folder / file).read_text(encoding="utf-8"))
    ]
    return {document["stringData"]["token"] for document in documents if document["kind"] == "Secret"}


def _requests(scenario: Scenario, repository: str) -> list[str]:
    """What the hub was asked about a repository."""
    log = scenario.kubectl("logs", "deployment/hub")
    return [line for line in log.splitlines() if f" /{repository}/" in line]


# First: kubelet's next try, which needs the corrected token, comes after ten seconds, the one after it in twenty more.
def test_a_wrong_token_is_refused_and_corrected(scenario: Scenario) -> None:
    scenario.until(lambda: scenario.stalled("wrong-token") == "ModelGated", "the token is refused", timeout=30)
    good = next(iter(_tokens(scenario) - {"hf_e2eExpiredTokenThatNobodySees"}))
    patch = json.dumps({"stringData": {"token": good}})
    scenario.kubectl("patch", "secret", "expired", "--type=merge", "-p", patch)


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("wrong-sum", "ChecksumMismatch", ("0" * 64, "spec.model.sha256")),
        ("missing", "ModelNotFound", ("acme/absent", "spec.model.uri")),
        ("no-token", "ModelGated", ("acme/gated", "spec.model.auth.secretName")),
        ("no-secret", "ConfigNotFound", ('"absent"', "Create the Secret")),
    ],
)
def test_what_cannot_be_had_is_explained(scenario: Scenario, name: str, reason: str, words: tuple[str, ...]) -> None:
    scenario.until(lambda: scenario.stalled(name) == reason, f"{name} is Stalled by {reason}", timeout=30)
    for kind in ("Ready", "Stalled"):
        condition = scenario.condition(name, kind)
        assert condition is not None
        assert condition["reason"] == reason
        for word in words:
            assert word in condition["message"]


def test_it_serves_what_the_hub_has(scenario: Scenario) -> None:
    scenario.wait_ready(NAME)
    with scenario.chat(NAME) as chat:
        assert chat.ask().text
    (model,) = scenario.server(NAME)["status"]["models"]
    assert model["state"] == "Ready"
    assert model["digest"] == scenario.server(NAME)["spec"]["model"]["sha256"]
    assert model["size"] > 100_000


def test_a_second_pod_on_the_node_downloads_nothing(scenario: Scenario) -> None:
    before = _requests(scenario, "acme/chat")
    assert len([line for line in before if "GET /acme/chat/resolve/" in line]) == 1
    scenario.kubectl("scale", "ms", NAME, "--replicas=2")
    scenario.until(lambda: scenario.server(NAME)["status"]["readyReplicas"] == 2, "two pods serve", timeout=90)
    assert len({pod["spec"]["nodeName"] for pod in scenario.children("Pod", NAME)}) == 1
    assert _requests(scenario, "acme/chat") == before


def test_a_slow_download_shows_its_progress(scenario: Scenario) -> None:
    scenario.apply("slow.yaml")
    shown: list[int] = []

    def downloaded() -> bool:
        status = scenario.server("slow").get("status", {})
        model: Manifest = next(iter(status.get("models", [])), {})
        percent = model.get("progressPercent")
        if percent is not None and percent not in shown:
            shown.append(percent)
            ready = next(condition for condition in status["conditions"] if condition["type"] == "ModelReady")
            assert ready["reason"] == model["state"] == "Downloading"
            assert f"{percent} %" in ready["message"]
        # Loading is also what it is said to be doing in the moment before its loader's first word.
        return bool(shown) and model.get("state") in ("Verifying", "Loading", "Ready")

    scenario.until(downloaded, "it is downloaded")
    assert len(shown) > 1
    assert shown == sorted(shown)


def test_the_corrected_token_suffices(scenario: Scenario) -> None:
    scenario.wait_ready("wrong-token")
    assert scenario.stalled("wrong-token") is None


@pytest.mark.parametrize("kind", ["ModelServer", "Deployment", "ReplicaSet", "Pod", "ConfigMap", "Service", "Event"])
def test_no_object_shows_a_token(scenario: Scenario, kind: str) -> None:
    text = json.dumps(scenario.kube.list(kind, scenario.namespace))
    assert not [token for token in _tokens(scenario) if token in text]


def test_no_log_shows_a_token(scenario: Scenario, began: datetime) -> None:
    logs = scenario.operators.log(since=began)
    for pod in scenario.kube.list("Pod", scenario.namespace, labels=OWNED):
        for which in ("--previous=false", "--previous"):
            logs += scenario.kubectl("logs", pod["metadata"]["name"], "--all-containers", "--ignore-errors", which)
    for proof in ("acme/gated", "acme/chat"):
        assert proof in logs
    assert not [token for token in _tokens(scenario) if token in logs]
