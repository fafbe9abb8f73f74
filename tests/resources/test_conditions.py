"""Conditions keep their transition time while their status stays, and every reason has its place in the table."""

import ast
from datetime import UTC, datetime
from pathlib import Path

import agentfleet
from agentfleet.resources.conditions import HINTS, explain, merge_conditions
from agentfleet.sidecar import failures

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)


def test_transition_time_moves_with_status_only() -> None:
    first = merge_conditions((), {"Ready": ("Unknown", "WaitingForPods", "0 of 1")}, 1, NOON)
    second = merge_conditions(first, {"Ready": ("Unknown", "LoadingModel", "half")}, 2, LATER)
    third = merge_conditions(second, {"Ready": ("True", "Serving", "1 of 1")}, 2, LATER)
    assert second[0].last_transition_time == first[0].last_transition_time == "2026-11-21T12:00:00Z"
    assert third[0].last_transition_time == "2026-11-21T13:00:00Z"
    assert [condition.observed_generation for condition in (first[0], second[0], third[0])] == [1, 2, 2]


def test_a_condition_that_is_not_wanted_any_more_disappears() -> None:
    stalled = merge_conditions((), {"Ready": ("False", "BadFlag", "x"), "Stalled": ("True", "BadFlag", "x")}, 1, NOON)
    well = merge_conditions(stalled, {"Ready": ("True", "Serving", "1 of 1")}, 2, LATER)
    assert [condition.type for condition in well] == ["Ready"]


def test_conditions_are_sorted_so_that_applying_them_again_changes_nothing() -> None:
    merged = merge_conditions((), {"Stalled": ("True", "BadFlag", ""), "Ready": ("False", "BadFlag", "")}, 1, NOON)
    assert [condition.type for condition in merged] == ["Ready", "Stalled"]


def test_a_message_ends_with_what_to_do() -> None:
    assert explain("ClaimNotFound", "claim models is missing.").startswith("claim models is missing. Create the")
    assert explain("Serving", "1 of 1 pods serve.") == "1 of 1 pods serve."


def test_every_reason_in_the_code_is_in_the_table() -> None:
    """Reasons are words that users alert on: one that is made up in passing would have no hint and no documentation."""
    used = set()
    sayers = {"Failure", "InvalidSpec", "NotReady", "explain"}
    for path in Path(agentfleet.__file__).parent.rglob("*.py"):
        # The first is judged below, the others have no conditions.
        if not {"sidecar", "gpu", "runtime"}.isdisjoint(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in sayers and isinstance(first, ast.Constant):
                    used.add(first.value)
    assert used
    assert used <= HINTS.keys()


def test_every_reason_of_the_sidecar_and_the_loader_is_in_the_table() -> None:
    """They are copied into status as they come."""
    reasons = {value for name, value in vars(failures).items() if name.isupper() and isinstance(value, str)}
    assert "ModelGated" in reasons
    assert reasons <= HINTS.keys()
