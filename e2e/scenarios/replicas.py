"""A record of a ModelServer's replicas, taken beside what a test does: to see dips, and how fast a change came."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.scenarios.kube import Manifest
from e2e.scenarios.scenario import Scenario

_PERIOD = 0.25


@dataclass(frozen=True)
class Look:
    """Replicas at one moment."""

    at: float
    """time.monotonic()."""
    wanted: int
    """What the Deployments ask for."""
    ready: int
    """Pods that serve, those on their way out left out."""


@dataclass
class Record:
    """Looks in the order of time; written by a thread of its own, read by the test's."""

    looks: list[Look] = field(default_factory=list)

    @property
    def last(self) -> Look:
        """The newest."""
        return self.looks[-1]

    def since(self, at: float) -> list[Look]:
        """Looks from a moment on."""
        return [look for look in list(self.looks) if look.at >= at]

    def fewest_ready(self, since: float) -> int:
        """Fewest pods that served at one time."""
        return min(look.ready for look in self.since(since))

    def seconds_until_wanted(self, more_than: int, since: float) -> float:
        """How long after `since` more replicas than so many were asked for."""
        return next(look.at for look in self.since(since) if look.wanted > more_than) - since


@contextmanager
def recorded(scenario: Scenario, name: str) -> Iterator[Record]:
    """The record of a ModelServer for the time of the block, which begins with the first look."""
    record = Record([_look(scenario, name)])
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_PERIOD):
            record.looks.append(_look(scenario, name))

    thread = threading.Thread(target=watch, name=f"replicas of {name}")
    thread.start()
    try:
        yield record
    finally:
        ended.set()
        thread.join()


def _look(scenario: Scenario, name: str) -> Look:
    wanted = sum(each["spec"]["replicas"] for each in scenario.children("Deployment", name))
    return Look(time.monotonic(), wanted, sum(map(_is_ready, scenario.children("Pod", name))))


def _is_ready(pod: Manifest) -> bool:
    conditions: list[Manifest] = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def decision(scenario: Scenario, name: str) -> Manifest:
    """The last decision of the scaling loop; empty before the first."""
    found: Manifest = scenario.server(name).get("status", {}).get("scaling", {}).get("decision", {})
    return found


def desired(scenario: Scenario, name: str) -> int | None:
    """How many replicas the scaling loop has settled on."""
    found: int | None = scenario.server(name).get("status", {}).get("scaling", {}).get("desired")
    return found


def patch(scenario: Scenario, name: str, **scaling: object) -> None:
    """Change fields of spec.scaling, as `kubectl patch` does; None removes one."""
    scenario.kube.patch("ModelServer", name, scenario.namespace, {"spec": {"scaling": scaling}})
