"""Cold starts: phases from what kubelet writes, the 90th percentile of the last ten, and pods that tell nothing."""

from typing import Any

import pytest

from agentfleet.objects import Manifest
from agentfleet.planning.coldstart import cold_start
from agentfleet.resources.modelserver_status import ColdStart


def at(second: int) -> str:
    return f"2026-11-21T10:{second // 60:02}:{second % 60:02}Z"


def pod(
    name: str = "a", *, made: int = 0, scheduled: int = 2, loaded: tuple[int, int] | None = (12, 72), started: int = 75,
    ready: int = 105, restarts: int = 0,
) -> Manifest:  # fmt: skip
    """A pod whose phases are: 2 s to a node, 13 s of images and volumes, 60 s of download, 30 s of loading."""
    engine: dict[str, Any] = {
        "name": "engine", "ready": True, "restartCount": restarts, "state": {"running": {"startedAt": at(started)}}
    }  # fmt: skip
    status: dict[str, Any] = {
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(scheduled)},
            {"type": "Ready", "status": "True", "lastTransitionTime": at(ready)},
        ],
        "containerStatuses": [engine],
    }
    if loaded:
        ended = {"terminated": {"exitCode": 0, "startedAt": at(loaded[0]), "finishedAt": at(loaded[1])}}
        status["initContainerStatuses"] = [{"name": "loader", "restartCount": 0, "state": ended}]
    return {"metadata": {"name": name, "creationTimestamp": at(made)}, "status": status}


def figures(found: ColdStart | None) -> tuple[int | None, ...]:
    assert found is not None
    return found.schedule, found.pull, found.download, found.load, found.total


def test_phases_of_one_pod() -> None:
    assert figures(cold_start(None, [pod()])) == (2, 13, 60, 30, 105)


def test_without_a_loader_there_is_no_download() -> None:
    assert figures(cold_start(None, [pod(loaded=None)])) == (2, 73, 0, 30, 105)


@pytest.mark.parametrize(
    "untold",
    [
        pod(restarts=1),
        pod() | {"status": {"conditions": []}},
        {"metadata": pod()["metadata"] | {"deletionTimestamp": at(200)}, "status": pod()["status"]},
    ],
    ids=["restarted", "not ready", "going"],
)
def test_pods_that_tell_nothing_of_a_cold_start(untold: Manifest) -> None:
    assert cold_start(None, [untold]) is None


def test_a_pod_counts_once_and_an_old_figure_stays_when_its_pod_goes() -> None:
    first = cold_start(None, [pod()])
    assert cold_start(first, [pod()]) is first
    assert cold_start(first, []) is first


def test_the_ninetieth_percentile_of_the_last_ten() -> None:
    found = None
    for index in range(12):
        found = cold_start(found, [pod(f"pod-{index:02}", ready=105 + index)])
    assert found is not None
    assert [sample.pod for sample in found.samples] == [f"pod-{index:02}" for index in range(2, 12)]
    assert found.load == 40, "of 32 to 41 seconds"


def test_more_pods_than_samples_write_the_same_again_and_again() -> None:
    pods = [pod(f"pod-{index:02}", made=0) for index in range(14)]
    found = cold_start(None, pods)
    assert found is not None
    assert len(found.samples) == 10
    assert cold_start(found, pods) is found
