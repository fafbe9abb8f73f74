"""What becomes of the loop's proposals: recommended, waiting for approval, applied, withdrawn. Pure.

                   ┌─ mode Recommend ──────▶ Recommended ──┬─ spec.replicas follows it ─▶ Applied
    proposal ──────┼─ approval is required ▶ AwaitingApproval ─ approve · reject · time ─▶ Applied · Rejected · Expired
    (a change)     └─ mode Apply ──────────▶ Applied       └─ called for no longer ──────▶ Superseded

A proposal to hold is Blocked where something but the load keeps it from a change, else Holding. An id stays while the
same change is proposed: it is a digest of the change and of when it was first proposed, so the id of a past change can
be reckoned from history.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from agentfleet.autoscale.decision import Action, Decision
from agentfleet.manifests.names import digest
from agentfleet.planning.decimals import decimal
from agentfleet.planning.scaling_goal import Approval
from agentfleet.planning.scaling_types import Advice
from agentfleet.resources.conditions import timestamp
from agentfleet.resources.scaling import ScalingMode
from agentfleet.resources.scaling_status import DecisionState, ScalingChange, ScalingDecision, ScalingStatus

OPEN = ("Recommended", "AwaitingApproval")
"""States of a decision that may still come to something."""

_PASSING = ("Holding", "Blocked", "Superseded")
BLOCKING = ("Budget", "CapacityBlocked", "Paused", "ReversalBreaker")
"""What may keep from a change that the load calls for."""

_BOUNDS = ("Maximum", "Schedule", "Budget")
_FORBIDDING = (*_BOUNDS, *BLOCKING, "Rollout", "StaleData", "MissingData", "PartialData")
"""What no approval of a scale-out overrides while the loop holds."""

_HISTORY = 20
_LONGEST_REASON = 1024
_LONGEST_COUNTERFACTUAL = 512
_MOST_INPUTS = 32

_BEYOND = 1.5
"""A change that is so many times as large as the one that was rejected is asked about again."""

PATIENCE = 60.0
"""Seconds for which an open decision stays though the wish wavers: who reads it must have the time to approve it."""

_OLDEST_ADVICE = 30.0
"""Seconds after which nobody acts on what the loop said: it should have spoken six times since."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Who decides about one ModelServer."""

    uid: str
    mode: ScalingMode
    vertical: ScalingMode
    approval: Approval
    replicas: int
    """Replicas that there shall be now."""
    tensor: int
    """Tensor parallel size now."""

    def mode_of(self, action: Action | str) -> ScalingMode:
        """Who decides about such an action."""
        return self.vertical if _is_vertical(action) else self.mode

    def now(self, action: Action | str) -> int:
        """The number that such an action would change."""
        return self.tensor if _is_vertical(action) else self.replicas

    def opens_as(self, action: Action | str) -> DecisionState | None:
        """State of a proposed change that is not applied at once; None where it is, or where none is wanted."""
        mode = self.mode_of(action)
        if mode == "Apply":
            return "AwaitingApproval" if self.approval.required else None
        return "Recommended" if mode == "Recommend" else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision, the history, and what is to be done now."""

    decision: ScalingDecision | None
    history: tuple[ScalingChange, ...]
    replicas: int
    tensor: int | None
    """Another tensor parallel size that was chosen just now; None where none was."""


def advance(was: ScalingStatus, rules: Rules, advice: Advice | None, now: datetime) -> Outcome:
    """One look: closes the open decision where its time has come, and takes up what the loop proposes."""
    fresh = advice if advice is not None and now.timestamp() - advice.at <= _OLDEST_ADVICE else None
    history = _judged(was.history, advice)
    decision, done = was.decision, Outcome(None, history, rules.replicas, None)
    fate = _fate(decision, rules, fresh, now) if decision else None
    if decision and fate:
        decision, done = _close(decision, fate, done, rules)
    proposal = _proposal(fresh, rules) if done.replicas == rules.replicas and done.tensor is None else None
    if proposal is not None and rules.mode_of(proposal.action) != "Manual":
        return _take_up(decision, proposal, fresh.wished if fresh else None, done, rules, now)
    holds = fresh.decision if fresh else None
    if holds is not None and holds.action == "hold" and rules.mode != "Manual":
        decision = _held(decision, holds, rules, now)
    return replace(done, decision=decision)


def decision_id(uid: str, change: ScalingDecision | ScalingChange) -> str:
    """What a decision is approved by."""
    return digest([uid, change.time, change.action, change.from_, change.to])


def _is_vertical(action: str) -> bool:
    return action in ("scale_up", "scale_down")


def _proposal(advice: Advice | None, rules: Rules) -> Decision | None:
    """The change that is called for, of what there is now: advice may have been overtaken by what was done on it."""
    for decision in (advice.decision, advice.vertical) if advice else ():
        if decision is not None and decision.action != "hold" and decision.start == rules.now(decision.action):
            return decision
    return None


def _fate(decision: ScalingDecision, rules: Rules, advice: Advice | None, now: datetime) -> DecisionState | None:
    """How an open decision ends now; None where it does not."""
    if decision.state not in OPEN:
        return None
    there = rules.now(decision.action)
    if there != decision.from_:
        return "Applied" if there == decision.to else "Superseded"
    if decision.state != rules.opens_as(decision.action):
        return "Superseded"
    answer = _answer(decision, rules, advice, now) if decision.state == "AwaitingApproval" else None
    given_up = advice is not None and advice.quiet >= PATIENCE
    return answer or ("Superseded" if given_up else None)


def _answer(decision: ScalingDecision, rules: Rules, advice: Advice | None, now: datetime) -> DecisionState | None:
    """What a human has said, or failed to say in time."""
    if rules.approval.rejected == decision.id:
        return "Rejected"
    if decision.expires and now >= datetime.fromisoformat(decision.expires):
        return "Expired"
    approved = rules.approval.approved == decision.id
    return "Applied" if approved and _still_right(decision, rules, advice) else None


def _still_right(decision: ScalingDecision, rules: Rules, advice: Advice | None) -> bool:
    """Whether an approved change may be made now: a human's word replaces neither data nor room, and no more is taken
    away than would be now."""
    if advice is None:
        return False
    proposal = _proposal(advice, rules)
    if proposal is None:
        holds = advice.decision
        forbidden = holds is None or holds.binding in _FORBIDDING or not _is_affordable(decision, advice)
        return decision.action == "scale_out" and not forbidden
    if proposal.action != decision.action:
        return False
    if decision.action == "scale_in":
        return proposal.target <= decision.to
    if decision.action == "scale_out":
        bound = proposal.binding in _BOUNDS and decision.to > proposal.target
        return not bound and _is_affordable(decision, advice)
    return proposal.target == decision.to


def _is_affordable(decision: ScalingDecision, advice: Advice) -> bool:
    return advice.affordable is None or decision.to <= advice.affordable


def _close(
    decision: ScalingDecision, fate: DecisionState, done: Outcome, rules: Rules
) -> tuple[ScalingDecision, Outcome]:
    decision = decision.model_copy(update={"state": fate, "expires": decision.expires if fate == "Rejected" else None})
    history = (_change(decision), *done.history)[:_HISTORY]
    replicas, tensor = done.replicas, None
    if fate == "Applied" and rules.now(decision.action) == decision.from_:
        replicas, tensor = (replicas, decision.to) if _is_vertical(decision.action) else (decision.to, None)
    return decision, Outcome(decision, history, replicas, tensor)


def _take_up(
    decision: ScalingDecision | None,
    proposal: Decision,
    wished: tuple[int, int] | None,
    done: Outcome,
    rules: Rules,
    now: datetime,
) -> Outcome:
    """`wished`: Advice.wished."""
    state = rules.opens_as(proposal.action)
    if decision and _stands_for(decision, proposal, wished, now):
        return replace(done, decision=decision)
    same = decision is not None and (decision.action, decision.from_) == (proposal.action, proposal.start)
    # The same advice with another number is no news, unless somebody may have the former id in hand.
    if decision and decision.state in OPEN and not (same and decision.state == "Recommended"):
        decision, done = _close(decision, "Superseded", done, rules)
    taken = _decision(proposal, state or "Applied", rules, now)
    if state is not None:
        return replace(done, decision=taken)
    history = (_change(taken), *done.history)[:_HISTORY]
    if _is_vertical(proposal.action):
        return Outcome(taken, history, done.replicas, proposal.target)
    return Outcome(taken, history, proposal.target, None)


def _stands_for(decision: ScalingDecision, proposal: Decision, wished: tuple[int, int] | None, now: datetime) -> bool:
    """Whether this decision, open or rejected, speaks for what is proposed: a number that wavers is no other advice."""
    if (decision.action, decision.from_) != (proposal.action, proposal.start):
        return False
    if decision.state == "Rejected":
        beyond = abs(proposal.target - proposal.start) > _BEYOND * abs(decision.to - decision.from_)
        return _is_silenced(decision, now) and not beyond
    young = (now - datetime.fromisoformat(decision.time)).total_seconds() < PATIENCE
    return decision.state in OPEN and (young or wished is None or wished[0] <= decision.to <= wished[1])


def _is_silenced(decision: ScalingDecision, now: datetime) -> bool:
    """Whether a human has said no, and not long ago."""
    lasts = decision.expires is not None and now < datetime.fromisoformat(decision.expires)
    return decision.state == "Rejected" and lasts


def _held(decision: ScalingDecision | None, holds: Decision, rules: Rules, now: datetime) -> ScalingDecision:
    """The decision while nothing changes. What was done last stays to be read, unless something blocks more."""
    wanting = holds.unconstrained is not None and holds.unconstrained != rules.replicas
    state: DecisionState = "Blocked" if wanting and holds.binding in BLOCKING else "Holding"
    if decision is not None:
        stays = decision.state in OPEN or _is_silenced(decision, now)
        if stays or (decision.state, decision.binding) == (state, holds.binding):
            return decision
        if state == "Holding" and decision.state not in _PASSING:
            return decision
    return _decision(holds, state, rules, now)


def _decision(proposal: Decision, state: DecisionState, rules: Rules, now: datetime) -> ScalingDecision:
    inputs = {name: text for name, value in sorted(proposal.inputs.items()) if (text := decimal(value)) is not None}
    expires = now + timedelta(seconds=rules.approval.expires_after)
    decision = ScalingDecision(
        id="",
        time=timestamp(datetime.fromtimestamp(proposal.time, UTC)),
        action=proposal.action,
        from_=proposal.start,
        to=proposal.target,
        binding=proposal.binding,
        reason=proposal.reason[:_LONGEST_REASON],
        counterfactual=proposal.counterfactual[:_LONGEST_COUNTERFACTUAL] if proposal.counterfactual else None,
        expires=timestamp(expires) if state == "AwaitingApproval" else None,
        state=state,
        inputs=dict(list(inputs.items())[:_MOST_INPUTS]) or None,
    )
    return decision.model_copy(update={"id": decision_id(rules.uid, decision)})


def _change(decision: ScalingDecision) -> ScalingChange:
    return ScalingChange(
        time=decision.time,
        action=decision.action,
        from_=decision.from_,
        to=decision.to,
        binding=decision.binding,
        state=decision.state,
    )


def _judged(history: tuple[ScalingChange, ...], advice: Advice | None) -> tuple[ScalingChange, ...]:
    """With what was seen of changes a cold start later."""
    told = advice.verdicts if advice else {}
    return tuple(
        change.model_copy(update={"verdict": told[change.time][:256]})
        if change.verdict is None and change.state == "Applied" and change.time in told
        else change
        for change in history
    )
