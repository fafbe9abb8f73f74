"""Policies, requests and loads by chance, small enough that most of what can meet does meet."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_args

from agentfleet.gateway.request import Refusal, read
from agentfleet.gateway.types import (
    SENSITIVITIES,
    TIERS,
    Cause,
    Complexity,
    Escalate,
    Header,
    Load,
    Location,
    Match,
    Policy,
    PrivacyMode,
    Request,
    Rule,
    Strategy,
    Target,
    Tier,
)

Some = TypeVar("Some")

COMPLEXITIES: tuple[Complexity, ...] = tuple(TIERS)
CAPABILITIES = ("Code", "Tools", "Vision", "LongContext")
INTENTS = ("code", "Coding", "chat", "legal")
GROUPS = ("red", "blue")
REGIONS = ("eu", "us")
MODELS = ("auto", "route/r", "gpt-4o", "gpt-4o-mini", "claude", "other")
PATTERNS = ("gpt-*", "gpt-4o", "*", "claude", "g*")


def _some(rng: random.Random, values: Sequence[Some], chance: float = 0.5) -> tuple[Some, ...]:
    return tuple(each for each in values if rng.random() < chance)


def _sometimes(rng: random.Random, chance: float, values: Sequence[Some]) -> Some | None:
    return rng.choice(values) if rng.random() < chance else None


def policy(rng: random.Random) -> Policy:
    """A policy of up to five targets and four rules."""
    targets = tuple(_target(rng, number) for number in range(rng.randint(1, 5)))
    ids = [target.id for target in targets]
    return Policy(
        "team",
        "r",
        ("auto", "route/r"),
        targets,
        rules=tuple(_rule(rng, f"rule-{number}", ids) for number in range(rng.randint(0, 4))),
        default=_order(rng, ids) if rng.random() < 0.4 else (),
        deny_cloud_from=_sometimes(rng, 0.5, SENSITIVITIES),
        regions=_some(rng, REGIONS) if rng.random() < 0.3 else (),
        default_complexity=rng.choice(COMPLEXITIES),
        default_intent=_sometimes(rng, 0.4, INTENTS),
        intents=_some(rng, INTENTS, 0.8),
        default_sensitivity=rng.choice(SENSITIVITIES[:2]),
        complexity_header=_sometimes(rng, 0.5, ["x-agentroute-complexity", "x-hard"]),
        queue_max=rng.choice([1, 3, 1000]),
    )


def _order(rng: random.Random, ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(rng.sample(ids, rng.randint(1, len(ids))))


def _target(rng: random.Random, number: int) -> Target:
    kind = rng.choice(["Agent", "ModelServer", "External"])
    prefix = {"Agent": "agent", "ModelServer": "model", "External": "target"}[kind]
    return Target(
        f"t{number}",
        f"name-{number}",
        kind,  # type: ignore[arg-type]
        f"m{number}",
        (f"{prefix}/n{rng.randint(0, number)}",),
        tier=rng.choice(get_args(Tier)),
        location=rng.choice(get_args(Location)),
        region=_sometimes(rng, 0.5, REGIONS),
        capabilities=_some(rng, CAPABILITIES, 0.3),
        weight=rng.choice([0, 1, 3]),
        capacity=_sometimes(rng, 0.7, [1, 2, 10]),
        primary=rng.random() < 0.1,
        tasks=_some(rng, INTENTS, 0.15),
        side_effects=rng.random() < 0.3,
        scales_to_zero=rng.random() < 0.5,
        identified=rng.random() < 0.8,
    )


def _match(rng: random.Random) -> Match:
    if rng.random() < 0.3:
        return Match()
    return Match(
        intents=_some(rng, INTENTS) if rng.random() < 0.3 else (),
        complexity=_some(rng, COMPLEXITIES) if rng.random() < 0.3 else (),
        models=_some(rng, PATTERNS, 0.4) if rng.random() < 0.3 else (),
        headers=tuple(Header(name, _sometimes(rng, 0.5, ["1", "a, b"])) for name in _some(rng, ("x-a", "x-b"), 0.2)),
        sensitivity=_some(rng, SENSITIVITIES) if rng.random() < 0.2 else (),
        capabilities=_some(rng, CAPABILITIES) if rng.random() < 0.2 else (),
        groups=_some(rng, GROUPS) if rng.random() < 0.2 else (),
        min_tokens=_sometimes(rng, 0.1, [1, 100]),
        max_tokens=_sometimes(rng, 0.1, [30, 8_000]),
    )


def _rule(rng: random.Random, name: str, ids: Sequence[str]) -> Rule:
    escalate = Escalate(
        _order(rng, ids),
        complexity=_some(rng, COMPLEXITIES, 0.3),
        queue_depth=_sometimes(rng, 0.3, [1, 4]),
        no_endpoint=rng.random() < 0.3,
        latency_ms=_sometimes(rng, 0.6, [100, 1000]),
        max_percent=rng.choice([0, 10, 100]),
    )
    return Rule(
        name,
        _match(rng),
        _order(rng, ids),
        strategy=rng.choice(get_args(Strategy)),
        fallback=_order(rng, ids) if rng.random() < 0.5 else (),
        when=_some(rng, get_args(Cause), 0.6),
        max_attempts=rng.randint(1, 5),
        escalate=escalate if rng.random() < 0.5 else None,
        canary=_sometimes(rng, 0.3, ids),
        canary_percent=rng.choice([0, 30, 100]),
        request_ms=rng.choice([1_000, 600_000]),
        first_byte_ms=_sometimes(rng, 0.3, [500]),
        side_effects=_sometimes(rng, 0.3, [True, False]),
    )


@dataclass(frozen=True)
class Case:
    """One request as it is sent, and as the policy gets it."""

    body: bytes
    headers: dict[str, str]
    request: Request
    loads: dict[str, Load]


def case(rng: random.Random, policy: Policy) -> Case:
    """A request to a gateway with this policy, and the loads that it is to be decided by."""
    names = [name for target in policy.targets for name in target.names]
    body = _body(rng, rng.choice([rng.choice(names), rng.choice(MODELS), "auto", "auto", "auto", "route/r"]))
    sent = headers(rng)
    request = read("chat/completions", sent, body, caller="kim")
    if isinstance(request, Refusal):
        raise AssertionError(f"a body of these tests is refused as {request.problem}: {body!r}")
    request = replace(
        request,
        complexity=_sometimes(rng, 0.6, COMPLEXITIES),
        sensitivity=rng.choice(SENSITIVITIES[: rng.choice([1, 1, 4])]),
        intent=_sometimes(rng, 0.6, [*INTENTS, "unknown"]),
        groups=_some(rng, GROUPS),
        privacy_mode=rng.choice(get_args(PrivacyMode)) if rng.random() < 0.2 else "Standard",
        draw=rng.randrange(1_000_000),
        turn=rng.randrange(1_000),
        escalated={rule.name: rng.choice([0, 9, 10, 50]) for rule in policy.rules},
        smaller_tier=rng.random() < 0.1,
        local_only=rng.random() < 0.1,
    )
    loads = {target.id: _load(rng) for target in policy.targets}
    return told(request, body, loads)


def told(request: Request, body: bytes, loads: dict[str, Load]) -> Case:
    """The case with the headers that tell a gateway all of it."""
    headers = {**request.headers, **_told(request), "x-agentroute-trial": _trial(request, loads)}
    return Case(body, headers, request, loads)


def _body(rng: random.Random, model: str) -> bytes:
    content: Any = f"conversation {rng.randrange(20)}"
    if rng.random() < 0.15:
        content = [{"type": "text", "text": content}, {"type": "image_url", "image_url": {"url": "x"}}]
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}], "model": model}
    if rng.random() < 0.2:
        body["tools"] = [{"type": "function"}]
    if rng.random() < 0.05:
        body["padding"] = "x" * 33_000
    if rng.random() < 0.1:
        body["user"] = f"user {rng.randrange(3)}"
    if rng.random() < 0.02:
        body = {"model": model, "padding": "x" * 300_000}
    return json.dumps(body).encode()


def headers(rng: random.Random) -> dict[str, str]:
    choices = {
        "x-agentroute-complexity": ["simple", "COMPLEX", "odd"],
        "x-hard": ["Moderate"],
        "x-agentroute-sensitivity": ["internal", "Restricted", "odd", "", "public, confidential", "internal ,,"],
        "x-agentroute-tier": ["lightweight", "Capable", "odd"],
        "x-a": ["1", "2", ""],
        "x-b": ["1", "a, b"],
        "x-session-id": ["s1", "s2"],
    }
    return {name: rng.choice(values) for name, values in choices.items() if rng.random() < 0.15}


def _load(rng: random.Random) -> Load:
    ready = rng.choice([0, 0, 1, 1, 2])
    active = rng.choice([0, 0, 1, 2, 5, 10, 25])
    return Load(ready, active, rng.choice([0, 0, 1, active]), rng.choice([0, 50, 500, 5_000]))


def _told(request: Request) -> dict[str, str]:
    """What a gateway finds out by itself, for the configuration of these tests."""
    told = {
        "x-test-endpoint": request.endpoint,
        "x-test-caller": "kim",
        "x-test-groups": ",".join(request.groups),
        "x-test-sensitivity": request.sensitivity,
        "x-test-mode": request.privacy_mode,
        "x-test-complexity": request.complexity,
        "x-test-intent": request.intent,
        "x-test-small": "1" if request.smaller_tier else None,
        "x-test-local": "1" if request.local_only else None,
    }
    return {name: value for name, value in told.items() if value}


def _trial(request: Request, loads: dict[str, Load]) -> str:
    numbers = {name: [load.ready, load.active, load.waiting, load.latency_ms] for name, load in loads.items()}
    return json.dumps({"loads": numbers, "draw": request.draw, "turn": request.turn, "escalated": request.escalated})
