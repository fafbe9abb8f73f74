"""How `explain route` tells what it has found: steps and tables for humans, plain data for programs. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from agentfleet.cli.explain_audit import Replay
from agentfleet.cli.explain_reading import Reading
from agentfleet.cli.explain_source import Source
from agentfleet.cli.table import NOTHING, fields, table
from agentfleet.gateway.explain import Explanation, Standing
from agentfleet.gateway.explain_reasons import NEEDS
from agentfleet.gateway.types import Policy, Rule

_RULE_HEADERS = ("RULE", "RESULT", "WHY")
_TARGET_HEADERS = ("TARGET", "TIER", "LOCATION", "READY", "ACTIVE", "WAITING", "STATE", "PLAN")
_MOVE_HEADERS = ("FROM", "TO", "REQUESTS", "EXAMPLES")
_INDENT = "  "


def text(title: str, source: Source, read: Reading, found: Explanation) -> str:
    """Every step of a decision, in the order of the policy."""
    steps = [
        ("Read", fields(_read(read, found), _INDENT)),
        ("Privacy filter", fields(_privacy(found), _INDENT)),
        ("Rules", _indented(_rules(found)) if found.rules else f"{_INDENT}There are none."),
        ("Decision", fields(_decision(source.policy, found), _INDENT)),
        ("Targets", _indented(_targets(source, found))),
    ]
    return "\n\n".join([title, *(f"{name}\n{lines}" for name, lines in steps)])


def _indented(lines: str) -> str:
    return "\n".join(f"{_INDENT}{line}" for line in lines.splitlines())


def _read(read: Reading, found: Explanation) -> Iterator[tuple[str, str]]:
    request, decision = read.request, found.decision
    yield "model", request.model
    yield "size", f"{read.size} bytes, {request.prompt_tokens} tokens as estimated"
    if request.caller or request.groups:
        yield "caller", f"{request.caller or NOTHING}, groups {', '.join(request.groups) or NOTHING}"
    yield "needs", ", ".join(f"{need} ({NEEDS[need]})" for need in found.needs) or "nothing special"
    yield "intent", f"{decision.intent or 'not known'}: {read.intent_by}"
    yield "complexity", f"{decision.complexity}: {read.complexity_by}"
    yield "sensitivity", f"{decision.sensitivity}: {read.sensitivity_by}"


def _privacy(found: Explanation) -> Iterator[tuple[str, str]]:
    held_back = [target for target in found.targets if target.held_back]
    for target in held_back:
        yield target.name, f"taken away: {'; '.join(target.held_back)}"
    if not held_back:
        yield "It takes no target away.", ""


def _rules(found: Explanation) -> str:
    words = {"Chosen": "matches", "NoMatch": "no match", "NoTarget": "no target", "NotReached": "not reached"}
    return table(_RULE_HEADERS, [(each.rule, words[each.verdict], each.why or NOTHING) for each in found.rules])


def _decision(policy: Policy, found: Explanation) -> Iterator[tuple[str, str]]:
    decision = found.decision
    names = [policy.target(ident).name for ident in decision.plan]
    if not names:
        yield "refused", f"HTTP {decision.status} {decision.reason}: {found.why}"
        return
    yield "target", names[0] + _waits(found)
    yield "reason", f"{decision.reason}: {found.why}"
    rule = next((rule for rule in policy.rules if rule.name == decision.rule), None)
    if rule:
        yield "rule", f"{rule.name}, strategy {_strategy(policy, rule)}"
    if names[1:]:
        yield "then", f"{', '.join(names[1:])}, where the one before shows {', '.join(decision.retries)}"
    else:
        yield "then", "no other is tried"
    first_byte = f", {decision.first_byte_ms / 1000:g} s until its first byte" if decision.first_byte_ms else ""
    yield "deadline", f"{decision.request_ms / 1000:g} s in all{first_byte}"


def _waits(found: Explanation) -> str:
    if found.decision.hold:
        return ", where it waits for a pod"
    first = next(each for each in found.targets if each.place == 1)
    return ", where it waits for a place" if first.hindrance == "Saturated" else ""


def _strategy(policy: Policy, rule: Rule) -> str:
    if rule.strategy == "Weighted":
        shares = (policy.target(ident) for ident in rule.targets)
        weights = ", ".join(f"{target.name} {target.weight}" for target in shares)
        return f"Weighted (one of the draws; weights: {weights})"
    return f"{rule.strategy} (one of the turns)" if rule.strategy == "RoundRobin" else rule.strategy


def _targets(source: Source, found: Explanation) -> str:
    rows: list[tuple[str, ...]] = []
    for each in found.targets:
        target, load = source.policy.target(each.id), each.load
        active = f"{load.active}" if target.capacity is None else f"{load.active}/{target.capacity * load.ready}"
        place = NOTHING if each.place is None else str(each.place)
        rows.append(
            (each.name, target.tier, target.location, str(load.ready), active, str(load.waiting), _state(each), place)
        )
    rows += [
        (one.name, *[NOTHING] * 5, f"not in use: {one.reason}: {one.message or NOTHING}", NOTHING)
        for one in source.resolution.targets.values()
        if one.usable is None
    ]
    return table(_TARGET_HEADERS, rows)


def _state(standing: Standing) -> str:
    if standing.held_back:
        return "taken away by the privacy filter"
    return standing.unable or standing.hindrance or "has room"


def remarks(source: Source, read: Reading) -> Iterator[str]:
    """What was not looked at, one line each."""
    if not source.policy.targets:
        yield "note: not one of its targets can be used: gateways that run keep the configuration that they have"
    if source.assumed:
        names = ", ".join(map(str, source.assumed))
        yield f"note: not looked up, so taken to be there, ready and in the cluster: {names}"
    if source.route.spec.auth and not read.request.caller:
        yield "note: the route has auth, and this is no caller: say who by --as-caller, or it is answered 401"
    if source.route.spec.limits or source.route.spec.budgets:
        yield "note: limits and budgets are not looked at"


def data(source: Source, read: Reading, found: Explanation) -> dict[str, Any]:
    """The same for programs; targets by name."""
    policy, decision, request = source.policy, found.decision, read.request
    return {
        "namespace": source.route.namespace,
        "name": source.route.name,
        "read": {
            "model": request.model,
            "endpoint": request.endpoint,
            "readable": request.readable,
            "bytes": read.size,
            "tokens": request.prompt_tokens,
            "caller": request.caller,
            "groups": list(request.groups),
            "needs": list(found.needs),
            "intent": {"value": decision.intent or None, "by": read.intent_by},
            "complexity": {"value": decision.complexity, "by": read.complexity_by},
            "sensitivity": {
                "value": decision.sensitivity, "by": read.sensitivity_by, "patterns": list(read.patterns)
            },
        },
        "rules": [{"name": each.rule, "verdict": each.verdict, "why": each.why} for each in found.rules],
        "decision": {
            "status": decision.status,
            "reason": decision.reason,
            "why": found.why,
            "rule": decision.rule or None,
            "plan": [policy.target(ident).name for ident in decision.plan],
            "hold": decision.hold,
            "retries": list(decision.retries),
            "denied": list(decision.denied),
            "requestMs": decision.request_ms,
            "firstByteMs": decision.first_byte_ms or None,
        },
        "targets": [_target_data(policy, each) for each in found.targets],
        "notInUse": [
            {"name": one.name, "reason": one.reason, "message": one.message}
            for one in source.resolution.targets.values()
            if one.usable is None
        ],
        "assumed": [str(key) for key in source.assumed],
    }  # fmt: skip


def _target_data(policy: Policy, standing: Standing) -> dict[str, Any]:
    target, load = policy.target(standing.id), standing.load
    return {
        "name": standing.name,
        "tier": target.tier,
        "location": target.location,
        "ready": load.ready,
        "active": load.active,
        "waiting": load.waiting,
        "heldBack": list(standing.held_back),
        "unable": standing.unable or None,
        "hindrance": standing.hindrance,
        "place": standing.place,
    }


def replay_text(title: str, found: Replay, notes: Sequence[str]) -> str:
    """What goes elsewhere, and what cannot be told."""
    unknown = found.requests - found.stay - found.move
    summary = f"{found.requests} requests: {found.stay} stay, {found.move} go elsewhere, {unknown} cannot be judged."
    rows: list[tuple[str, ...]]
    parts = [f"{title}\n{summary}"]
    if found.moves:
        rows = [
            (*way, str(group.requests), ", ".join(group.examples))
            for way, group in sorted(found.moves.items(), key=lambda move: -move[1].requests)
        ]
        parts.append(table(_MOVE_HEADERS, rows))
    if found.unknown:
        rows = [(why, str(group.requests), ", ".join(group.examples)) for why, group in found.unknown.items()]
        parts.append(table(("CANNOT BE JUDGED", "REQUESTS", "EXAMPLES"), rows))
    lines = [f"{count} lines left out: {why}." for why, count in found.skipped.items()]
    if found.otherwise:
        lines.append(f"{found.otherwise} requests: another rule has decided than would now; the route has changed.")
    lines += notes
    if lines:
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def replay_data(found: Replay, notes: Sequence[str]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "requests": found.requests,
        "stay": found.stay,
        "move": found.move,
        "unjudged": found.requests - found.stay - found.move,
        "moves": [
            {"from": before, "to": after, "requests": group.requests, "examples": group.examples}
            for (before, after), group in found.moves.items()
        ],
        "unjudgedBecause": [
            {"reason": why, "requests": group.requests, "examples": group.examples}
            for why, group in found.unknown.items()
        ],
        "skipped": dict(found.skipped),
        "decidedOtherwise": found.otherwise,
        "notes": list(notes),
    }
