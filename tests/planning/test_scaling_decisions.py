"""What becomes of proposals, without a cluster: tables, and what must hold whatever is proposed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.autoscale.decision import Action, Decision, Health
from agentfleet.planning.scaling_decisions import PATIENCE, Outcome, Rules, advance, decision_id
from agentfleet.planning.scaling_goal import Approval
from agentfleet.planning.scaling_types import Advice
from agentfleet.resources.scaling import ScalingMode
from agentfleet.resources.scaling_status import ScalingStatus

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RULES = Rules(uid="u", mode="Apply", vertical="Recommend", approval=Approval(), replicas=2, tensor=1)


def proposal(target: int, *, start: int = 2, binding: Any = "Demand", at: datetime = NOON, **fields: Any) -> Decision:
    action: Action = "scale_out" if target > start else "scale_in" if target < start else "hold"
    return Decision(at.timestamp(), action, start, target, binding, "Because.", **fields)


def advice(decision: Decision | None, at: datetime = NOON, **fields: Any) -> Advice:
    return Advice(at.timestamp(), Health("Fresh", 1.0), decision, **fields)


def after(outcome: Outcome) -> ScalingStatus:
    return ScalingStatus(desired=outcome.replicas, decision=outcome.decision, history=outcome.history)


@pytest.mark.parametrize(
    ("mode", "required", "state", "replicas"),
    [
        ("Apply", False, "Applied", 4),
        ("Apply", True, "AwaitingApproval", 2),
        ("Recommend", False, "Recommended", 2),
        ("Recommend", True, "Recommended", 2),
        ("Manual", False, None, 2),
    ],
)
def test_modes(mode: ScalingMode, required: bool, state: str | None, replicas: int) -> None:
    rules = replace(RULES, mode=mode, approval=Approval(required=required))
    outcome = advance(ScalingStatus(), rules, advice(proposal(4)), NOON)
    assert (outcome.decision.state if outcome.decision else None, outcome.replicas) == (state, replicas)


@pytest.mark.parametrize(
    ("late", "start", "followed"),
    [(0, 2, True), (30, 2, True), (31, 2, False), (0, 3, False)],
    ids=["now", "just", "too old", "overtaken"],
)
def test_only_fresh_advice_about_what_there_is_counts(late: float, start: int, followed: bool) -> None:
    told = advice(proposal(5, start=start))
    outcome = advance(ScalingStatus(), RULES, told, NOON + timedelta(seconds=late))
    assert (outcome.replicas == 5) is followed


def test_a_past_decision_is_known_by_its_id() -> None:
    outcome = advance(ScalingStatus(), RULES, advice(proposal(4)), NOON)
    assert outcome.decision is not None
    assert decision_id("u", outcome.history[0]) == outcome.decision.id
    assert decision_id("another", outcome.history[0]) != outcome.decision.id


def test_inputs_are_decimals() -> None:
    inputs = {"demand": 12.3456, "tiny": 0.0000512, "none": float("nan"), "zero": 0.0, "many": 123456789.0}
    outcome = advance(ScalingStatus(), RULES, advice(proposal(4, inputs=inputs)), NOON)
    assert outcome.decision is not None
    assert outcome.decision.inputs == {"demand": "12.35", "tiny": "0.0000512", "zero": "0", "many": "123456789"}


@pytest.mark.parametrize(
    ("change", "fate"),
    [
        ({}, None),
        ({"replicas": 4}, "Applied"),
        ({"replicas": 3}, "Superseded"),
        ({"mode": "Recommend"}, "Superseded"),
        ({"approval": Approval()}, "Superseded"),
        ({"approval": Approval(required=True, rejected="ID")}, "Rejected"),
        ({"approval": Approval(required=True, approved="ID")}, "Applied"),
        ({"approval": Approval(required=True, approved="other")}, None),
    ],
)
def test_how_a_waiting_decision_ends(change: dict[str, Any], fate: str | None) -> None:
    rules = replace(RULES, approval=Approval(required=True))
    first = advance(ScalingStatus(), rules, advice(proposal(4)), NOON)
    assert first.decision is not None
    approval = change.get("approval")
    if approval:
        named = {name: first.decision.id for name in ("approved", "rejected") if getattr(approval, name) == "ID"}
        change = {"approval": replace(approval, **named)}
    second = advance(after(first), replace(rules, **change), None if not approval else advice(proposal(4)), NOON)
    ends = [past.state for past in second.history if past.time == first.decision.time and past.to == 4]
    assert (ends[-1] if ends else None) == fate


@pytest.mark.parametrize(
    ("proposed", "fields", "applied"),
    [
        (proposal(4), {}, True),
        (proposal(2), {}, True),
        (proposal(2, binding="CapacityBlocked"), {}, False),
        (proposal(4), {"affordable": 3}, False),
        (proposal(4), {"affordable": 4}, True),
        (proposal(2, binding="Paused"), {}, False),
        (proposal(2, binding="Maximum"), {}, False),
        (proposal(3, binding="Maximum"), {}, False),
        (proposal(3, binding="Demand"), {}, True),
        (proposal(2, binding="StaleData"), {}, False),
        (proposal(1), {}, False),
    ],
)
def test_approval_does_not_replace_room(proposed: Decision, fields: dict[str, Any], applied: bool) -> None:
    rules = replace(RULES, approval=Approval(required=True))
    first = advance(ScalingStatus(), rules, advice(proposal(4)), NOON)
    assert first.decision is not None
    rules = replace(rules, approval=Approval(required=True, approved=first.decision.id))
    outcome = advance(after(first), rules, advice(proposed, **fields), NOON)
    assert (outcome.replicas == 4) is applied


@pytest.mark.parametrize(("now_called_for", "left"), [(2, 2), (1, 2), (5, 6)])
def test_an_approval_takes_no_more_away_than_the_loop_would_now(now_called_for: int, left: int) -> None:
    rules = replace(RULES, approval=Approval(required=True), replicas=6)
    first = advance(ScalingStatus(), rules, advice(proposal(2, start=6)), NOON)
    assert first.decision is not None
    rules = replace(rules, approval=Approval(required=True, approved=first.decision.id))
    assert advance(after(first), rules, advice(proposal(now_called_for, start=6)), NOON).replicas == left


@pytest.mark.parametrize(("quiet", "state"), [(PATIENCE - 1, "Recommended"), (PATIENCE, "Holding")])
def test_what_is_called_for_no_longer_is_withdrawn(quiet: float, state: str) -> None:
    rules = replace(RULES, mode="Recommend")
    first = advance(ScalingStatus(), rules, advice(proposal(4)), NOON)
    outcome = advance(after(first), rules, advice(proposal(2, binding="Enough"), quiet=quiet), NOON)
    assert outcome.decision is not None
    assert outcome.decision.state == state


def test_a_wish_to_hold_replaces_nothing_that_was_done() -> None:
    first = advance(ScalingStatus(), RULES, advice(proposal(4)), NOON)
    rules = replace(RULES, replicas=4)
    held = advice(proposal(4, start=4, binding="Enough", unconstrained=4))
    assert advance(after(first), rules, held, NOON).decision == first.decision
    blocked = advice(proposal(4, start=4, binding="Budget", unconstrained=6))
    outcome = advance(after(first), rules, blocked, NOON)
    assert outcome.decision is not None
    assert (outcome.decision.state, outcome.decision.binding) == ("Blocked", "Budget")
    assert outcome.history == first.history


modes = st.sampled_from(["Manual", "Recommend", "Apply"])


@given(
    mode=modes,
    required=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, 9), st.floats(0, 120), st.booleans()), max_size=30),
)
def test_whatever_is_proposed(mode: ScalingMode, required: bool, steps: list[tuple[int, float, bool]]) -> None:
    """Replicas change in Apply alone, and with approval by an approved decision alone; history stays short and true."""
    status, replicas, now = ScalingStatus(), 3, NOON
    for target, seconds, approves in steps:
        now += timedelta(seconds=seconds)
        open_id = status.decision.id if approves and status.decision else None
        approval = Approval(required=required, approved=open_id)
        rules = Rules("u", mode, "Manual", approval, replicas, 1)
        outcome = advance(status, rules, advice(proposal(target, start=replicas, at=now), at=now), now)
        if outcome.replicas != replicas:
            assert mode == "Apply"
            assert outcome.decision is not None
            assert (outcome.decision.from_, outcome.decision.to) == (replicas, outcome.replicas)
            assert outcome.decision.state == "Applied"
            assert not required or outcome.decision.id == open_id
            assert outcome.history[0].state == "Applied"
        assert len(outcome.history) <= 20
        again = advance(after(outcome), replace(rules, replicas=outcome.replicas), None, now)
        assert (again.decision, again.history) == (outcome.decision, outcome.history), "a second look changes nothing"
        status, replicas = after(outcome), outcome.replicas
