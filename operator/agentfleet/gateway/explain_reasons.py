"""The words of an explanation (explain.py): why a condition does not hold, and what a decision's reason means. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from agentfleet.gateway.types import CODE_INTENTS, LONG_CONTEXT, TIERS, Decision, Match, Reason, Request, Target

REASONS: dict[Reason, str] = {
    "Named": "the model id is this target's own",
    "Rule": "the rule's target, by its strategy",
    "Escalated": "the rule's escalation",
    "Canary": "the rule's canary: the conversation is in its share",
    "Primary": "no rule decides, and it is primary",
    "Default": "no rule decides: the least loaded of default.targets",
    "Tier": "no rule decides: the least loaded of the tier for such requests",
    "Spill": "the first choice cannot take it now, or is away",
    "ModelNotFound": "the model id is no alias, no target's own, and no rule's",
    "PrivacyDenied": "the privacy filter left no target",
    "QueueFull": "too many requests wait already at every target that it could go to",
}

NEEDS = {
    "Tools": "it brings tools",
    "Vision": "it holds pictures",
    "LongContext": f"more than {LONG_CONTEXT} tokens",
    "Code": f"its intent is {' or '.join(CODE_INTENTS)}",
}


@dataclass(frozen=True)
class Facts:
    """What the request was taken for."""

    request: Request
    decision: Decision
    needs: tuple[str, ...]


def no_tier(decision: Decision) -> str:
    """Why a request went elsewhere that has no first choice at all."""
    tier = f"{TIERS[decision.complexity]}, the tier for {decision.complexity} requests"
    taken = "the least loaded of the others, clouds last"
    return f"no rule decides, and no target that may and can take it is {tier}: {taken}"


def task(target: Target, decision: Decision) -> str:
    """Why a target is for this intent: it is named as a task, or is code."""
    if decision.intent in target.tasks:
        return f"no rule decides, and the intent, {decision.intent}, is one of its tasks"
    return f"no rule decides, and the intent is {decision.intent}: it has the capability Code"


def why_not(condition: Match, facts: Facts) -> str:
    """Why a match with this one condition does not hold."""
    request, decision = facts.request, facts.decision
    tokens = f"the request has {request.prompt_tokens} tokens"
    if condition.headers:
        header = condition.headers[0]
        found = request.headers.get(header.name)
        return f"header {header.name} is " + ("not there" if found is None else f"{found!r}, not {header.value!r}")
    if condition.min_tokens is not None:
        return f"{tokens}, fewer than {condition.min_tokens}"
    if condition.max_tokens is not None:
        return f"{tokens}, more than {condition.max_tokens}"
    groups = f"the caller is in {' and '.join(request.groups) or 'no group'}"
    for wanted, have in (
        (condition.intents, f"the intent is {decision.intent or 'not known'}"),
        (condition.complexity, f"the request is {decision.complexity}"),
        (condition.models, f"the model id is {request.model}"),
        (condition.sensitivity, f"the request is {decision.sensitivity}"),
        (condition.capabilities, f"the request needs {' and '.join(facts.needs) or 'nothing special'}"),
        (condition.groups, groups),
    ):
        if wanted:
            return f"{have}, not {_either(wanted)}"
    raise ValueError("a match without a condition holds always")


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)
