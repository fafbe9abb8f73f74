"""Why the policy decides as it does, for `kubectl agentfleet explain route`. Pure.

    Policy, Request, loads ─▶ decide, again and again with one thing changed ─▶ Explanation

Nothing here knows what the policy looks at first or what is enough for it: a rule is asked for with one of its
conditions alone, a target alone, a reason to hold it back alone. So this can never become a second policy, and an
explanation cannot disagree with what it explains.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from agentfleet.gateway.explain_reasons import REASONS, Facts, no_tier, task, why_not
from agentfleet.gateway.ordering import Loads
from agentfleet.gateway.policy import decide
from agentfleet.gateway.types import Cause, Decision, Escalate, Load, Match, Policy, Request, Rule, Target

Verdict = Literal["Chosen", "NoMatch", "NoTarget", "NotReached"]
Hindrance = Cause | Literal["QueueFull"]

_PROBE = "probe"
_TIER_HEADER = "x-agentroute-tier"
_ESCALATIONS = {
    "complexity": "its complexity",
    "queue_depth": "the requests that wait",
    "no_endpoint": "no ready pod",
    "latency_ms": "the time to the first byte",
}


@dataclass(frozen=True)
class RuleVerdict:
    """What became of one rule."""

    rule: str
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True)
class Standing:
    """One target: whether it may and can take the request, and how it is now."""

    id: str
    name: str
    load: Load
    held_back: tuple[str, ...] = ()
    """Why the privacy filter took it away; empty where it did not."""
    unable: str = ""
    """What it cannot do that the request needs."""
    hindrance: Hindrance | None = None
    """Why it can take no request at once."""
    place: int | None = None
    """Its place in the plan, from 1; None where it is not in it."""


@dataclass(frozen=True)
class Explanation:
    """One decision with its reasons."""

    decision: Decision
    why: str
    """The decision's reason in words."""
    needs: tuple[str, ...]
    """Capabilities that the request asks for."""
    rules: tuple[RuleVerdict, ...]
    targets: tuple[Standing, ...]


def explain(policy: Policy, request: Request, loads: Loads) -> Explanation:
    """The decision for a request, and why it is that one. `loads` has an entry for each target."""
    decision = decide(policy, request, loads)
    needs = tuple(need for need in ("Code", "Tools", "Vision", "LongContext") if _needs(policy, request, need))
    facts = Facts(request, decision, needs)
    return Explanation(
        decision,
        _why(policy, request, loads, decision),
        needs,
        tuple(_verdicts(policy, request, facts)),
        tuple(_standing(policy, request, target, loads, decision) for target in policy.targets),
    )


def _why(policy: Policy, request: Request, loads: Loads, decision: Decision) -> str:
    if decision.reason == "Spill" and decide(policy, request, _idle(policy)).reason == "Spill":
        return no_tier(decision)  # nothing that is full or away is to blame
    if decision.reason == "Task":
        return task(policy.target(decision.plan[0]), decision)
    words = REASONS[decision.reason]
    if decision.reason != "Escalated":
        return words
    return f"{words}, because of {' and '.join(_escalations(policy, request, loads, decision))}"


def _escalations(policy: Policy, request: Request, loads: Loads, decision: Decision) -> Iterator[str]:
    """Each condition of the rule's escalation that would be enough by itself."""
    rule = next(rule for rule in policy.rules if rule.name == decision.rule)
    if rule.escalate is None:
        return
    never = Escalate(rule.escalate.targets, max_percent=rule.escalate.max_percent)
    for field, words in _ESCALATIONS.items():
        change: dict[str, Any] = {field: getattr(rule.escalate, field)}
        only = replace(rule, escalate=replace(never, **change))
        changed = replace(policy, rules=tuple(only if each is rule else each for each in policy.rules))
        if decide(changed, request, loads).reason == "Escalated":
            yield words


def _verdicts(policy: Policy, request: Request, facts: Facts) -> Iterator[RuleVerdict]:
    """Rules are looked at in order, where the model id asks for a choice at all."""
    reached = _asks_for_choice(policy, request)
    for rule in policy.rules:
        if not reached:
            yield RuleVerdict(rule.name, "NotReached")
        elif rule.name == facts.decision.rule:
            reached = False
            yield RuleVerdict(rule.name, "Chosen")
        else:
            failed = next((one for one in _conditions(rule.match) if not _holds(policy, request, one)), None)
            if failed:
                yield RuleVerdict(rule.name, "NoMatch", why_not(failed, facts))
            else:
                yield RuleVerdict(rule.name, "NoTarget", "it matches, but none of its targets is left")


def _asks_for_choice(policy: Policy, request: Request) -> bool:
    """Whether rules are looked at: not for a target's own id, an unknown one, and where privacy leaves nothing."""
    first = Rule(_PROBE, Match(), tuple(target.id for target in policy.targets))
    asked = replace(policy, rules=(first, *policy.rules))
    return decide(asked, request, _idle(policy)).rule == _PROBE


def _idle(policy: Policy) -> Loads:
    return {target.id: Load() for target in policy.targets}


