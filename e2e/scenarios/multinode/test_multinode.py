"""Replicas over several nodes: the real CRD of LeaderWorkerSet comes and goes, and the test is its controller.

That controller is not here: what it would be given is written to the real API server, and its answers are the test's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from e2e.cluster.crds import LEADER_WORKER_SET, leader_worker_set
from e2e.scenarios.kube import Manifest, Refused
from e2e.scenarios.operators import Operators
from e2e.scenarios.scenario import Scenario

_NOTICED = 60
"""The operator looks for the CRD every 15 s, and at what waits for it every 30 s."""


@pytest.fixture(scope="module", autouse=True)
def _without_the_crd(scenario: Scenario) -> Iterator[None]:
    """The CRD belongs to the cluster, so where somebody has installed it for good this is no place to try."""
    if scenario.kube.get("CustomResourceDefinition", LEADER_WORKER_SET) is not None:
        pytest.skip("LeaderWorkerSet is installed, and removing it would remove what uses it")
    yield
    scenario.kubectl("delete", "crd", LEADER_WORKER_SET, "--ignore-not-found")


def _groups(scenario: Scenario) -> list[Manifest]:
    try:
        return scenario.children("LeaderWorkerSet", "wide")
    except Refused as refused:
        if refused.status in (404, 429):  # not served yet, and "storage is (re)initializing"
            return []
        raise


def _replicas(scenario: Scenario) -> list[int]:
    return [group["spec"]["replicas"] for group in _groups(scenario)]


def test_without_the_crd_it_is_told_and_nobody_else_is_held_up(scenario: Scenario, operators: Operators) -> None:
    scenario.apply("wide.yaml")
    scenario.wait_ready("narrow")
    scenario.until(lambda: scenario.stalled("wide") == "LeaderWorkerSetMissing", "wide is Stalled")
    condition = scenario.condition("wide", "Stalled")
    assert condition is not None
    assert LEADER_WORKER_SET in condition["message"]
    assert operators.is_ready()


def test_once_the_crd_is_there_the_group_is_made(scenario: Scenario) -> None:
    scenario.kubectl("apply", "--server-side", f"--filename={leader_worker_set()}")
    scenario.until(lambda: _replicas(scenario) == [1], "wide has one LeaderWorkerSet of one group", _NOTICED)
    scenario.until(lambda: scenario.stalled("wide") is None, "wide is not Stalled any more")


def test_the_api_server_kept_every_line_of_it(scenario: Scenario) -> None:
    """Unknown fields would have been dropped without a word; kubectl asks for a refusal instead."""
    [group] = _groups(scenario)
    template = group["spec"]["leaderWorkerTemplate"]
    assert (template["size"], template["restartPolicy"]) == (2, "RecreateGroupOnPodRestart")
    engines = [template[rank]["spec"]["containers"][0] for rank in ("leaderTemplate", "workerTemplate")]
    for engine in engines:
        assert engine["resources"]["limits"]["nvidia.com/gpu"] == "2"
        assert {"--nnodes=2", "--node-rank=$(LWS_WORKER_INDEX)"} <= set(engine["args"])
    assert ["--headless" in engine["args"] for engine in engines] == [False, True]
    name, version = group["metadata"]["name"], group["metadata"]["resourceVersion"]
    scenario.kubectl("annotate", "ms", "wide", "agentfleet.dev/look=again")
    scenario.stays(lambda: _groups(scenario)[0]["metadata"]["resourceVersion"] == version, "nothing is written", 3)
    assert _groups(scenario)[0]["metadata"]["name"] == name


def test_it_is_scaled_by_groups(scenario: Scenario) -> None:
    scenario.kubectl("scale", "ms", "wide", "--replicas=2")
    scenario.until(lambda: _replicas(scenario) == [2], "there are two groups")


def test_leaders_are_the_replicas(scenario: Scenario) -> None:
    """Pods as the controller makes them: the leader of each group and its worker, which serves nobody."""
    [group] = _groups(scenario)
    template = group["spec"]["leaderWorkerTemplate"]
    for index in range(2):
        for worker, rank in enumerate(("leaderTemplate", "workerTemplate")):
            labels = template[rank]["metadata"]["labels"]
            labels |= {"leaderworkerset.sigs.k8s.io/worker-index": str(worker)}
            _run(scenario, group, f"wide-{index}-{worker}", labels)
    status = {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2}
    scenario.kubectl(
        *("patch", "leaderworkerset", group["metadata"]["name"], "--subresource=status", "--type=merge"),
        f"--patch={json.dumps({'status': status})}",
    )
    scenario.wait_ready("wide")
    found = scenario.server("wide")["status"]
    assert (found["replicas"], found["readyReplicas"]) == (2, 2)
    selected = scenario.kube.list("Pod", scenario.namespace, labels=found["selector"])
    assert [pod["metadata"]["name"] for pod in selected] == ["wide-0-0", "wide-1-0"]


def test_without_the_crd_again_it_says_so_and_goes_on(scenario: Scenario, operators: Operators) -> None:
    restarts = operators.restarts()
    scenario.kubectl("delete", "crd", LEADER_WORKER_SET)
    scenario.until(lambda: scenario.stalled("wide") == "LeaderWorkerSetMissing", "wide is Stalled again", _NOTICED)
    scenario.wait_ready("narrow")
    assert operators.restarts() == restarts


def _run(scenario: Scenario, group: Manifest, name: str, labels: dict[str, str]) -> None:
    """A pod with the labels that its controller would give it; what runs in it does not matter here."""
    owner = {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet"}
    owner |= {part: group["metadata"][part] for part in ("name", "uid")}
    idle = {
        "name": "engine",
        "image": "agentfleet/operator:dev",
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", "import signal; signal.pause()"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {"containers": [idle], "terminationGracePeriodSeconds": 0},
    }
    scenario.kube.create("Pod", pod, scenario.namespace)
