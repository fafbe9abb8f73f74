"""The routing policy: a table of decisions, and what holds for all of them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.gateway.policy import decide
from agentfleet.gateway.types import (
    SENSITIVITIES,
    Decision,
    Escalate,
    Header,
    Load,
    Match,
    Policy,
    Request,
    Rule,
    Target,
)

READY = Load(ready=1)
ASLEEP = Load(ready=0)


def _target(number: int, name: str, **fields: Any) -> Target:
    return Target(f"t{number}", name, "ModelServer", f"{name}-model", (f"model/{name}",), **fields)


LIGHT = _target(0, "light", tier="Lightweight", capacity=10)
BALANCED = _target(1, "balanced", tier="Balanced", capacity=10)
CAPABLE = _target(2, "capable", tier="Capable", capacity=10, capabilities=("Tools",))
CLOUD = _target(3, "cloud", tier="Capable", location="Cloud", region="eu")
ALL = (LIGHT, BALANCED, CAPABLE, CLOUD)
POLICY = Policy(
    "team",
    "assistant",
    ("auto", "route/assistant"),
    ALL,
    intents=("code", "chat"),
    deny_cloud_from="Confidential",
)
AUTO = Request("auto")


def _decide(policy: Policy = POLICY, request: Request = AUTO, **loads: Load) -> Decision:
    return decide(policy, request, {target.id: loads.get(target.name, READY) for target in policy.targets})


def _names(decision: Decision) -> list[str]:
    return [ALL[int(each[1:])].name for each in decision.plan]


def _with(*rules: Rule, **fields: Any) -> Policy:
    return replace(POLICY, rules=rules, **fields)


def _rule(*targets: Target, match: Match = Match(), **fields: Any) -> Rule:  # noqa: B008  (frozen)
    return Rule("r", match, tuple(target.id for target in targets), **fields)


@pytest.mark.parametrize(
    ("complexity", "first"), [("Simple", "light"), ("Moderate", "balanced"), ("Complex", "capable"), (None, "balanced")]
)
def test_tiers_follow_complexity(complexity: Any, first: str) -> None:
    decision = _decide(request=replace(AUTO, complexity=complexity))
    assert (decision.reason, _names(decision)[0]) == ("Tier", first)


@pytest.mark.parametrize(
    ("said", "sensitivity"),
    [
        ("internal", "Internal"),
        ("CONFIDENTIAL", "Confidential"),
        ("Restricted, Public", "Restricted"),
        ("Public,\tRestricted ", "Restricted"),
        ("Internal,,", "Internal"),
        ("", "Public"),
        ("Secret", "Restricted"),
        ("Public, Pubic", "Restricted"),
    ],
)
def test_the_highest_class_that_a_client_says_counts(said: str, sensitivity: str) -> None:
    decision = _decide(request=replace(AUTO, headers={"x-agentroute-sensitivity": said}))
    assert decision.sensitivity == sensitivity


def test_a_queue_of_nobody_takes_who_need_not_wait() -> None:
    policy = _with(_rule(BALANCED), queue_max=0)
    assert _decide(policy).status == 200
    assert _decide(policy, balanced=Load(1, active=10)).reason == "QueueFull"
    assert _decide(policy, balanced=ASLEEP).reason == "QueueFull"


@pytest.mark.parametrize("load", [ASLEEP, Load(1, active=10)])
def test_who_does_not_get_it_is_not_counted_for_it(load: Load) -> None:
    """Neither the canary that is away nor the larger target that is full."""
    canary = _with(_rule(BALANCED, canary="t0", canary_percent=100))
    assert (_decide(canary).reason, _names(_decide(canary))[0]) == ("Canary", "light")
    decision = _decide(canary, light=load)
    assert (decision.reason, decision.plan[0]) == ("Spill", "t1")
    escalated = _with(_rule(BALANCED, escalate=Escalate(("t2",), complexity=("Complex",))))
    complex_ = replace(AUTO, complexity="Complex")
    assert _decide(escalated, complex_).reason == "Escalated"
    decision = _decide(escalated, complex_, capable=load)
    assert (decision.reason, decision.plan[0]) == ("Spill", "t1")


@pytest.mark.parametrize("wish", [{"smaller_tier": True}, {"headers": {"x-agentroute-tier": "lightweight"}}])
def test_a_tier_that_is_away_is_no_reason_to_wait(wish: dict[str, Any]) -> None:
    request = replace(AUTO, **wish)
    decision = _decide(request=request)
    assert (decision.reason, _names(decision)) == ("Tier", ["light"])
    decision = _decide(request=request, light=ASLEEP)
    assert (decision.hold, decision.reason, _names(decision)[0]) == (False, "Spill", "balanced")
    full = _decide(request=request, light=Load(1, active=10))
    assert _names(full) == ["light"]  # others would be no smaller
    sleeping = replace(POLICY, targets=(replace(LIGHT, scales_to_zero=True), *ALL[1:]))
    assert _decide(sleeping, request, light=ASLEEP).hold


def test_what_cannot_be_sent_again_is_tried_once() -> None:
    policy = _with(_rule(CAPABLE, fallback=("t1",)))
    assert _names(_decide(policy)) == ["capable", "balanced"]
    decision = _decide(policy, replace(AUTO, readable=False))
    assert (_names(decision), decision.retries) == (["capable"], ())


def test_a_full_tier_spills_to_the_least_loaded_with_room() -> None:
    decision = _decide(balanced=Load(1, active=10), light=Load(1, active=5), capable=Load(1, active=2))
    assert (decision.reason, _names(decision)) == ("Spill", ["capable", "light", "cloud"])
    private = _decide(
        request=replace(AUTO, sensitivity="Restricted"),
        balanced=Load(1, active=10),
        light=Load(1, active=5),
        capable=Load(1, active=2),
    )
    assert _names(private)[0] == "capable"


def test_a_cloud_comes_after_all_others_whatever_their_load() -> None:
    """It costs money, and is out of the house."""
    busy, full = Load(1, active=9), Load(1, active=10)
    idle_cloud = {"balanced": full, "light": busy, "capable": busy, "cloud": READY}
    assert _names(_decide(**idle_cloud)) == ["light", "capable", "cloud"]
    assert _names(_decide(**idle_cloud | {"light": full, "capable": full}))[0] == "cloud", "rather than to wait"
    assert _names(_decide(**idle_cloud | {"light": ASLEEP, "capable": full}))[0] == "cloud", "rather than to wake"
    hard = replace(AUTO, complexity="Complex")
    assert _decide(request=hard, capable=busy).plan[0] == CLOUD.id, "a cloud of the tier that is wanted is as any other"
    two = replace(POLICY, targets=(*ALL, replace(CLOUD, id="t4", name="second")))
    spilt = _decide(two, balanced=full, light=full, capable=busy, cloud=Load(1, active=3), second=Load(1, active=2))
    assert spilt.plan[0] == CAPABLE.id
    spilt = _decide(two, balanced=full, light=full, capable=full, cloud=Load(1, active=3), second=Load(1, active=2))
    assert spilt.plan[:2] == ("t4", "t3"), "of clouds the least loaded"


def test_code_goes_to_those_that_are_good_at_it_where_no_rule_decides() -> None:
    coder = replace(LIGHT, capabilities=("Code",))
    policy = replace(POLICY, targets=(coder, *ALL[1:]))
    code = replace(AUTO, intent="code")
    assert (_decide(policy, code).reason, _decide(policy, code).plan[0]) == ("Task", coder.id)
    assert _decide(policy, replace(code, intent="chat")).reason == "Tier"
    ruled = replace(policy, rules=(_rule(BALANCED, match=Match(intents=("code",))),))
    assert _decide(ruled, code).plan[0] == BALANCED.id


@pytest.mark.parametrize("mode", ["Private", "Offline"])
def test_who_cannot_be_told_of_a_privacy_mode_gets_nothing_private(mode: Any) -> None:
    stranger = replace(LIGHT, kind="Agent", identified=False)
    policy = replace(POLICY, targets=(stranger,))
    assert _decide(policy).status == 200
    private = _decide(policy, replace(AUTO, privacy_mode=mode))
    assert (private.status, private.reason, private.denied) == (403, "PrivacyDenied", ("light",))


def test_when_all_are_full_it_waits_at_the_balanced_tier() -> None:
    full = Load(1, active=10, waiting=0)
    decision = _decide(
        request=replace(AUTO, sensitivity="Restricted", complexity="Simple"), light=full, balanced=full, capable=full
    )
    assert (decision.status, _names(decision)[0]) == (200, "balanced")
    assert "Saturated" not in decision.retries, "it would be sent on, and wait at the last of the plan"


def test_when_all_queues_are_full_it_is_refused() -> None:
    full = Load(1, active=1010, waiting=1000)
    secret = replace(AUTO, sensitivity="Restricted")
    decision = _decide(request=secret, light=full, balanced=full, capable=full)
    assert (decision.status, decision.reason) == (429, "QueueFull")


def test_a_full_queue_refuses_those_who_ask_by_name_too() -> None:
    decision = _decide(request=replace(AUTO, model="model/light"), light=Load(1, active=1010, waiting=1000))
    assert (decision.status, decision.reason) == (429, "QueueFull")


@pytest.mark.parametrize("model", ["nobody", "", "model/nobody", "AUTO"])
def test_unknown_models_are_not_found(model: str) -> None:
    assert _decide(request=replace(AUTO, model=model)).status == 404


def test_a_rules_model_pattern_makes_an_id_known() -> None:
    policy = _with(_rule(LIGHT, match=Match(models=("gpt-4*",))))
    assert _names(_decide(policy, replace(AUTO, model="gpt-4o")))[0] == "light"
    assert _decide(policy, replace(AUTO, model="gpt-3")).status == 404


def test_a_target_that_is_asked_for_by_name_has_no_substitute() -> None:
    decision = _decide(request=replace(AUTO, model="model/light"), light=ASLEEP)
    assert (decision.reason, _names(decision), decision.hold, decision.retries) == ("Named", ["light"], True, ())


@pytest.mark.parametrize(
    ("request_", "denied"),
    [
        (replace(AUTO, sensitivity="Confidential"), True),
        (replace(AUTO, sensitivity="Restricted"), True),
        (replace(AUTO, sensitivity="Internal"), False),
        (replace(AUTO, headers={"x-agentroute-sensitivity": "restricted"}), True),
        (replace(AUTO, sensitivity="Restricted", headers={"x-agentroute-sensitivity": "public"}), True),
        (replace(AUTO, readable=False), True),
        (replace(AUTO, privacy_mode="Private"), True),
        (replace(AUTO, privacy_mode="Offline"), True),
        (replace(AUTO, local_only=True), True),
    ],
)
def test_what_keeps_a_request_from_the_cloud(request_: Request, denied: bool) -> None:
    assert ("cloud" in _decide(request=request_).denied) is denied


def test_privacy_refuses_where_only_a_cloud_was_asked_for() -> None:
    decision = _decide(request=replace(AUTO, model="model/cloud", sensitivity="Restricted"))
    assert (decision.status, decision.reason, decision.denied) == (403, "PrivacyDenied", ("cloud",))


def test_only_clouds_of_the_regions_are_used() -> None:
    assert "cloud" in _decide(replace(POLICY, regions=("us",))).denied
    assert "cloud" not in _decide(replace(POLICY, regions=("us", "eu"))).denied


def test_a_rule_whose_targets_are_all_denied_lets_the_next_one_decide() -> None:
    policy = _with(_rule(CLOUD), replace(_rule(LIGHT), name="second"))
    decision = _decide(policy, replace(AUTO, sensitivity="Restricted"))
    assert (decision.rule, _names(decision)[0]) == ("second", "light")


def test_tools_go_to_who_has_them() -> None:
    assert _names(_decide(request=replace(AUTO, tools=True)))[0] == "capable"


def test_a_spent_budget_or_a_header_narrows_the_tier() -> None:
    assert _names(_decide(request=replace(AUTO, complexity="Complex", smaller_tier=True))) == ["light"]
    assert _names(_decide(request=replace(AUTO, headers={"x-agentroute-tier": "Lightweight"}))) == ["light"]


@pytest.mark.parametrize(
    ("match", "request_", "holds"),
    [
        (Match(intents=("code",)), replace(AUTO, intent="code"), True),
        (Match(intents=("code",)), replace(AUTO, intent="chat"), False),
        (Match(intents=("code",)), replace(AUTO, intent="unheard-of"), False),
        (Match(complexity=("Complex",)), replace(AUTO, complexity="Complex"), True),
        (Match(complexity=("Complex",)), AUTO, False),
        (Match(headers=(Header("x-team", "blue"),)), replace(AUTO, headers={"x-team": "blue"}), True),
        (Match(headers=(Header("x-team", "blue"),)), replace(AUTO, headers={"x-team": "red"}), False),
        (Match(headers=(Header("x-team"),)), replace(AUTO, headers={"x-team": ""}), True),
        (Match(headers=(Header("x-team"),)), AUTO, False),
        (Match(sensitivity=("Internal",)), replace(AUTO, sensitivity="Internal"), True),
        (Match(capabilities=("Vision",)), replace(AUTO, vision=True), True),
        (Match(capabilities=("Code",)), replace(AUTO, intent="code"), True),
        (Match(capabilities=("LongContext",)), replace(AUTO, prompt_tokens=8_001), True),
        (Match(capabilities=("LongContext",)), replace(AUTO, prompt_tokens=8_000), False),
        (Match(groups=("vip",)), replace(AUTO, groups=("staff", "vip")), True),
        (Match(groups=("vip",)), AUTO, False),
        (Match(min_tokens=10, max_tokens=20), replace(AUTO, prompt_tokens=10), True),
        (Match(min_tokens=10, max_tokens=20), replace(AUTO, prompt_tokens=21), False),
    ],
)
def test_what_rules_match(match: Match, request_: Request, holds: bool) -> None:
    assert (_decide(_with(_rule(LIGHT, match=match)), request_).rule == "r") is holds


def test_weights() -> None:
    heavy, light = replace(LIGHT, weight=9), replace(BALANCED, weight=1)
    policy = _with(_rule(heavy, light, strategy="Weighted"), targets=(heavy, light, CAPABLE, CLOUD))
    chosen = [_names(_decide(policy, replace(AUTO, draw=draw)))[0] for draw in range(100)]
    assert (chosen.count("light"), chosen.count("balanced")) == (90, 10)


def test_round_robin_takes_turns() -> None:
    policy = _with(_rule(LIGHT, BALANCED, CAPABLE, strategy="RoundRobin"))
    assert [_names(_decide(policy, replace(AUTO, turn=turn)))[0] for turn in range(4)] == [
        "light", "balanced", "capable", "light",
    ]  # fmt: skip


def test_conversations_stay_and_only_those_of_a_lost_target_move() -> None:
    policy = _with(_rule(LIGHT, BALANCED, CAPABLE, strategy="Sticky"))

    def homes(**loads: Load) -> list[str]:
        return [_names(_decide(policy, replace(AUTO, conversation=each * 7919), **loads))[0] for each in range(300)]

    before, after = homes(), homes(balanced=ASLEEP)
    assert min(before.count(name) for name in ("light", "balanced", "capable")) > 60
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "balanced")
    assert "balanced" not in after


def test_a_canary_gets_its_share_of_conversations() -> None:
    policy = _with(_rule(LIGHT, canary=CAPABLE.id, canary_percent=10))
    first = [_names(_decide(policy, replace(AUTO, conversation=each)))[0] for each in range(100)]
    assert (first.count("capable"), first.count("light")) == (10, 90)


@pytest.mark.parametrize(
    ("when", "loads", "escalated"),
    [
        ({"complexity": ("Complex",)}, {}, False),
        ({"complexity": ("Moderate",)}, {}, True),
        ({"queue_depth": 5}, {"light": Load(1, 15, 5)}, True),
        ({"queue_depth": 5}, {"light": Load(1, 14, 4)}, False),
        ({"no_endpoint": True}, {"light": ASLEEP}, True),
        ({"no_endpoint": True}, {}, False),
        ({"latency_ms": 3000}, {"light": Load(1, latency_ms=3001)}, True),
        ({"latency_ms": 3000}, {"light": Load(1, latency_ms=0)}, False),
        ({"complexity": ("Moderate",), "max_percent": 20}, {}, False),
    ],
)
def test_what_escalates(when: Any, loads: Any, escalated: bool) -> None:
    policy = _with(_rule(LIGHT, escalate=Escalate((CLOUD.id,), **when)))
    decision = _decide(policy, replace(AUTO, escalated={"r": 20}), **loads)
    assert (decision.reason == "Escalated") is escalated


@pytest.mark.parametrize(
    ("when", "first", "hold"),
    [(("ColdStart",), "balanced", False), (("NoEndpoint",), "light", True), ((), "light", True)],
)
def test_cold_start_falls_back_only_where_it_is_listed(when: Any, first: str, hold: bool) -> None:
    asleep = replace(LIGHT, scales_to_zero=True)
    rule = _rule(asleep, fallback=(BALANCED.id,), when=when)
    decision = _decide(_with(rule, targets=(asleep, BALANCED, CAPABLE, CLOUD)), light=ASLEEP)
    assert (_names(decision)[0], decision.hold) == (first, hold)


def test_retries_are_those_that_are_listed() -> None:
    rule = _rule(CLOUD, fallback=(LIGHT.id,), when=("RateLimited",))
    assert _decide(_with(rule)).retries == ("RateLimited",)
    assert _names(_decide(_with(rule))) == ["cloud", "light"]


def test_side_effects_and_unread_bodies_are_never_sent_twice() -> None:
    agent = replace(LIGHT, side_effects=True)
    policy = _with(_rule(agent, BALANCED), targets=(agent, BALANCED, CAPABLE, CLOUD))
    assert _decide(policy).retries == ("Saturated",), "a place is asked for before anything is sent"
    assert _decide(policy, replace(AUTO, readable=False)).plan == ("t0",)
    forced = _with(_rule(agent, BALANCED, side_effects=False), targets=(agent, BALANCED, CAPABLE, CLOUD))
    assert "ServerError" in _decide(forced).retries


def test_attempts_are_bounded() -> None:
    assert len(_decide(_with(_rule(*ALL, max_attempts=2))).plan) == 2


_LOADS = st.builds(
    Load, st.integers(0, 2), st.integers(0, 40), st.sampled_from([0, 3, 1000]), st.sampled_from([0, 900])
)
_IDS = st.lists(st.sampled_from([target.id for target in ALL]), unique=True, max_size=4).map(tuple)
_RULES = st.builds(
    Rule,
    st.sampled_from(["a", "b"]),
    st.builds(
        Match, complexity=st.sampled_from([(), ("Complex",)]), sensitivity=st.sampled_from([(), ("Restricted",)])
    ),
    _IDS.filter(bool),
    strategy=st.sampled_from(["LeastLoaded", "Weighted", "RoundRobin", "Sticky", "PrefixAware"]),
    fallback=_IDS,
    canary=st.sampled_from([None, "t3"]),
    canary_percent=st.integers(0, 100),
    escalate=st.sampled_from([None, Escalate(("t3",), complexity=("Moderate",))]),
)
_REQUESTS = st.builds(
    Request,
    st.sampled_from(["auto", "model/cloud", "model/light", "unknown"]),
    readable=st.booleans(),
    tools=st.booleans(),
    sensitivity=st.sampled_from(SENSITIVITIES),
    complexity=st.sampled_from([None, "Simple", "Moderate", "Complex"]),
    privacy_mode=st.sampled_from(["Standard", "Private"]),
    conversation=st.integers(0, 2**32 - 1),
    prefix=st.integers(0, 2**32 - 1),
    draw=st.integers(0, 999_999),
    turn=st.integers(0, 10_000),
    local_only=st.booleans(),
)


@given(st.lists(_RULES, max_size=3), _REQUESTS, st.lists(_LOADS, min_size=4, max_size=4), _IDS)
def test_nothing_widens_the_privacy_filter(
    rules: list[Rule], request_: Request, loads: list[Load], default: tuple[str, ...]
) -> None:
    policy = replace(POLICY, rules=tuple(rules), default=default)
    decision = decide(policy, request_, {target.id: load for target, load in zip(ALL, loads, strict=True)})
    planned = [ALL[int(each[1:])] for each in decision.plan]
    held_back = request_.privacy_mode != "Standard" or request_.local_only or not request_.readable
    held_back = held_back or request_.sensitivity in ("Confidential", "Restricted")
    assert not (held_back and CLOUD in planned)
    assert len(set(decision.plan)) == len(decision.plan)
    assert (decision.status == 200) == bool(decision.plan)


@settings(deadline=None)
@given(st.lists(_RULES, max_size=3))
def test_a_policy_survives_its_file(rules: list[Rule]) -> None:
    policy = replace(POLICY, rules=tuple(rules))
    assert Policy.from_json(policy.to_json()) == policy
    assert policy.to_json().isascii()
