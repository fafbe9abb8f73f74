"""A changed argument: new pods take over from old ones, and no request is lost on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from openai import OpenAIError

from e2e.chat import chat
from e2e.scenarios.scenario import Scenario

NAME = "busy"
_CLIENTS = 2


@dataclass
class Traffic:
    """What clients saw: how many answers, how long the slowest took, and every failure."""

    answers: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def summary(self) -> str:
        return f"{len(self.failures)} of {self.answers + len(self.failures)} requests failed: {self.failures[:5]}"

    def one_more(self, seconds: float) -> None:
        self.answers += 1
        self.slowest = max(self.slowest, seconds)


@contextmanager
def _traffic(address: str) -> Iterator[Traffic]:
    """Clients that ask all the time for the time of the block, each time over a new connection."""
    seen, ended = Traffic(), threading.Event()

    def ask() -> None:
        while not ended.is_set():
            began = time.monotonic()
            try:
                with chat(address, NAME, timeout=60) as client:
                    client.stream(tokens=12)
            except OpenAIError as error:
                seen.failures.append(f"after {time.monotonic() - began:.1f} s: {error!r} {error.__cause__!r}")
            else:
                seen.one_more(time.monotonic() - began)

    with ThreadPoolExecutor(_CLIENTS) as pool:
        clients = [pool.submit(ask) for _ in range(_CLIENTS)]
        try:
            yield seen
        finally:
            ended.set()
    for client in clients:
        client.result()


@pytest.fixture(scope="module", autouse=True)
def _served(scenario: Scenario) -> None:
    scenario.apply("modelserver.yaml")
    scenario.wait_ready(NAME)


def test_a_rollout_loses_no_request(scenario: Scenario) -> None:
    before = scenario.server(NAME)["status"]["revision"]
    old_pod = scenario.children("Pod", NAME)[0]["metadata"]["name"]
    with scenario.address(NAME) as address, _traffic(address) as seen:
        scenario.until(lambda: seen.answers >= _CLIENTS, "clients get answers")
        scenario.kubectl("patch", "ms", NAME, "--type=merge", "-p", '{"spec":{"llamaCpp":{"contextSize":1024}}}')
        scenario.until(lambda: scenario.server(NAME)["status"]["revision"] != before, "it is rolled out", timeout=60)
        scenario.until(
            lambda: scenario.kube.get("Pod", old_pod, scenario.namespace) is None, "the old pod has ended", timeout=90
        )
        answered = seen.answers
        scenario.until(lambda: seen.answers >= answered + _CLIENTS, "clients get answers from the new pod")
    assert not seen.failures, seen.summary()


def test_the_new_argument_is_what_runs(scenario: Scenario) -> None:
    (pod,) = scenario.children("Pod", NAME)
    arguments = next(each for each in pod["spec"]["containers"] if each["name"] == "engine")["args"]
    assert arguments[arguments.index("--ctx-size") + 1] == "2048"  # 1024 for each of two slots


def test_nothing_of_the_old_revision_is_left(scenario: Scenario) -> None:
    scenario.wait_settled(NAME)
    types = {condition["type"] for condition in scenario.server(NAME)["status"]["conditions"]}
    assert types == {"Ready", "ModelReady", "MetricsAvailable", "ScalingActive"}


def test_scaling_in_loses_no_request(scenario: Scenario) -> None:
    scenario.kubectl("scale", "ms", NAME, "--replicas=2")
    scenario.until(lambda: scenario.server(NAME)["status"]["readyReplicas"] == 2, "two pods serve", timeout=90)
    with scenario.address(NAME) as address, _traffic(address) as seen:
        scenario.until(lambda: seen.answers >= _CLIENTS, "clients get answers")
        scenario.kubectl("scale", "ms", NAME, "--replicas=1")
        scenario.until(lambda: len(scenario.kube.list("Pod", scenario.namespace)) == 1, "one pod is left", timeout=90)
    assert not seen.failures, seen.summary()