def _conditions(match: Match) -> Iterator[Match]:
    """Each of the conditions as a match of its own."""
    for field in fields(match):
        condition: dict[str, Any] = {field.name: getattr(match, field.name)}
        if field.name == "headers":
            yield from (Match(headers=(header,)) for header in match.headers)
        elif condition[field.name] not in ((), None):
            yield Match(**condition)


def _holds(policy: Policy, request: Request, match: Match) -> bool:
    """Whether a rule with this match would take the request, if no target were held back."""
    rule = Rule(_PROBE, match, tuple(target.id for target in policy.targets))
    return _takes(_without_privacy(policy), _from_nobody(request), rule)


def _needs(policy: Policy, request: Request, need: str) -> bool:
    return _holds(policy, request, Match(capabilities=(need,)))


def _takes(policy: Policy, request: Request, rule: Rule, loads: Loads | None = None) -> bool:
    """Whether this rule decides where it is the only one, and the model id asks for a choice. Without loads all are
    idle."""
    alone = replace(policy, rules=(rule,), aliases=(*policy.aliases, request.model))
    return decide(alone, request, loads or _idle(policy)).rule == rule.name


def _without_privacy(policy: Policy) -> Policy:
    return replace(policy, deny_cloud_from=None, regions=())


def _from_nobody(request: Request) -> Request:
    """The request without what its caller's privacy mode and budgets hold back."""
    return replace(request, privacy_mode="Standard", local_only=False)


def _standing(policy: Policy, request: Request, target: Target, loads: Loads, decision: Decision) -> Standing:
    held_back = tuple(_held_back(policy, request, target, decision)) if target.name in decision.denied else ()
    return Standing(
        target.id,
        target.name,
        loads[target.id],
        held_back,
        "" if held_back or not _asks_for_choice(policy, request) else _unable(policy, request, target, loads),
        _hindrance(policy, target, loads),
        decision.plan.index(target.id) + 1 if target.id in decision.plan else None,
    )


def _held_back(policy: Policy, request: Request, target: Target, decision: Decision) -> Iterator[str]:
    """Each of the reasons that would take the target away by itself."""
    open_, nobody = _without_privacy(policy), _from_nobody(request)
    level = f"{decision.sensitivity} requests never go to a cloud (privacy.denyCloudFor)"
    reasons = (
        (level, replace(open_, deny_cloud_from=policy.deny_cloud_from), nobody),
        (
            f"its region, {target.region or 'none'}, is not in privacy.regions: {', '.join(policy.regions)}",
            replace(open_, regions=policy.regions),
            nobody,
        ),
        (
            f"the calling agent's privacy mode is {request.privacy_mode}"
            + ("" if target.identified else ", and an agent of another namespace could not be told"),
            open_,
            replace(nobody, privacy_mode=request.privacy_mode),
        ),
        ("a budget with LocalOnly is spent", open_, replace(nobody, local_only=request.local_only)),
    )
    alone = Rule(_PROBE, Match(), (target.id,))
    for reason, its_policy, its_request in reasons:
        if not _takes(its_policy, its_request, alone):
            yield reason


def _unable(policy: Policy, request: Request, target: Target, loads: Loads) -> str:
    """What the request needs, added one by one until the target is not among those that can any more."""
    alone = Rule(_PROBE, Match(), (target.id,))
    without_tier = {name: value for name, value in request.headers.items() if name != _TIER_HEADER}
    bare = replace(request, tools=False, vision=False, prompt_tokens=0, smaller_tier=False, headers=without_tier)
    tools = replace(bare, tools=request.tools)
    vision = replace(tools, vision=request.vision)
    long = replace(vision, prompt_tokens=request.prompt_tokens)
    smaller = replace(long, smaller_tier=request.smaller_tier)
    for asked, reason in (
        (tools, "the request brings tools, and others have Tools"),
        (vision, "the request holds pictures, and others have Vision"),
        (long, "the request is long, and others have LongContext"),
        (smaller, "a budget with SmallerTier is spent, and others are Lightweight"),
        (request, f"header {_TIER_HEADER} asks for a tier, and others have it"),
    ):
        if not _takes(policy, asked, alone, loads):
            return reason
    return ""


def _hindrance(policy: Policy, target: Target, loads: Loads) -> Hindrance | None:
    """The cause for which a spare target would be taken instead."""
    spare = Target(f"t{1 + int(policy.targets[-1].id[1:])}", _PROBE, "External", _PROBE, ())
    both = {**loads, spare.id: Load()}

    def gives_way(when: tuple[Cause, ...]) -> bool:
        rule = Rule(_PROBE, Match(), (target.id,), fallback=(spare.id,), when=when)
        asked = replace(_without_privacy(policy), targets=(*policy.targets, spare), rules=(rule,), aliases=(_PROBE,))
        return decide(asked, Request(_PROBE), both).plan[:1] == (spare.id,)

    if gives_way(()):
        return "QueueFull"
    causes: tuple[Cause, ...] = get_args(Cause)
    return next((cause for cause in causes if gives_way((cause,))), None)
