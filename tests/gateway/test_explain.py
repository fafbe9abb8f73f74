"""gateway/explain.py: reasons by table, and that they agree with the decision always."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.gateway.explain import Explanation, Standing, explain
from agentfleet.gateway.policy import decide
from agentfleet.gateway.types import SENSITIVITIES, Escalate, Header, Load, Match, Policy, Request, Rule, Target

IDLE = Load()
ASLEEP = Load(ready=0)


def _target(number: int, name: str, **fields: Any) -> Target:
    return Target(f"t{number}", name, "ModelServer", f"{name}-model", (f"model/{name}",), **fields)


LIGHT = _target(0, "light", tier="Lightweight", capacity=10)
BALANCED = _target(1, "balanced", capacity=10, capabilities=("Vision",))
CAPABLE = _target(2, "capable", tier="Capable", capacity=10, capabilities=("Tools",))
CLOUD = _target(3, "cloud", tier="Capable", location="Cloud", region="eu", capabilities=("Tools",))
ALL = (LIGHT, BALANCED, CAPABLE, CLOUD)
POLICY = Policy(
    "team",
    "assistant",
    ("auto", "route/assistant"),
    ALL,
    intents=("code", "chat"),
    deny_cloud_from="Confidential",
)
AUTO = Request("auto", prompt_tokens=40)


def _explain(policy: Policy = POLICY, request: Request = AUTO, **loads: Load) -> Explanation:
    return explain(policy, request, {target.id: loads.get(target.name, IDLE) for target in policy.targets})


def _rules(*rules: Rule) -> Policy:
    return replace(POLICY, rules=rules)


def _standing(explanation: Explanation, name: str) -> Standing:
    return next(each for each in explanation.targets if each.name == name)


@pytest.mark.parametrize(
    ("match", "request_", "why"),
    [
        (Match(intents=("code",)), replace(AUTO, intent="chat"), "the intent is chat, not code"),
        (Match(intents=("code", "chat")), AUTO, "the intent is not known, not code or chat"),
        (Match(complexity=("Complex",)), AUTO, "the request is Moderate, not Complex"),
        (Match(models=("gpt-*",)), AUTO, "the model id is auto, not gpt-*"),
        (Match(headers=(Header("x-team"),)), AUTO, "header x-team is not there"),
        (
            Match(headers=(Header("x-a"), Header("x-team", "blue"))),
            replace(AUTO, headers={"x-a": "", "x-team": "red"}),
            "header x-team is 'red', not 'blue'",
        ),
        (Match(sensitivity=("Restricted",)), AUTO, "the request is Public, not Restricted"),
        (Match(capabilities=("Tools",)), AUTO, "the request needs nothing special, not Tools"),
        (
            Match(capabilities=("Tools",)),
            replace(AUTO, vision=True, intent="code"),
            "the request needs Code and Vision, not Tools",
        ),
        (Match(groups=("vip",)), AUTO, "the caller is in no group, not vip"),
        (Match(groups=("vip",)), replace(AUTO, groups=("a", "b")), "the caller is in a and b, not vip"),
        (Match(min_tokens=41), AUTO, "the request has 40 tokens, fewer than 41"),
        (Match(max_tokens=39), AUTO, "the request has 40 tokens, more than 39"),
        (
            Match(complexity=("Moderate",), groups=("vip",), max_tokens=1),
            AUTO,
            "the caller is in no group, not vip",
        ),
    ],
)
def test_the_first_condition_that_does_not_hold_is_told(match: Match, request_: Request, why: str) -> None:
    found = _explain(
        _rules(Rule("r", match, ("t0",)), Rule("rest", Match(), ("t1",)), Rule("never", Match(), ("t1",))), request_
    )
    assert [(each.rule, each.verdict, each.why) for each in found.rules] == [
        ("r", "NoMatch", why),
        ("rest", "Chosen", ""),
        ("never", "NotReached", ""),
    ]


def test_a_rule_that_matches_may_have_no_target_left() -> None:
    found = _explain(_rules(Rule("away", Match(), ("t3",))), replace(AUTO, sensitivity="Restricted"))
    assert (found.rules[0].verdict, found.decision.reason) == ("NoTarget", "Tier")


def test_a_model_id_that_only_another_rule_knows_does_not_hide_what_fails() -> None:
    rules = Rule("vip", Match(groups=("vip",)), ("t0",)), Rule("gpt", Match(models=("gpt-*",)), ("t1",))
    found = _explain(_rules(*rules), replace(AUTO, model="gpt-5"))
    assert [each.why for each in found.rules] == ["the caller is in no group, not vip", ""]


@pytest.mark.parametrize("headers", [{}, {"x-agentroute-tier": "balanced"}])
def test_a_tier_that_no_target_has(headers: dict[str, str]) -> None:
    """Nothing is full or away then, and nobody shall look for what is."""
    found = _explain(replace(POLICY, targets=(LIGHT, CAPABLE)), replace(AUTO, headers=headers))
    assert (found.decision.reason, found.why) == (
        "Spill",
        "no rule decides, and no target that may and can take it is Balanced, the tier for Moderate requests:"
        " the least loaded of the others, clouds last",
    )


@pytest.mark.parametrize(
    ("intent", "fields", "why"),
    [
        ("chat", {"tasks": ("code", "chat")}, "no rule decides, and the intent, chat, is one of its tasks"),
        ("code", {"capabilities": ("Code",)}, "no rule decides, and the intent is code: it has the capability Code"),
    ],
)
def test_what_a_target_is_for(intent: str, fields: dict[str, Any], why: str) -> None:
    found = _explain(replace(POLICY, targets=(LIGHT, replace(CAPABLE, **fields))), replace(AUTO, intent=intent))
    assert (found.decision.reason, found.decision.plan[0], found.why) == ("Task", "t2", why)


def test_a_tier_that_is_away() -> None:
    found = _explain(balanced=ASLEEP)
    assert (found.decision.reason, found.why) == ("Spill", "the first choice cannot take it now, or is away")


@pytest.mark.parametrize("model", ["model/light", "nobody"])
def test_rules_are_not_looked_at_for_ids_that_ask_for_no_choice(model: str) -> None:
    found = _explain(_rules(Rule("r", Match(groups=("vip",)), ("t0",))), replace(AUTO, model=model))
    assert found.rules[0].verdict == "NotReached"
    assert {each.unable for each in found.targets} == {""}


@pytest.mark.parametrize(
    ("policy", "request_", "reasons"),
    [
        (POLICY, replace(AUTO, sensitivity="Restricted"), ["Restricted requests never go to a cloud"]),
        (POLICY, replace(AUTO, readable=False), ["Restricted requests never go to a cloud"]),
        (replace(POLICY, regions=("us",)), AUTO, ["its region, eu, is not in privacy.regions: us"]),
        (POLICY, replace(AUTO, privacy_mode="Private"), ["the calling agent's privacy mode is Private"]),
        (POLICY, replace(AUTO, local_only=True), ["a budget with LocalOnly is spent"]),
        (
            replace(POLICY, regions=("us",)),
            replace(AUTO, sensitivity="Confidential", privacy_mode="Offline", local_only=True),
            ["Confidential requests", "its region", "the calling agent's", "a budget"],
        ),
        (POLICY, AUTO, []),
    ],
)
def test_each_reason_of_the_privacy_filter_is_told(policy: Policy, request_: Request, reasons: list[str]) -> None:
    held_back = _standing(_explain(policy, request_), "cloud").held_back
    assert len(held_back) == len(reasons)
    assert all(told.startswith(reason) for told, reason in zip(held_back, reasons, strict=True))


@pytest.mark.parametrize(
    ("request_", "unable"),
    [
        (replace(AUTO, tools=True), {"light": "tools", "balanced": "tools"}),
        (replace(AUTO, vision=True), {"light": "pictures", "capable": "pictures", "cloud": "pictures"}),
        # nobody who has Tools has Vision, too: it is passed over
        (replace(AUTO, tools=True, vision=True), {"light": "tools", "balanced": "tools"}),
        (replace(AUTO, smaller_tier=True), dict.fromkeys(("balanced", "capable", "cloud"), "SmallerTier")),
        (
            replace(AUTO, headers={"x-agentroute-tier": "capable"}),
            dict.fromkeys(("light", "balanced"), "x-agentroute-tier"),
        ),
        (replace(AUTO, prompt_tokens=9000), {}),
    ],
)
def test_targets_that_cannot_do_it(request_: Request, unable: dict[str, str]) -> None:
    found = {each.name: each.unable for each in _explain(request=request_).targets if each.unable}
    assert found.keys() == unable.keys()
    assert all(unable[name] in why for name, why in found.items())


@pytest.mark.parametrize(
    ("target", "load", "hindrance"),
    [
        (LIGHT, IDLE, None),
        (LIGHT, Load(2, active=19), None),
        (LIGHT, Load(2, active=20), "Saturated"),
        (LIGHT, ASLEEP, "NoEndpoint"),
        (replace(LIGHT, scales_to_zero=True), ASLEEP, "ColdStart"),
        (LIGHT, Load(2, active=2000, waiting=1000), "QueueFull"),
        (replace(LIGHT, location="Cloud"), IDLE, None),
        (replace(LIGHT, capacity=None), Load(1, active=500), None),
    ],
)
def test_why_a_target_can_take_nothing_now(target: Target, load: Load, hindrance: str | None) -> None:
    found = _explain(replace(POLICY, targets=(target, *ALL[1:])), light=load)
    assert _standing(found, "light").hindrance == hindrance


@pytest.mark.parametrize(
    ("when", "because"),
    [
        ({"complexity": ("Moderate",), "queue_depth": 5}, "its complexity"),
        ({"complexity": ("Complex",), "queue_depth": 2}, "the requests that wait"),
        ({"latency_ms": 10, "queue_depth": 2}, "the requests that wait and the time to the first byte"),
        ({"no_endpoint": True, "latency_ms": 10}, "the time to the first byte"),
    ],
)
def test_why_a_request_was_escalated(when: dict[str, Any], because: str) -> None:
    rule = Rule("r", Match(), ("t0",), escalate=Escalate(("t2",), **when))
    found = _explain(_rules(rule), light=Load(1, active=12, waiting=2, latency_ms=20))
    assert found.why == f"the rule's escalation, because of {because}"


def test_places_are_those_of_the_plan() -> None:
    found = _explain(_rules(Rule("r", Match(), ("t2", "t0"), fallback=("t1",))), capable=Load(1, active=10))
    assert [(each.name, each.place) for each in found.targets] == [
        ("light", 1), ("balanced", 2), ("capable", 3), ("cloud", None),
    ]  # fmt: skip


_SOME_IDS = st.lists(st.sampled_from([target.id for target in ALL]), unique=True, min_size=1, max_size=4).map(tuple)
_MATCHES = st.builds(
    Match,
    intents=st.sampled_from([(), ("code",)]),
    complexity=st.sampled_from([(), ("Complex",), ("Moderate",)]),
    models=st.sampled_from([(), ("auto",), ("gpt-*",)]),
    headers=st.sampled_from([(), (Header("x-a"),), (Header("x-a", "1"), Header("x-b"))]),
    sensitivity=st.sampled_from([(), ("Restricted",)]),
    capabilities=st.sampled_from([(), ("Tools", "Code")]),
    groups=st.sampled_from([(), ("vip",)]),
    min_tokens=st.sampled_from([None, 10, 9000]),
    max_tokens=st.sampled_from([None, 9000]),
)
_REQUESTS = st.builds(
    Request,
    st.sampled_from(["auto", "auto", "model/cloud", "gpt-5", "unknown"]),
    readable=st.booleans(),
    tools=st.booleans(),
    vision=st.booleans(),
    prompt_tokens=st.sampled_from([5, 100, 9001]),
    complexity=st.sampled_from([None, "Simple", "Complex"]),
    sensitivity=st.sampled_from(SENSITIVITIES),
    intent=st.sampled_from([None, "code"]),
    groups=st.sampled_from([(), ("vip",)]),
    privacy_mode=st.sampled_from(["Standard", "Private"]),
    headers=st.sampled_from([{}, {"x-a": "1"}, {"x-a": "1", "x-b": ""}, {"x-agentroute-tier": "capable"}]),
    smaller_tier=st.booleans(),
    local_only=st.booleans(),
)
_LOADS = st.builds(Load, st.integers(0, 2), st.integers(0, 25), st.sampled_from([0, 3, 1000]))


@given(
    st.lists(st.builds(Rule, st.just(""), _MATCHES, _SOME_IDS), max_size=4),
    _REQUESTS,
    st.lists(_LOADS, min_size=4, max_size=4),
)
def test_an_explanation_agrees_with_the_decision(rules: list[Rule], request_: Request, loads: list[Load]) -> None:
    policy = _rules(*(replace(rule, name=f"r{number}") for number, rule in enumerate(rules)))
    by_id = {target.id: load for target, load in zip(ALL, loads, strict=True)}
    found = explain(policy, request_, by_id)
    assert found.decision == decide(policy, request_, by_id)
    assert [each.rule for each in found.rules if each.verdict == "Chosen"] == [found.decision.rule][
        : bool(found.decision.rule)
    ]
    for rule, verdict in zip(policy.rules, found.rules, strict=True):
        assert bool(verdict.why) == (verdict.verdict in ("NoMatch", "NoTarget"))
        if verdict.why:
            # a rule that did not count can go; the model id must not be forgotten with it
            others = tuple(other for other in policy.rules if other is not rule)
            without = replace(policy, rules=others, aliases=(*policy.aliases, request_.model))
            assert decide(without, request_, by_id) == found.decision
    for each in found.targets:
        assert bool(each.held_back) == (each.name in found.decision.denied)
        assert not (each.place and (each.held_back or each.unable))
