"""Technical support: functions in several files that may change, another agent as a tool, runs that are bounded."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from e2e.scenarios import agents
from e2e.scenarios.fleets.fleet import Fleet, called
from e2e.support.answers import Reply

AGENT = "technical-support"
_ARTICLES = Path(__file__).parent / "tools" / "_articles.py"


def test_it_finds_out_what_is_broken_and_writes_it_down(fleet: Fleet) -> None:
    fleet.says(
        called("access_knowledge_base", query="till frozen"),
        called("run_diagnostics", device="till-4", checks=["power", "storage"]),
        called("create_incident_report", device="till-4", summary="disk is full", severity="major"),
        Reply(text="I have told the engineers: {result}"),
    )
    with fleet.caller(AGENT) as till:
        answer = till.ask("Till 4 is frozen.")
    assert "INC-till-4: disk is full (major)" in answer.text
    article, readings, _ = fleet.results()
    assert "Hold the power key for ten seconds" in article
    assert "disk 98 % full" in readings
    assert readings.count("fine") == 1
    assert "You are a technical support agent." in fleet.heard()["messages"][0]["content"]
    lines = fleet.audited(AGENT, "tool", least=3, decision="ok")
    assert [line["tool"] for line in lines] == ["access_knowledge_base", "run_diagnostics", "create_incident_report"]


def test_arguments_that_do_not_fit_never_reach_a_device(fleet: Fleet) -> None:
    fleet.says(called("run_diagnostics", device="till-4; reboot", checks=["power"]), Reply(text="Which device?"))
    with fleet.caller(AGENT) as till:
        assert till.ask("Check till-4; reboot").text == "Which device?"
    (refused,) = fleet.results()
    assert "failed: device: String should match pattern" in refused
    assert "fine" not in refused


def test_the_time_is_the_clocks_and_not_the_models(fleet: Fleet) -> None:
    fleet.says(called("get_current_time"), Reply(text="{result}"))
    with fleet.caller(AGENT) as till:
        said = till.ask("What time is it?").text
    line = next(line.strip('" ') for line in said.splitlines() if line.strip('" ')[:2] == "20")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(line)) < timedelta(minutes=5)


def test_another_agent_is_asked_whose_model_is_a_real_one(fleet: Fleet) -> None:
    """Its model has random weights: what it says is noise, but it is said, and by way of A2A it comes back."""
    fleet.says(called("documentation", message="What does a red light at the router mean?"), Reply(text="{result}"))
    with fleet.caller(AGENT) as till:
        answer = till.ask("The router has a red light.")
    assert not answer.fallback
    (result,) = fleet.results()
    assert result.removeprefix('<tool_result tool="documentation">').removesuffix("</tool_result>").strip()
    account = f"system:serviceaccount:{fleet.scenario.namespace}:default"  # and not the agent
    assert fleet.audited("documentation", "run", caller=account, decision="ok")[0]["output_tokens"] > 0


def test_that_agent_streams_and_counts_tokens_for_whoever_asks_it_directly(fleet: Fleet) -> None:
    with fleet.caller("documentation") as till:
        chunks = list(
            till.client.chat.completions.create(
                model="documentation",
                messages=[{"role": "user", "content": "Hello"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    usage = chunks[-1].usage
    assert usage is not None
    assert 0 < usage.completion_tokens <= 16


def test_a_model_that_never_stops_calling_is_bounded(fleet: Fleet) -> None:
    fleet.says(*(called("get_current_time") for _ in range(9)), Reply(text="Enough."))
    with fleet.caller(AGENT) as till:
        assert till.ask("Tell me the time, again and again.").text == "Enough."
    results = fleet.results()
    assert len(results) == 9
    assert sum("was not called" in result for result in results) == 3  # limits.maxToolCalls is 6


def test_changed_functions_are_used_without_a_new_pod(fleet: Fleet) -> None:
    scenario = fleet.scenario
    before = agents.pods(scenario, AGENT)
    changed = _ARTICLES.read_text(encoding="utf-8").replace("rear flap", "front flap")
    patch = json.dumps({"data": {_ARTICLES.name: changed}})
    scenario.kubectl("patch", "configmap", "technical-support-tools", "--type=merge", "--patch", patch)

    def answer() -> str:
        # The kubelet looks at mounted ConfigMaps about once a minute, and at once when anything of the pod changes.
        scenario.kubectl("annotate", "pod", *before, f"e2e.agentfleet.dev/looked-at={time.monotonic()}", "--overwrite")
        fleet.says(called("access_knowledge_base", query="printer"), Reply(text="{result}"))
        with fleet.caller(AGENT) as till:
            return till.ask("The printer is jammed.").text

    scenario.until(lambda: "Open the front flap" in answer(), "the new article is found", timeout=150)
    assert agents.pods(scenario, AGENT) == before
