"""Replicas of Agents follow the runs in flight, 1 → 2 → 1, and an agent that nobody asks sleeps: those who ask it then
wait at the route until it is awake, and all are answered.

One story; the two agents go their ways at the same time, so that the windows of both are waited for once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from e2e.scenarios import agents, scripted
from e2e.scenarios.kube import Manifest
from e2e.scenarios.routes import LOOKS, Answer, Ask, Route, demand, route, wait_ready
from e2e.scenarios.scenario import Scenario

BUSY, SLEEPER = "busy", "sleeper"
RUNS = 12
"""In flight at one time: three times what one replica shall have."""
HELD = 10
_SCRIPT = "delay=1.5"


@pytest.fixture(scope="module")
def front(scenario: Scenario) -> Iterator[Route]:
    """The route before both, with everything ready."""
    scenario.apply("agents.yaml")
    scripted.apply(scenario, "scripted", _SCRIPT)
    agents.wait_ready(scenario)
    wait_ready(scenario, "front")
    with route(scenario, "front", "sk-alice") as found:
        yield found


@dataclass
class Load:
    """Callers who ask again as soon as they are answered."""

    route: Route
    answers: list[Answer] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """One caller."""
        while not self.ended.is_set():
            self.answers.append(self.route.ask(f"agent/{BUSY}"))


@contextmanager
def crowd(front: Route) -> Iterator[Load]:
    """RUNS callers for the time of the block; at its end all have had their answer."""
    load = Load(front)
    with ThreadPoolExecutor(RUNS) as callers:
        tasks = [callers.submit(load.ask) for _ in range(RUNS)]
        try:
            yield load
        finally:
            load.ended.set()
    for task in tasks:
        task.result()


def _decision(scenario: Scenario, name: str) -> Manifest:
    found: Manifest = agents.status(scenario, name)["scaling"]["decision"]
    return found


def _pods(scenario: Scenario, name: str) -> list[Manifest]:
    """All pods, those on their way out as well."""
    return scenario.kube.list("Pod", scenario.namespace, labels=f"{agents.OWNED}={name}")


def _numbers(scenario: Scenario, name: str) -> tuple[int, int]:
    found = agents.status(scenario, name)
    return found.get("replicas", -1), found.get("readyReplicas", -1)


def test_a_crowd_gets_another_replica(scenario: Scenario, front: Route, capsys: pytest.CaptureFixture[str]) -> None:
    assert _numbers(scenario, BUSY) == (1, 1)
    began = time.monotonic()
    with crowd(front) as load:
        scenario.until(lambda: _numbers(scenario, BUSY) == (2, 2), "two replicas serve", timeout=120)
        seconds = time.monotonic() - began
    taken = _decision(scenario, BUSY)
    assert (taken["action"], taken["to"], taken["state"]) == ("scale_out", 2, "Applied"), taken
    lost = [str(answer) for answer in load.answers if answer.status != 200]
    assert not lost, f"{len(lost)} of {len(load.answers)} were not answered:\n" + "\n".join(lost[:5])
    scenario.until(
        lambda: agents.condition(scenario, BUSY, "MetricsAvailable").get("status") == "True", "both have metrics"
    )
    assert agents.condition(scenario, BUSY, "Reconciling") == {}, "scaling is no rollout"
    with capsys.disabled():
        print(
            f"\ntwo replicas serve {seconds:.1f} s after the crowd came; {len(load.answers)} answers\n{taken['reason']}"
        )


def _state(front: Route) -> str:
    """What a gateway says of the sleeper."""
    states: dict[str, str] = {each["name"]: each["status"] for each in front.get("/health").json()["targets"]}
    return states[SLEEPER]


def test_who_is_not_asked_sleeps(scenario: Scenario, front: Route) -> None:
    scenario.until(lambda: not _pods(scenario, SLEEPER), "nobody asks, so nobody serves", timeout=90)
    taken = _decision(scenario, SLEEPER)
    assert (taken["action"], taken["to"], taken["binding"]) == ("scale_in", 0, "Idle"), taken
    scenario.until(
        lambda: agents.condition(scenario, SLEEPER, "Ready").get("reason") == "ScaledToZero", "zero is as it should be"
    )
    assert agents.condition(scenario, SLEEPER, "Ready")["status"] == "True"
    assert agents.condition(scenario, SLEEPER, "Alerting").get("reason") == "NoAlert"
    scenario.until(lambda: all(_state(front) == "asleep" for _ in range(LOOKS)), "both gateways know")


def test_those_who_wake_it_are_answered(scenario: Scenario, front: Route, capsys: pytest.CaptureFixture[str]) -> None:
    answers = front.burst([Ask(f"agent/{SLEEPER}") for _ in range(HELD)])
    lost = [str(answer) for answer in answers if answer.status != 200]
    assert not lost, f"{len(lost)} of {HELD} were not answered:\n" + "\n".join(lost[:5])
    assert {answer.target for answer in answers} == {SLEEPER}
    with capsys.disabled():
        print(f"\nawake and answered after {max(answer.seconds for answer in answers):.1f} s")


def test_without_the_crowd_one_goes(scenario: Scenario, front: Route) -> None:
    scenario.until(lambda: len(_pods(scenario, BUSY)) == 1, "one replica is left", timeout=150)
    taken = _decision(scenario, BUSY)
    assert (taken["action"], taken["to"]) == ("scale_in", 1), taken
    assert front.ask(f"agent/{BUSY}").status == 200
    assert demand(scenario, "front", "waiting") == 0
