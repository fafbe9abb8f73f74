"""What users see with `kubectl agentfleet`: as a plugin of the real kubectl, against the real operator.

Approval is part of scenarios/scaling_modes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster import CommandError
from e2e.scenarios import agents
from e2e.scenarios.plugin import Plugin
from e2e.scenarios.scenario import Scenario

_LOAD = ("--prompt-tokens=48", "--output-tokens=16", "--level-time=2s", "--max-concurrency=64", "--max-time=15s")
_SAMPLED = 75
"""Seconds until two samples, of half a minute each, are there."""


@pytest.fixture(scope="module")
def agentfleet(scenario: Scenario) -> Iterator[Plugin]:
    """The plugin, with a ModelServer and an Agent that are ready."""
    scenario.apply("servers.yaml")
    scenario.wait_ready()
    agents.wait_ready(scenario)
    yield Plugin(scenario)


def test_doctor_finds_nothing_wrong(agentfleet: Plugin) -> None:
    checks = agentfleet.data("doctor")
    assert {"API server", "CRDs", "operator", "leader", "HTTP port", "ModelServers", "Agents", "rights"} <= {
        check["name"] for check in checks
    }
    assert [check for check in checks if check["result"] != "ok"] == []


def test_status(agentfleet: Plugin) -> None:
    assert agentfleet("status").startswith("Fleet: healthy, 1 of 1 ModelServers healthy (100 %)\n")
    (server,) = agentfleet.data("status")["modelServers"]
    assert (server["name"], server["mode"], server["readyReplicas"]) == ("desk", "Recommend", 1)


def test_status_of_agents(agentfleet: Plugin) -> None:
    assert "Agents: healthy, 1 of 1 Agents healthy (100 %)" in agentfleet("status", "--check")
    (agent,) = agentfleet.data("status")["agents"]
    assert (agent["name"], agent["model"], agent["readyReplicas"]) == ("clerk", "desk", 1)


def test_a_chat_goes_on_and_is_in_the_audit(agentfleet: Plugin, scenario: Scenario) -> None:
    first = agentfleet.data("chat", "agent/clerk", "Where is order 7?")
    (turn,) = first["turns"]
    assert turn["finish"] in ("stop", "length"), turn
    (later,) = agentfleet.data("chat", "agent/clerk", "And order 8?", f"--session={first['session']}")["turns"]
    assert later["usage"]["prompt_tokens"] > turn["usage"]["prompt_tokens"], "the agent has forgotten the first turn"

    def audited() -> list[dict[str, Any]]:
        lines = map(json.loads, agentfleet("audit", "show", "agent/clerk", "-o", "json").splitlines())
        runs = [line for line in lines if line["kind"] == "run"]
        return runs if {turn["request"], later["request"]} <= {line["request"] for line in runs} else []

    runs = scenario.until(audited, "the log has both runs", timeout=30)
    assert {run["caller"] for run in runs} == {f"system:serviceaccount:{scenario.namespace}:default"}
    for source in ("logs", "files"):
        assert "1 chains: whole" in agentfleet("audit", "verify", "agent/clerk", f"--from={source}")


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
    def decided() -> bool:
        decision = agentfleet.data("recommendations", "desk")["decision"]
        # another one may come between the two looks
        return bool(decision) and decision["reason"] in agentfleet("recommend", "desk")

    scenario.until(decided, "the operator has decided something about desk, and says why", timeout=60)


def test_nothing_waits_for_approval(agentfleet: Plugin) -> None:
    with pytest.raises(CommandError, match="nothing waits in mode Recommend"):
        agentfleet("approve", "desk")


def test_a_wrong_name_is_told_what_there_is(agentfleet: Plugin) -> None:
    with pytest.raises(CommandError, match=r"there is no ModelServer dusk in .*: there are desk"):
        agentfleet("report", "dusk")
