"""The routing policy: what is done with one request. `agentroute.lua` is its image, line by line.

    model id → targets ─ privacy filter ─ abilities ─▶ rule, else tasks, primary, default, tier ─▶ order ─▶ plan

The privacy filter comes first: no later step looks at a target that it took away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agentfleet.gateway.ordering import Loads, chosen, distinct, least_loaded, nearest, ordered
from agentfleet.gateway.types import (
    ANSWERED,
    CODE_INTENTS,
    EVERY_CAUSE,
    LONG_CONTEXT,
    SENSITIVITIES,
    TIERS,
    Cause,
    Complexity,
    Decision,
    Load,
    Match,
    Policy,
    Reason,
    Request,
    Rule,
    Sensitivity,
    Target,
)


@dataclass(frozen=True)
class _Read:
    """What a request is taken for, after headers and defaults."""

    intent: str
    complexity: Complexity
    sensitivity: Sensitivity
    needs: tuple[str, ...]


@dataclass(frozen=True)
class _Choice:
    """Where a request shall go, before it is looked who can take it now."""

    reason: Reason
    order: tuple[Target, ...]
    """The preferred ones first."""
    preferred: int
    """How many of `order` are what was asked for; the others take over."""
    when: tuple[Cause, ...] = EVERY_CAUSE
    rule: Rule | None = None
    last_resort: str = ""
    """Tier of the targets at which it waits when all are full; empty is the first of `order`."""


def decide(policy: Policy, request: Request, loads: Loads) -> Decision:
    """The decision for one request. `loads` has an entry for each target."""
    read = _read(policy, request)
    asked, by_name = _asked(policy, request.model)
    if not asked:
        return _refusal(404, "ModelNotFound", read)
    allowed = [target for target in asked if _may_see(policy, request, read, target)]
    denied = tuple(target.name for target in asked if target not in allowed)
    if not allowed:
        return replace(_refusal(403, "PrivacyDenied", read), denied=denied)
    if by_name:
        choice = _Choice("Named", tuple(allowed), preferred=1, when=())
    else:
        able = _able(request, read, allowed, loads)
        choice = _by_rule(policy, request, read, able, loads) or _by_default(policy, request, read, able, loads)
    return replace(_plan(policy, request, read, choice, loads), denied=denied)


def _read(policy: Policy, request: Request) -> _Read:
    said = request.headers.get(policy.complexity_header or "", "").capitalize()
    by_header = next((each for each in TIERS if each == said), None)
    intent = request.intent if request.intent in policy.intents else policy.default_intent
    raised = request.headers.get(policy.sensitivity_header, "").split(",")
    classes = [policy.default_sensitivity, request.sensitivity]
    classes += [_class(word) for each in raised if (word := each.strip(" \t"))]
    if not request.readable:
        classes.append("Restricted")
    needs = [
        ("Code", (intent or "").lower() in CODE_INTENTS),
        ("Tools", request.tools),
        ("Vision", request.vision),
        ("LongContext", request.prompt_tokens > LONG_CONTEXT),
    ]
    return _Read(
        intent or "",
        by_header or request.complexity or policy.default_complexity,
        max(classes, key=SENSITIVITIES.index),
        tuple(name for name, needed in needs if needed),
    )


def _class(word: str) -> Sensitivity:
    """What a client says of its request. A word that is no class means something: it counts as the highest."""
    return next((each for each in SENSITIVITIES if each == word.capitalize()), "Restricted")


def _refusal(status: int, reason: Reason, read: _Read) -> Decision:
    return Decision(status, reason, intent=read.intent, complexity=read.complexity, sensitivity=read.sensitivity)


def _asked(policy: Policy, model: str) -> tuple[tuple[Target, ...], bool]:
    """The targets that a model id stands for, and whether it is one's own name."""
    if model in policy.aliases:
        return policy.targets, False
    named = tuple(target for target in policy.targets if model in target.names)
    if named:
        return named[:1], True
    if any(rule.match.models and _is_model(rule.match, model) for rule in policy.rules):
        return policy.targets, False
    return (), False


def _is_model(match: Match, model: str) -> bool:
    return any(
        model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern for pattern in match.models
    )


