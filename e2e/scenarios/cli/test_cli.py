"""What users see with `kubectl agentfleet`: as a plugin of the real kubectl, against the real operator.

Approval is part of scenarios/scaling_modes.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import CommandError
from e2e.cluster.shell import run
from e2e.scenarios.scenario import Scenario

_LOAD = ("--prompt-tokens=48", "--output-tokens=16", "--level-time=2s", "--max-concurrency=64", "--max-time=15s")
_SAMPLED = 75
"""Seconds until two samples, of half a minute each, are there."""


class Plugin:
    """`kubectl agentfleet`, run in the scenario's namespace."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._cluster = scenario.kube.cluster
        kubectl = next(word for word in self._cluster.kubectl_command() if Path(word).name == "kubectl")
        # kubectl looks for its plugins in PATH, and bench for kubectl
        path = (str(Path(sys.executable).parent), str(Path(kubectl).parent), os.environ["PATH"])
        self._environment = {**os.environ, "PATH": ":".join(path), "KUBECONFIG": str(self._cluster.kubeconfig)}

    def __call__(self, *arguments: str) -> str:
        """What it answers; CommandError where it fails."""
        argv = ["kubectl", "agentfleet", f"--namespace={self._scenario.namespace}", *arguments]
        return run(self._cluster.network_command(argv), env=self._environment, shown=argv)

    def data(self, *arguments: str) -> Any:
        """The same, for programs."""
        return json.loads(self(*arguments, "--output=json"))


@pytest.fixture(scope="module")
def agentfleet(scenario: Scenario) -> Iterator[Plugin]:
    """The plugin, with a ModelServer that is ready."""
    scenario.apply("servers.yaml")
    scenario.wait_ready()
    yield Plugin(scenario)


def test_doctor_finds_nothing_wrong(agentfleet: Plugin) -> None:
    checks = agentfleet.data("doctor")
    assert {"API server", "CRDs", "operator", "leader", "HTTP port", "ModelServers", "rights"} <= {
        check["name"] for check in checks
    }
    assert [check for check in checks if check["result"] != "ok"] == []


def test_status(agentfleet: Plugin) -> None:
    assert agentfleet("status").startswith("Fleet: healthy, 1 of 1 ModelServers healthy (100 %)\n")
    (server,) = agentfleet.data("status")["modelServers"]
    assert (server["name"], server["mode"], server["readyReplicas"]) == ("desk", "Recommend", 1)


def test_bench_finds_where_the_goal_breaks(agentfleet: Plugin) -> None:
    measured = agentfleet.data("bench", "desk", *_LOAD)
    first = measured["levels"][0]
    assert (first["concurrency"], first["failed"]) == (1, 0), first
    assert measured["capacity"]["requestsPerSecond"] > 1, measured
    assert measured["promptTokens"] == pytest.approx(48, rel=0.3)


def test_the_bench_is_in_the_report(agentfleet: Plugin, scenario: Scenario) -> None:
    def sampled() -> list[dict[str, str]]:
        rows = list(csv.DictReader(agentfleet("report", "desk", "--csv").splitlines()))
        # llama-server counts tokens, no requests
        return [row for row in rows if float(row["outputTokensPerSecond"] or 0) > 0]

    rows = scenario.until(sampled, "the operator has samples with the requests of the bench", timeout=_SAMPLED)
    (pod,) = scenario.children("Pod", "desk")
    assert {row["replica"] for row in rows} == {pod["metadata"]["name"]}
    assert "The last samples" in agentfleet("report", "desk")


def test_recommendations_have_a_reason(agentfleet: Plugin, scenario: Scenario) -> None:
    def decided() -> Any:
        return agentfleet.data("recommendations", "desk")["decision"]

    decision = scenario.until(decided, "the operator has decided something about desk", timeout=30)
    assert decision["reason"] in agentfleet("recommend", "desk")


def test_nothing_waits_for_approval(agentfleet: Plugin) -> None:
    with pytest.raises(CommandError, match="nothing waits in mode Recommend"):
        agentfleet("approve", "desk")


def test_a_wrong_name_is_told_what_there_is(agentfleet: Plugin) -> None:
    with pytest.raises(CommandError, match=r"there is no ModelServer dusk in .*: there are desk"):
        agentfleet("report", "dusk")
