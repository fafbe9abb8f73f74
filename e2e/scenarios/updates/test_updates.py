"""Models that follow their source on a schedule: a moved branch is rolled out, a moved tag pulled, and none is lost.

Both sources are moved at once, and waited for together: a schedule knows no less than a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from e2e.install import SUPPORT_NAMESPACE
from e2e.registry import open_registry, point
from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, Traffic, table, traffic

MODELS = {"hub-branch": "hub-branch", "ollama-tag": "acme/moving"}
RATE = Rate(streams=0.3, stream_tokens=40, shorts=0.3)
_TO_MOVE = 150
"""Seconds at most from a moved source to the new model in status: a minute of the schedule, another until an Ollama's
status is looked at that nothing has happened to, and the time to load."""


@pytest.fixture(scope="module", autouse=True)
def flowing(scenario: Scenario) -> Iterator[list[Traffic]]:
    """Both servers with the first version of their model, and traffic on them."""
    hub = scenario.folder.with_name("download") / "hub.py"
    scenario.kubectl("create", "configmap", "hub", f"--from-file={hub}")
    _push(scenario, "library/tiny")
    scenario.apply("hub.yaml", "servers.yaml")
    scenario.wait_ready()
    with ExitStack() as stack:
        yield [
            stack.enter_context(traffic(stack.enter_context(scenario.address(name)), model, RATE, name=name))
            for name, model in MODELS.items()
        ]
    scenario.kubectl("delete", "deployment/hub", "--wait=false")  # the sweep knows pods of ModelServers only


def _push(scenario: Scenario, source: str) -> None:
    """Let the tag of library/moving be what `source` is."""
    with scenario.kube.cluster.service(SUPPORT_NAMESPACE, "registry", 5000) as address, open_registry(address) as store:
        point(store, "library/moving", source)


def _move_branch(scenario: Scenario, file: str) -> None:
    with scenario.kube.cluster.service(scenario.namespace, "hub", 80) as address:
        httpx.put(f"http://{address}/main/{file}", trust_env=False, timeout=10).raise_for_status()


def _digest(scenario: Scenario, name: str) -> str:
    return str(scenario.until(lambda: _model(scenario, name).get("digest"), f"{name} tells its digest"))


def _model(scenario: Scenario, name: str) -> Manifest:
    model: Manifest = scenario.server(name)["status"]["models"][0]
    return model


def _revision(scenario: Scenario) -> str:
    revision: str = scenario.server("hub-branch")["status"]["sources"][0]["revision"]
    return revision


def test_moved_sources_are_followed(scenario: Scenario, flowing: list[Traffic]) -> None:
    digests = {name: _digest(scenario, name) for name in MODELS}
    pods = {name: {pod["metadata"]["name"] for pod in scenario.children("Pod", name)} for name in MODELS}
    revision = _revision(scenario)
    for seen in flowing:
        seen.phase = "moved"
    _push(scenario, "library/slow")
    _move_branch(scenario, "slow.gguf")
    scenario.until(
        lambda: all(_model(scenario, name).get("digest") not in (None, digests[name]) for name in MODELS),
        "both models are the new ones",
        timeout=_TO_MOVE,
    )
    scenario.wait_settled("hub-branch")
    assert _revision(scenario) != revision
    assert not pods["hub-branch"] & {pod["metadata"]["name"] for pod in scenario.children("Pod", "hub-branch")}
    # Ollama changes models without a new pod.
    assert pods["ollama-tag"] == {pod["metadata"]["name"] for pod in scenario.children("Pod", "ollama-tag")}
    assert _model(scenario, "ollama-tag")["updatedAt"]


def test_requests_went_on(scenario: Scenario, flowing: list[Traffic], capsys: pytest.CaptureFixture[str]) -> None:
    since = {seen.name: seen.now for seen in flowing}
    scenario.until(
        lambda: all(seen.whole(after=since[seen.name]) >= 2 for seen in flowing), "both answer streams", timeout=60
    )
    with capsys.disabled():
        print(f"\n{table(*flowing)}")
    for seen in flowing:
        seen.assert_nothing_lost()