def _may_see(policy: Policy, request: Request, read: _Read, target: Target) -> bool:
    """True where the target may see the request."""
    if request.privacy_mode != "Standard" and not target.identified:
        return False
    if target.location != "Cloud":
        return True
    if request.privacy_mode != "Standard" or request.local_only:
        return False
    if policy.regions and target.region not in policy.regions:
        return False
    limit = policy.deny_cloud_from
    return limit is None or SENSITIVITIES.index(read.sensitivity) < SENSITIVITIES.index(limit)


def _able(request: Request, read: _Read, targets: Sequence[Target], loads: Loads) -> list[Target]:
    """Of the targets those that can do what the request needs, as far as there are any; and of these the tier that is
    wanted, as far as any of it can answer: others could, so it is no reason to wait for one that is away."""
    able = list(targets)
    for need in ("Tools", "Vision", "LongContext"):
        if need in read.needs:
            able = [target for target in able if need in target.capabilities] or able
    wanted = _wanted_tier(request)
    narrowed = [target for target in able if target.tier.lower() == wanted]
    return narrowed if any(loads[each.id].ready or each.scales_to_zero for each in narrowed) else able


def _wanted_tier(request: Request) -> str:
    """In lower case; empty where none is."""
    return "lightweight" if request.smaller_tier else request.headers.get("x-agentroute-tier", "").lower()


def _by_rule(policy: Policy, request: Request, read: _Read, able: Sequence[Target], loads: Loads) -> _Choice | None:
    """What the first rule says that matches and has a target left."""
    for rule in policy.rules:
        if not _matches(rule.match, request, read):
            continue
        own = chosen(able, rule.targets)
        first, reason = _instead(rule, request, read, able, own, loads)
        preferred = distinct([*first, *ordered(rule, request, own, loads)])
        order = distinct([*preferred, *chosen(able, rule.fallback)])
        if order:
            return _Choice(reason, order, len(first) or len(preferred), rule.when, rule)
    return None


def _matches(match: Match, request: Request, read: _Read) -> bool:
    return (
        (not match.intents or read.intent in match.intents)
        and (not match.complexity or read.complexity in match.complexity)
        and (not match.models or _is_model(match, request.model))
        and all(_has_header(request, header.name, header.value) for header in match.headers)
        and (not match.sensitivity or read.sensitivity in match.sensitivity)
        and (not match.capabilities or any(need in match.capabilities for need in read.needs))
        and (not match.groups or any(group in match.groups for group in request.groups))
        and (match.min_tokens is None or request.prompt_tokens >= match.min_tokens)
        and (match.max_tokens is None or request.prompt_tokens <= match.max_tokens)
    )


def _has_header(request: Request, name: str, value: str | None) -> bool:
    found = request.headers.get(name)
    return found is not None and (value is None or found == value)


def _instead(
    rule: Rule, request: Request, read: _Read, able: Sequence[Target], own: Sequence[Target], loads: Loads
) -> tuple[list[Target], Reason]:
    """Targets that come before the rule's own: those of its escalation or its canary."""
    escalate = rule.escalate
    if escalate and request.escalated.get(rule.name, 0) < escalate.max_percent:
        known = [loads[target.id].latency_ms for target in own if loads[target.id].latency_ms > 0]
        wanted = (
            read.complexity in escalate.complexity
            or (escalate.no_endpoint and not any(loads[target.id].ready for target in own))
            or (
                escalate.queue_depth is not None
                and sum(loads[target.id].waiting for target in own) >= escalate.queue_depth
            )
            or (escalate.latency_ms is not None and bool(known) and min(known) > escalate.latency_ms)
        )
        larger = chosen(able, escalate.targets)
        if wanted and larger:
            return larger, "Escalated"
    if rule.canary and request.conversation % 100 < rule.canary_percent:
        tried = chosen(able, (rule.canary,))
        if tried:
            return tried, "Canary"
    return [], "Rule"


