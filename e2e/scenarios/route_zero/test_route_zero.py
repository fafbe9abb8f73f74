"""From zero behind a route: 500 callers at once wait until there is a pod, and all are answered, a few at a time."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from e2e.scenarios.kube import Manifest, Refused, path_of
from e2e.scenarios.replicas import decision
from e2e.scenarios.routes import Answer, Ask, Route, condition, demand, route, status, wait_ready
from e2e.scenarios.scenario import OWNED, Scenario

NAME = "sleeper"
CALLERS = 500
LEAVING = 60
PLACES = 4
"""maxConcurrent"""
_PATIENCE = 1.0
"""Seconds after which some callers leave."""
_PERIOD = 0.2
_AT_ENGINE = re.compile(r"^llamacpp:requests_(?:processing|deferred) (\d+)", re.MULTILINE)


@dataclass
class Seen:
    """What a thread of its own sees while callers wait."""

    ready: float | None = None
    """When a pod was Ready at first, by time.monotonic()."""
    waiting: list[tuple[float, float]] = field(default_factory=list)
    """Moments, and how many waited then, as the scaling loop is told."""
    at_engines: int = 0
    """Most requests that one engine had at a time."""


@pytest.fixture(scope="module")
def night(scenario: Scenario) -> Iterator[Route]:
    """The route."""
    scenario.apply("sleeper.yaml")
    wait_ready(scenario, "night")
    with route(scenario, "night") as found:
        yield found


@pytest.fixture(scope="module")
def asleep(scenario: Scenario, night: Route) -> Route:
    """The route, before a server without pods."""
    # A pod on its way out still answers, while there is no other.
    scenario.until(lambda: not _pods(scenario), "nobody asks, so nobody serves", timeout=120)
    scenario.until(lambda: _states(night) == {"asleep"}, "both gateways know", timeout=20)
    return night


def _pods(scenario: Scenario) -> list[Manifest]:
    """All pods, those on their way out as well."""
    return scenario.kube.list("Pod", scenario.namespace, labels=f"{OWNED}={NAME}")


def _states(night: Route) -> set[str]:
    """What the target is; asked several times, so that each gateway is."""
    return {night.get("/health").json()["targets"][0]["status"] for _ in range(6)}


def test_the_route_is_a_source_of_demand(scenario: Scenario, asleep: Route) -> None:
    taken = decision(scenario, NAME)
    assert (taken["action"], taken["to"], taken["binding"]) == ("scale_in", 0, "Idle"), taken
    scenario.until(
        lambda: (scenario.condition(NAME, "Ready") or {}).get("reason") == "ScaledToZero", "zero is as it should be"
    )
    active = scenario.condition(NAME, "ScalingActive") or {}
    assert active["status"] == "True", active
    scenario.until(lambda: status(scenario, "night")["targets"][0]["reason"] == "ScaledToZero", "the route knows")
    assert condition(scenario, "night", "Ready")["status"] == "True"
    assert asleep.get("/health").json()["status"] == "healthy"
    assert demand(scenario, "night", "waiting") == 0


def test_all_callers_are_answered(scenario: Scenario, asleep: Route, capsys: pytest.CaptureFixture[str]) -> None:
    stay = [Ask(f"model/{NAME}")] * CALLERS
    leave = [Ask(f"model/{NAME}", leaves_after=_PATIENCE)] * LEAVING
    began = time.monotonic()
    with _watched(scenario) as seen:
        answers = asleep.burst([*stay, *leave])
    stayed = answers[:CALLERS]
    with capsys.disabled():
        print(f"\n{_told(stayed, seen, began)}")
    lost = [str(answer) for answer in stayed if answer.status != 200]
    assert not lost, f"{len(lost)} of {CALLERS} were not answered:\n" + "\n".join(lost[:5])
    assert seen.at_engines <= 2 * PLACES, "those that waited came all at once"
    most = max(count for _, count in seen.waiting)
    assert most >= CALLERS, f"the scaling loop was told of {most:.0f} at most"
    assert seen.ready is not None
    left = [count for at, count in seen.waiting if began + _PATIENCE + 1 < at < seen.ready]
    assert left, "a pod came so fast that it cannot be told whether those that left have freed their places"
    assert left[-1] <= CALLERS, f"{left[-1]:.0f} still wait"


def test_nobody_is_left(scenario: Scenario, asleep: Route) -> None:
    scenario.until(lambda: demand(scenario, "night", "in_flight") == 0, "nothing is in flight")
    answer = asleep.ask(f"model/{NAME}")
    assert (answer.status, answer.seconds < 10) == (200, True), answer  # it waits for no place


def _told(answers: list[Answer], seen: Seen, began: float) -> str:
    ends = sorted(answer.ended for answer in answers if answer.status == 200)
    ready = (seen.ready or began) - began
    first, last = ends[0] - began - ready, ends[-1] - began - ready
    return (
        f"{len(ends)} of {len(answers)} answered; the first pod was Ready after {ready:.1f} s, from then to the first "
        f"answer {first:.1f} s, to the last {last:.1f} s; at one engine at most {seen.at_engines}"
    )


@contextmanager
def _watched(scenario: Scenario) -> Iterator[Seen]:
    seen, ended = Seen(), threading.Event()

    def watch() -> None:
        while not ended.wait(_PERIOD):
            _look(scenario, seen)

    thread = threading.Thread(target=watch, name="waiting callers")
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _look(scenario: Scenario, seen: Seen) -> None:
    for pod in scenario.children("Pod", NAME):
        ready = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}.get("Ready")
        if ready == "True":
            seen.ready = seen.ready or time.monotonic()
            seen.at_engines = max(seen.at_engines, _at_engine(scenario, pod["metadata"]["name"]))
    seen.waiting.append((time.monotonic(), demand(scenario, "night", "waiting")))


def _at_engine(scenario: Scenario, pod: str) -> int:
    try:
        text = scenario.kube.text(f"{path_of('Pod', scenario.namespace, f'{pod}:8080')}/proxy/metrics")
    except Refused:  # on its way out
        return 0
    return sum(map(int, _AT_ENGINE.findall(text)))
