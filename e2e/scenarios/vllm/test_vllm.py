"""A real vLLM, on CPUs: it serves, takes LoRA adapters while it runs, and is rolled out without losing a request."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from e2e.cluster import EmbeddedCluster
from e2e.images import vllm
from e2e.scenarios.scenario import Scenario
from e2e.scenarios.vllm import nodes
from e2e.traffic import Rate, table, traffic

NAME = "tiny"
REPOSITORY = "acme--tiny"
_START = 150
"""Seconds that a start may take: importing vLLM in three processes is most of it."""


@pytest.fixture(scope="module", autouse=True)
def _served(scenario: Scenario, embedded: EmbeddedCluster) -> Iterator[None]:
    built = vllm.built()
    if built is None:
        pytest.fail("vLLM is not there, and nothing can be downloaded from here: run `python3 e2e test scenarios/vllm`")
    embedded.load_image(built.image.archive)
    with nodes.provided(embedded, built.packages):
        scenario.kubectl("create", "configmap", "hub", f"--from-file={scenario.folder / 'hub.py'}")
        scenario.apply("hub.yaml")
        try:
            scenario.kubectl("rollout", "status", "deployment/hub", "--timeout=60s", timeout=90)
            scenario.apply("modelserver.yaml")
            scenario.wait_ready(NAME, timeout=_START)
            yield
        finally:
            scenario.kubectl("delete", "deployment/hub", "--wait=false")  # the sweep knows pods of ModelServers only


def _exists(scenario: Scenario, pod: str) -> bool:
    return scenario.kube.get("Pod", pod, scenario.namespace) is not None


def test_it_serves_under_both_names(scenario: Scenario) -> None:
    for model in (NAME, REPOSITORY):
        with scenario.chat(NAME, model) as chat:
            whole, streamed = chat.ask(), chat.stream()
            assert whole.text == streamed.text
            assert whole.completion_tokens == streamed.completion_tokens == 16
            assert streamed.pieces > 1
            assert chat.models() == [NAME, REPOSITORY]


def test_status_names_its_version(scenario: Scenario) -> None:
    assert scenario.server(NAME)["status"]["engineVersion"].startswith(vllm.version())


def test_a_rollout_loses_no_request(scenario: Scenario) -> None:
    before = scenario.server(NAME)["status"]["revision"]
    old_pod = scenario.children("Pod", NAME)[0]["metadata"]["name"]
    rate = Rate(streams=1, stream_tokens=300, shorts=1, short_tokens=4)
    with scenario.address(NAME) as address, traffic(address, NAME, rate) as seen:
        scenario.until(lambda: seen.whole() >= 2, "streams are answered")
        seen.phase = "rollout"
        scenario.kubectl("patch", "ms", NAME, "--type=merge", "-p", json.dumps({"spec": {"vllm": {"maxNumSeqs": 8}}}))
        scenario.until(lambda: scenario.server(NAME)["status"]["revision"] != before, "it is rolled out", _START)
        scenario.until(
            lambda: scenario.kube.get("Pod", old_pod, scenario.namespace) is None,
            "the old pod has ended",
            timeout=_START,
        )
        seen.phase, since = "after", seen.now
        scenario.until(lambda: seen.whole(after=since) >= 2, "the new pod answers streams")
    print(f"\n{table(seen)}")
    seen.assert_nothing_lost()


def test_the_new_argument_is_what_runs(scenario: Scenario) -> None:
    scenario.wait_settled(NAME)
    (pod,) = scenario.children("Pod", NAME)
    arguments = next(each for each in pod["spec"]["containers"] if each["name"] == "engine")["args"]
    assert "--max-num-seqs=8" in arguments
