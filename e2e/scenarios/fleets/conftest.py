"""Fixtures of the example fleets: one namespace with their model, in which the next ones start while one is tested."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.scenarios import namespaces, scripted
from e2e.scenarios.fleets import disks
from e2e.scenarios.fleets.fleet import MODEL, Fleet, manifests_of
from e2e.scenarios.kube import Kube, Manifest
from e2e.scenarios.operators import Operators
from e2e.scenarios.scenario import Scenario

_HERE = Path(__file__).parent
_AHEAD = 3
"""Fleets that start while one is tested: all at once would keep a small machine from everything else."""


class Fleets:
    """Those whose tests are wanted, in their order."""

    def __init__(self, scenario: Scenario, folders: list[Path]) -> None:
        self._scenario = scenario
        self._folders = folders
        self.manifests = {folder: manifests_of(scenario, folder) for folder in folders}
        self._applied: set[tuple[str, str]] = set()

    def ready(self, folder: Path) -> Fleet:
        """The fleet of a folder, once it can be asked; those after it have begun to start then."""
        index = self._folders.index(folder)
        self.start(index + 1)
        fleet = Fleet.ready(self._scenario, folder)
        self.start(index + 1 + _AHEAD)
        return fleet

    def start(self, count: int) -> None:
        """Have so many of them applied, each object once: one fleet may hold another."""
        wanted = {
            (each["kind"], each["metadata"]["name"]): each
            for folder in self._folders[:count]
            for each in self.manifests[folder]
        }
        new = [each for key, each in wanted.items() if key not in self._applied]
        if new:
            bundle = {"apiVersion": "v1", "kind": "List", "items": new}
            self._scenario.kubectl("apply", "-f", "-", stdin=json.dumps(bundle))
            self._applied |= wanted.keys()


@pytest.fixture(scope="package")
def fleets(request: pytest.FixtureRequest, kube: Kube, operators: Operators) -> Iterator[Fleets]:
    """The fleets whose tests are wanted, the first of them starting."""
    folders = list(dict.fromkeys(item.path.parent for item in request.session.items))
    with namespaces.opened(kube, operators, _HERE) as scenario:
        scripted.apply_engines(scenario, scripted.model_server(MODEL))
        found = Fleets(scenario, [folder for folder in folders if folder.is_relative_to(_HERE)])
        with disks.made(scenario, _volumes(found)):
            found.start(_AHEAD)
            yield found


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, fleets: Fleets) -> Fleet:
    """The fleet of a test's folder, with its agents and their models ready."""
    return fleets.ready(Path(request.path).parent)


def _volumes(fleets: Fleets) -> list[Manifest]:
    every = [each for manifests in fleets.manifests.values() for each in manifests]
    return [each for each in every if each["kind"] == "PersistentVolume"]
