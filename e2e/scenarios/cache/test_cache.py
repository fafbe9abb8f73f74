"""Models in caches that outlive pods: filled once, by a Job or by the first pod, and used without the source after it.

The hub is the stand-in of scenarios/download; there is no provisioner of volumes, so the classes are made by hand.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.cluster import EmbeddedCluster
from e2e.install import SUPPORT_NAMESPACE
from e2e.registry import open_registry, push_artifact
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario

CACHE = "/var/lib/agentfleet/e2e-cache"
FOLDERS = ("kept", "shared", "node", "small")
LOADER_USER = 65532
TINY = "bf6ccba92c5ec0508acc618c389d611f86f8bb915a0a2ba751a9c05985fcd6ec"
LONG_AGO = 3600
"""Seconds since a model's last use after which it may make room; loaders wait for ten minutes."""


@pytest.fixture(scope="module")
def caches(embedded: EmbeddedCluster) -> Iterator[Path]:
    """The folders at the site store-1, as an administrator would make them: empty, and the loader's user may write."""
    top = embedded.nodes[0].host_path(CACHE)
    shutil.rmtree(top, ignore_errors=True)
    for name in FOLDERS:
        (top / name).mkdir(parents=True)
        os.chown(top / name, LOADER_USER, LOADER_USER)
    yield top
    shutil.rmtree(top)


@pytest.fixture(scope="module", autouse=True)
def _applied(scenario: Scenario, caches: Path) -> Iterator[None]:
    scenario.kubectl("create", "configmap", "hub", f"--from-file={scenario.folder.with_name('download') / 'hub.py'}")
    with scenario.kube.cluster.service(SUPPORT_NAMESPACE, "registry", 5000) as address, open_registry(address) as store:
        push_artifact(store, "acme/tiny.gguf", "v1", "library/tiny", "tiny.gguf")
    scenario.apply("hub.yaml", "volumes.yaml")
    scenario.kubectl("rollout", "status", "deployment/hub", "--timeout=60s", timeout=90)
    _tell_hub(scenario, "gate/closed")
    scenario.apply("kept.yaml", "servers.yaml")
    yield
    scenario.kubectl("delete", "deployment/hub", "--wait=false")  # the sweep knows pods of ModelServers only
    for name in ("kept", "shared"):
        scenario.kube.delete("PersistentVolume", f"e2e-cache-{name}")


def _tell_hub(scenario: Scenario, what: str) -> None:
    with scenario.kube.cluster.service(scenario.namespace, "hub", 80) as address:
        scenario.until(lambda: _put(f"http://{address}/{what}"), f"the hub takes {what}")


def _put(url: str) -> bool:
    """Between a pod that is ready and a connection to it stands kube-proxy."""
    try:
        return httpx.put(url, trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


def _model(scenario: Scenario, name: str) -> Manifest:
    """What status says of the server's model."""
    return next(iter(scenario.server(name).get("status", {}).get("models", [])), {})


def _patch(scenario: Scenario, name: str, spec: Manifest) -> None:
    scenario.kubectl("patch", "ms", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def test_the_job_tells_how_far_it_is(scenario: Scenario) -> None:
    """The hub holds the transfer in its middle."""
    percent = scenario.until(lambda: _model(scenario, "kept").get("progressPercent"), "some of it is there", timeout=60)
    assert percent in (10, 20, 30, 40, 50)
    assert _model(scenario, "kept")["state"] == "Downloading"
    reconciling = scenario.condition("kept", "Reconciling")
    assert reconciling is not None
    assert reconciling["reason"] == "PreparingModel"
    assert scenario.children("Pod", "kept") == []  # the engine's come after it
    _tell_hub(scenario, "gate/open")


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("wrong-sum", "ChecksumMismatch", ("0" * 64, "spec.model.sha256")),
        ("gated", "ModelGated", ("acme/gated", "spec.model.auth.secretName")),
        ("too-large", "DiskFull", ("102400", "spec.cache")),
    ],
)
def test_what_cannot_be_loaded_is_explained(scenario: Scenario, name: str, reason: str, words: tuple[str, ...]) -> None:
    scenario.until(lambda: scenario.stalled(name) == reason, f"{name} is Stalled by {reason}", timeout=60)
    for kind in ("Ready", "Stalled"):
        condition = scenario.condition(name, kind)
        assert condition is not None
        assert condition["reason"] == reason
        for word in words:
            assert word in condition["message"]


