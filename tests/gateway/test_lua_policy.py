"""The policy inside a real HAProxy decides as policy.py does."""

import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentfleet.gateway.policy import decide
from agentfleet.gateway.types import Decision, Policy
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
