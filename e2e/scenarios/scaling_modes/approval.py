"""Advice, and changes that wait for a human's word: without it nothing is done, with it exactly what was approved."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.scenarios.kube import Manifest
from e2e.scenarios.replicas import decision
from e2e.scenarios.scenario import Scenario
from e2e.traffic import Rate, traffic

RATE = Rate(streams=0.7, stream_tokens=20, shorts=0)
_APPROVE = "agentfleet.dev/approve"
_UNKNOWN = "0000000000"
_DECIDED = 90
"""Seconds from the first request to a decision: capacity has to be learnt."""


def advice_is_given_and_followed_by_hand(scenario: Scenario) -> str:
    """Recommend: a decision with its reasons, an Event and a metric; spec.replicas is what counts."""
    with _trickle(scenario, "advised"):
        advice = _in_state(scenario, "advised", "Recommended")
        assert (advice["from"], advice["to"]) == (1, 2), advice
        assert advice["reason"], advice
        assert advice["inputs"], advice
        scenario.until(lambda: _is_told(scenario, "advised", advice["reason"][:40]), "an Event tells the advice")
        labels = {"namespace": scenario.namespace, "name": "advised"}
        scenario.until(
            lambda: scenario.operators.metric("agentfleet_scaling_recommended_replicas", **labels) == 2,
            "a metric tells the advice",
        )
        assert _wanted(scenario, "advised") == 1, "advice was acted on"
        scenario.kubectl("scale", "ms", "advised", "--replicas=2")
        scenario.wait_settled("advised", pods=2)
    return f"{advice['reason']} {advice.get('counterfactual', '')}"


def a_change_waits_for_the_annotation(scenario: Scenario) -> str:
    """Apply with approval: another id than the decision's approves nothing, and says so."""
    with _trickle(scenario, "asked"):
        waiting = _in_state(scenario, "asked", "AwaitingApproval")
        assert waiting["expires"], waiting
        scenario.until(lambda: _says(scenario, "AwaitingApproval", waiting["id"]), "a condition names what waits")
        _approve(scenario, _UNKNOWN)
        scenario.until(lambda: _says(scenario, "ApprovalUnknown", _UNKNOWN), "a condition says that it is not known")
        assert _wanted(scenario, "asked") == 1, "what was not approved was applied"
        waiting = _in_state(scenario, "asked", "AwaitingApproval")
        _approve(scenario, waiting["id"])
        applied = _in_state(scenario, "asked", "Applied")
        assert applied["id"] == waiting["id"], f"{waiting} was approved, {applied} was applied"
        scenario.wait_settled("asked", pods=2)
    return f"{waiting['id']} was approved: {waiting['reason']}"


def the_command_approves_what_waits(scenario: Scenario) -> str:
    """The same by `kubectl agentfleet approve`."""
    with _trickle(scenario, "told"):
        waiting = _in_state(scenario, "told", "AwaitingApproval")
        command = [sys.executable, "-m", "agentfleet.cli", "approve", "told", f"--namespace={scenario.namespace}"]
        config = f"--kubeconfig={scenario.kube.cluster.kubeconfig}"
        said = subprocess.run([*command, config], capture_output=True, text=True, timeout=60, check=False)
        assert said.returncode == 0, said.stderr
        assert waiting["id"] in said.stdout, said.stdout
        scenario.wait_settled("told", pods=2)
    return said.stdout.strip()


def what_nobody_approves_expires(scenario: Scenario) -> str:
    """A word that comes too late is no word."""

    def expired() -> bool:
        history = scenario.server("forgotten").get("status", {}).get("scaling", {}).get("history", [])
        return any(change["state"] == "Expired" for change in history)

    with _trickle(scenario, "forgotten"):
        scenario.until(expired, "the decision about forgotten has expired", timeout=_DECIDED)
        assert _wanted(scenario, "forgotten") == 1, "what was not approved was applied"
    return "expired"


@contextmanager
def _trickle(scenario: Scenario, name: str) -> Iterator[None]:
    """A few requests for the time of the block, of which none may be lost."""
    with scenario.address(name) as address, traffic(address, name, RATE) as seen:
        yield
    seen.assert_nothing_lost()


def _in_state(scenario: Scenario, name: str, state: str) -> Manifest:
    """The decision to add a replica, once it is in a state."""

    def there() -> Manifest | None:
        found = decision(scenario, name)
        return found if found.get("state") == state and found["action"] == "scale_out" else None

    return scenario.until(there, f"the decision about {name} is {state}", timeout=_DECIDED)


def _wanted(scenario: Scenario, name: str) -> int:
    """Replicas that its Deployment asks for."""
    (deployment,) = scenario.children("Deployment", name)
    wanted: int = deployment["spec"]["replicas"]
    return wanted


def _is_told(scenario: Scenario, name: str, words: str) -> bool:
    """Whether an Event about it has these words."""
    events = scenario.kube.list("Event", scenario.namespace, fields=f"involvedObject.name={name}")
    return any(words in event["message"] for event in events)


def _says(scenario: Scenario, reason: str, words: str) -> bool:
    """Whether the condition ScalingActive has this reason and these words."""
    condition = scenario.condition("asked", "ScalingActive") or {"reason": "absent"}
    return condition["reason"] == reason and words in condition["message"]


def _approve(scenario: Scenario, what: str) -> None:
    scenario.kubectl("annotate", "ms", "asked", f"{_APPROVE}={what}", "--overwrite")