def test_corrected_they_serve(scenario: Scenario) -> None:
    _patch(scenario, "wrong-sum", {"model": {"sha256": TINY}})
    _patch(scenario, "gated", {"model": {"auth": {"secretName": "credentials"}}})
    _patch(scenario, "too-large", {"cache": {"size": "1Mi"}})
    scenario.wait_ready("wrong-sum", "gated", "too-large")
    for name in ("wrong-sum", "gated", "too-large"):
        assert scenario.stalled(name) is None


@pytest.mark.parametrize("name", ["kept", "from-registry", "from-web"])
def test_it_serves_from_every_kind_of_source(scenario: Scenario, name: str) -> None:
    scenario.wait_ready(name)
    with scenario.chat(name) as chat:
        assert chat.ask().text
    model, spec = _model(scenario, name), scenario.server(name)["spec"]["model"]
    assert (model["state"], model["digest"]) == ("Ready", spec["sha256"])


def test_two_servers_on_one_node_share_one_download(scenario: Scenario) -> None:
    scenario.wait_ready("one", "other")
    pods = [*scenario.children("Pod", "one"), *scenario.children("Pod", "other")]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 1
    log = scenario.kubectl("logs", "deployment/hub")
    assert len([line for line in log.splitlines() if "GET /acme/chat/resolve/" in line]) == 1


@pytest.fixture(scope="module")
def _deleted(scenario: Scenario) -> None:
    """What two servers have left when they and their pods are gone."""
    scenario.wait_ready("kept", "too-large")
    scenario.kubectl("delete", "ms", "kept", "too-large")
    jobs = ("get", "jobs", "-l", "app.kubernetes.io/instance=kept", "-o", "name")
    scenario.until(
        lambda: (
            not [pod for name in ("kept", "too-large") for pod in _pods(scenario, name)] and not scenario.kubectl(*jobs)
        ),
        "pods and Jobs of the deleted servers are gone",
        timeout=60,
    )


def _pods(scenario: Scenario, name: str) -> list[Manifest]:
    """The server's pods, those on their way out as well."""
    return scenario.kube.list("Pod", scenario.namespace, labels=f"agentfleet.dev/modelserver={name}")


@pytest.mark.usefixtures("_deleted")
def test_a_model_that_nobody_uses_makes_room(scenario: Scenario, caches: Path) -> None:
    (old,) = (caches / "small").glob("*/tiny.gguf")
    then = time.time() - LONG_AGO
    os.utime(old.parent / ".agentfleet" / "used", (then, then))
    scenario.apply("next.yaml")
    scenario.wait_ready("next")
    assert not old.exists()
    assert len(list((caches / "small").glob("*/model.gguf"))) == 1


@pytest.mark.usefixtures("_deleted")
def test_the_next_of_the_name_needs_no_hub(scenario: Scenario) -> None:
    """Nor do more pods of those that serve."""
    assert scenario.kube.list("PersistentVolumeClaim", scenario.namespace, labels="app.kubernetes.io/instance=kept")
    scenario.kubectl("scale", "deployment/hub", "--replicas=0")
    scenario.kubectl("wait", "--for=delete", "pod", "-l", "app=hub", "--timeout=30s")
    scenario.apply("kept.yaml")
    scenario.kubectl("scale", "ms", "one", "--replicas=2")
    scenario.wait_ready("kept")
    with scenario.chat("kept") as chat:
        assert chat.ask().text
    scenario.wait_settled("one", pods=2)