def _by_default(policy: Policy, request: Request, read: _Read, able: Sequence[Target], loads: Loads) -> _Choice:
    """Where a request goes that no rule decides."""
    wanted = _wanted_tier(request)
    tier = wanted if any(target.tier.lower() == wanted for target in able) else TIERS[read.complexity].lower()
    groups: list[tuple[Reason, list[Target]]] = [
        ("Task", [target for target in able if _is_task(read, target)]),
        ("Primary", [target for target in able if target.primary]),
        ("Default", chosen(able, policy.default)),
    ]
    if not policy.default:
        groups.append(("Tier", [target for target in able if target.tier.lower() == tier]))
    groups = [(reason, least_loaded(targets, loads)) for reason, targets in groups if targets]
    if not policy.default or not groups:
        # after the own tier, and where privacy has left none of default.targets, any: the least loaded first
        groups.append(("Spill", nearest(able, loads)))
    reason, preferred = groups[0]
    order = distinct([target for _, targets in groups for target in targets])
    return _Choice(reason, order, len(preferred), last_resort="" if policy.default else "Balanced")


def _is_task(read: _Read, target: Target) -> bool:
    """What a target is for: what is said of it, and code for those that are good at it."""
    is_code = "Code" in read.needs and "Code" in target.capabilities
    return is_code or (read.intent != "" and read.intent in target.tasks)


def _plan(policy: Policy, request: Request, read: _Read, choice: _Choice, loads: Loads) -> Decision:
    """Who can take it now, and who after that."""
    causes = {target.id: _cause(target, loads[target.id]) for target in choice.order}
    now = [
        target
        for target in choice.order
        if causes[target.id] is None
        or (causes[target.id] not in choice.when and loads[target.id].waiting < policy.queue_max)
    ]
    full = [target for target in choice.order if target not in now and causes[target.id] == "Saturated"]
    first = now[:1] or _waiting_place(policy, choice, full, causes, loads)
    if not first:
        return replace(_refusal(429, "QueueFull", read), rule=choice.rule.name if choice.rule else "")
    target = first[0]
    # A target without pods is no place to try next: whoever is sent there would wait.
    others = [other for other in [*now[1:], *full] if other is not target and loads[other.id].ready]
    rule = choice.rule
    side_effects = target.side_effects if rule is None or rule.side_effects is None else rule.side_effects
    causes_to_retry = _retries(choice.when, target, request, side_effects, waits=not now)
    plan = [target, *others][: rule.max_attempts if rule else 3] if causes_to_retry else [target]
    is_preferred = target in choice.order[: choice.preferred]
    return Decision(
        200,
        choice.reason if is_preferred else "Spill",
        rule=rule.name if rule else "",
        plan=tuple(each.id for each in plan),
        hold=not loads[target.id].ready,
        retries=causes_to_retry if len(plan) > 1 else (),
        intent=read.intent,
        complexity=read.complexity,
        sensitivity=read.sensitivity,
        request_ms=rule.request_ms if rule else 600_000,
        first_byte_ms=rule.first_byte_ms or 0 if rule else 0,
    )


def _cause(target: Target, load: Load) -> Cause | None:
    """Why a target cannot take a request at once."""
    if not load.ready:
        return "ColdStart" if target.scales_to_zero else "NoEndpoint"
    if target.capacity is not None and load.active >= target.capacity * load.ready:
        return "Saturated"
    return None


def _waiting_place(
    policy: Policy, choice: _Choice, full: Sequence[Target], causes: Mapping[str, Cause | None], loads: Loads
) -> list[Target]:
    """Where a request waits that nobody can take now: at one that is full, else for one that sleeps, else for any."""
    asleep = [target for target in choice.order if causes[target.id] == "ColdStart"]
    away = [target for target in choice.order if causes[target.id] == "NoEndpoint"]
    if choice.last_resort:
        full = sorted(full, key=lambda target: target.tier != choice.last_resort)
    places = [*full, *asleep, *away]
    return [target for target in places if loads[target.id].waiting < policy.queue_max][:1]


def _retries(
    when: Sequence[Cause], target: Target, request: Request, side_effects: bool, *, waits: bool
) -> tuple[Cause, ...]:
    """Causes after which the next of the plan is tried. Where all are full it `waits` at the place chosen for that: it
    would be sent on from there, and wait at the last of the plan."""
    spill: list[Cause] = ["Saturated"] if "Saturated" in when and target.capacity is not None and not waits else []
    if not request.readable:
        return ()
    return tuple(spill) if side_effects else (*spill, *(cause for cause in ANSWERED if cause in when))
