"""Who decides, and what stops it: advice, approval, an HPA, nobody who asks, no room.

All stories run at once: each has a server of its own, and most of their time is waiting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.scenarios.disruptions import gpus_everywhere
from e2e.scenarios.kube import Kube
from e2e.scenarios.scaling_modes import approval, blocked, handover, zero
from e2e.scenarios.scenario import Scenario

_MANIFESTS = ("asked.yaml", "handed.yaml", "hpa.yaml", "sleeper.yaml", "cramped.yaml")
_START = 150
"""Seconds for all of them at once: eight pods that start on two cores."""
_STORIES = {
    story.__name__: story
    for story in (
        approval.advice_is_given_and_followed_by_hand,
        approval.a_change_waits_for_the_annotation,
        approval.the_command_approves_what_waits,
        approval.what_nobody_approves_expires,
        handover.from_an_hpa_to_the_operator_and_back,
        zero.to_zero_and_back,
    )
}


@pytest.fixture(scope="module")
def _one_gpu_each(embedded: EmbeddedCluster, kube: Kube) -> Iterator[None]:
    with gpus_everywhere(embedded, kube, 1):
        yield


@pytest.fixture(scope="module")
def stories(scenario: Scenario, embedded: EmbeddedCluster, _one_gpu_each: None) -> Iterator[Mapping[str, Future[str]]]:
    """Every story on its way, by name."""
    scenario.apply(*_MANIFESTS)
    scenario.wait_ready(timeout=_START)
    with ThreadPoolExecutor(len(_STORIES) + 1) as pool:
        told = {name: pool.submit(story, scenario) for name, story in _STORIES.items()}
        yield told | {"blocked": pool.submit(blocked.a_full_cluster_stops_it_until_there_is_room, scenario, embedded)}


@pytest.mark.parametrize("name", [*_STORIES, "blocked"])
def test_story(stories: Mapping[str, Future[str]], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = stories[name].result()
    with capsys.disabled():
        print(f"\n{name}: {told}")
