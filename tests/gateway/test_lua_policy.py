"""The policy inside a real HAProxy decides as policy.py does."""

import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from agentfleet.gateway.policy import decide
from agentfleet.gateway.types import Decision, Escalate, Load, Match, Policy, Request, Rule, Target
from tests.gateway.lua import cases
from tests.gateway.lua.gateway import running

POLICIES = 40
REQUESTS = 50


def as_answered(policy: Policy, decision: Decision) -> dict[str, Any]:
    """A decision as a dry run shows it: with the targets' names."""
    named = {**asdict(decision), "plan": [policy.target(each).name for each in decision.plan]}
    return dict(json.loads(json.dumps(named)))


def test_generated_policies_and_requests(tmp_path: Path) -> None:
    reasons: Counter[str] = Counter()
    for number in range(POLICIES):
        rng = random.Random(number)  # noqa: S311 - a test's choices
        policy = cases.policy(rng)
        folder = tmp_path / str(number)
        folder.mkdir()
        with running(folder, policy, trial=True) as gateway:
            for _ in range(REQUESTS):
                case = cases.case(rng, policy)
                decision = decide(policy, case.request, case.loads)
                found = gateway.dry_run(case.body, case.headers)
                assert found == as_answered(policy, decision), (number, case.request, case.loads)
                reasons[decision.reason] += 1
    assert set(reasons) == {
        "Named", "Rule", "Escalated", "Canary", "Task", "Primary", "Default", "Tier", "Spill",
        "ModelNotFound", "PrivacyDenied", "QueueFull",
    }  # fmt: skip


@pytest.mark.parametrize("latencies", [(0, 0), (0, 900), (900, 0), (900, 50), (50, 900), (900, 800)])
def test_latencies_that_are_not_known_do_not_count(tmp_path: Path, latencies: tuple[int, int]) -> None:
    """Too rare a case to meet by chance."""
    targets = tuple(Target(f"t{n}", f"n{n}", "ModelServer", f"m{n}", (f"model/n{n}",)) for n in range(3))
    rule = Rule("all", Match(), ("t0", "t1"), escalate=Escalate(("t2",), latency_ms=100))
    policy = Policy("team", "r", ("auto",), targets, rules=(rule,))
    loads = {f"t{number}": Load(latency_ms=latency) for number, latency in enumerate((*latencies, 0))}
    case = cases.told(Request("auto"), b'{"model":"auto"}', loads)
    with running(tmp_path, policy, trial=True) as gateway:
        found = gateway.dry_run(case.body, case.headers)
    assert found == as_answered(policy, decide(policy, case.request, loads))
    known = [latency for latency in latencies if latency]
    assert (found["reason"] == "Escalated") == (bool(known) and min(known) > 100)
