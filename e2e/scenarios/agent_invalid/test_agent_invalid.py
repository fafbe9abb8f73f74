"""Agents that cannot work: refused by the API server where one look at them shows it, else Stalled with the cause.

Each file in refused/ says in its first line what the refusal must contain, each Agent in agents.yaml in a label with
which reason it must be Stalled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.scenarios.agent_invalid.full_nodes import no_node_takes_more
from e2e.scenarios.refusals import check_refused, refused_files
from e2e.scenarios.scenario import Scenario

_EXPECTED: dict[str, str] = {
    each["metadata"]["name"]: each["metadata"]["labels"]["expect"]
    for each in yaml.safe_load_all((Path(__file__).parent / "agents.yaml").read_text(encoding="utf-8"))
    if each["kind"] == "Agent"
}
_WORDS = {
    "no-such-model": "there is no ModelServer/{namespace}/absent",
    "no-such-route": "there is no AgentRoute/{namespace}/absent",
    "no-such-tool-server": "there is no Service/{namespace}/absent",
    "no-such-agent": "there is no Agent/{namespace}/absent",
    "cycle-a": "cycle-b",
    "cycle-b": "cycle-a",
    "private-in-a-cloud": "in-a-cloud is in a cloud",
    "offline-with-the-internet": "tools.weather.mcp.url",
    "asks-the-node": "169.254.169.254",
    "costly-pattern": "guardrails.input[0]",
    "privileged": "hostNetwork",
}


@pytest.fixture(scope="module")
def applied(scenario: Scenario) -> None:
    """All that the API server takes."""
    scenario.apply("agents.yaml")


@pytest.mark.parametrize("file", refused_files(__file__), ids=lambda file: file.stem)
def test_is_refused_in_words_that_help(scenario: Scenario, file: Path) -> None:
    check_refused(scenario, file)


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("name", _EXPECTED)
def test_it_is_stalled_and_says_why(scenario: Scenario, name: str) -> None:
    def said() -> bool:
        found = _condition(scenario, name, "Stalled")
        return (found.get("status"), found.get("reason")) == ("True", _EXPECTED[name])

    scenario.until(said, f"{name} is Stalled with reason {_EXPECTED[name]}", timeout=60)
    assert _WORDS[name].format(namespace=scenario.namespace) in _condition(scenario, name, "Stalled")["message"]
    assert _condition(scenario, name, "Ready").get("status") == "False"


@pytest.mark.usefixtures("applied")
def test_nothing_is_made_of_them(scenario: Scenario) -> None:
    made = scenario.kube.list("Deployment", scenario.namespace)
    # cycle-a was stalled by another reason until there was cycle-b, and never right.
    named = {f"{name}-agent" for name in _EXPECTED}
    assert named.isdisjoint(each["metadata"]["name"] for each in made)


def test_no_node_takes_more_agents_than_the_setting_says(scenario: Scenario) -> None:
    no_node_takes_more(scenario)


def _condition(scenario: Scenario, name: str, kind: str) -> dict[str, Any]:
    found = scenario.kube.get("Agent", name, scenario.namespace) or {}
    conditions = found.get("status", {}).get("conditions", ())
    return next((dict(each) for each in conditions if each["type"] == kind), {})
