"""AgentRoute → policy, layout and what the decider needs."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.compile import compile_policy
from agentfleet.gateway.compile_decider import decider_config
from agentfleet.gateway.compile_layout import layout, longest_request_s
from agentfleet.gateway.haproxy import render
from agentfleet.gateway.layout import Budget, Layout, Limit, Peer
from agentfleet.gateway.resolved import Resolution
from agentfleet.gateway.sensitivity import BUILTINS, builtin, ordered
from agentfleet.gateway.types import Escalate, Header, Match, Policy, Rule
from agentfleet.resources.agentroute import AgentRoute
from tests.routes import AUTH, CLOUD, SETTINGS, Held, cloud, resolved, route, to

PEERS = (Peer("front-route-0", "10.0.0.1"), Peer("front-route-1", "10.0.0.2"))
HELD = Held().server().server("small").agent("helper", {"modelServerRef": {"name": "phi"}})
HELPER = {"name": "helper", "agentRef": {"name": "helper"}}


def policy(*targets: dict[str, Any], held: Held = HELD, **spec: Any) -> Policy:
    asked = route(*targets, **spec)
    return compile_policy(asked, resolved(asked, held))


def laid_out(*targets: dict[str, Any], peers: tuple[Peer, ...] = PEERS, **spec: Any) -> Layout:
    asked = route(*targets, **spec)
    return layout(asked, resolved(asked, HELD), SETTINGS, peers)


def refused(*targets: dict[str, Any], **spec: Any) -> str:
    with pytest.raises(InvalidSpec) as error:
        policy(*targets, **spec)
    assert error.value.reason == "InvalidSpec"
    return error.value.message


def test_the_least_route_has_its_defaults() -> None:
    made = policy()
    assert made.aliases == ("auto", "route/front")
    (target,) = made.targets
    assert (target.id, target.name, target.kind, target.model) == ("t0", "phi", "ModelServer", "phi")
    assert target.names == ("model/phi", "target/phi")
    assert (target.tier, target.location, target.capacity, target.side_effects) == ("Balanced", "Cluster", None, False)
    assert (made.queue_max, made.queue_ms, made.deny_cloud_from) == (1000, 30_000, None)
    assert made.complexity_header is None
    assert Policy.from_json(made.to_json()) == made


def test_agents_have_ten_places_and_side_effects() -> None:
    (target,) = policy(HELPER).targets
    assert (target.capacity, target.side_effects, target.names) == (10, True, ("agent/helper", "target/helper"))
    (target,) = policy(HELPER | {"maxConcurrent": 3}).targets
    assert target.capacity == 3


def test_an_agent_of_another_namespace_is_not_told_who_asks() -> None:
    """It has another key than the gateway: what it cannot check it is not sent, nor what has to be kept private."""
    held = Held().server().agent("far", {"modelServerRef": {"name": "phi"}}, "other", allowedNamespaces={"from": "All"})
    held.agent("helper", {"modelServerRef": {"name": "phi"}})
    asked = route(HELPER, {"name": "far", "agentRef": {"name": "far", "namespace": "other"}})
    found = resolved(asked, held)
    helper, far = layout(asked, found, SETTINGS, PEERS).backends
    assert (helper.is_agent, far.is_agent) == (True, False)
    assert [target.identified for target in compile_policy(asked, found).targets] == [True, False]
    deleted = "http-request del-header x-agentfleet-identity"
    assert [deleted in _section(asked, found, f"pool_{each}") for each in ("t0", "t1")] == [False, True]
    assert found.targets["far"].reason == "Serving"
    assert found.targets["far"].message == (
        "far: the agent is in namespace other, and identities are signed for demo alone: it is not told who asks, and"
        " gets nothing from agents in privacy mode Private or Offline."
    )


def _section(asked: AgentRoute, found: Resolution, name: str) -> str:
    """A backend of the rendered configuration."""
    text = render(compile_policy(asked, found), layout(asked, found, SETTINGS, PEERS))["haproxy.cfg"]
    return text.split(f"backend {name}\n", 1)[1].split("\nbackend ", 1)[0]


def test_an_agent_that_takes_fewer_at_once_gets_fewer() -> None:
    held = Held().agent("helper", {"modelServerRef": {"name": "phi"}}, concurrency={"max": 4})
    (target,) = policy(HELPER, held=held).targets
    assert target.capacity == 4
    (target,) = policy(HELPER | {"maxConcurrent": 3}, held=held).targets
    assert target.capacity == 3, "what the route says wins"


def test_everything_that_is_said_is_in_the_policy() -> None:
    made = policy(
        to("phi", tier="Capable", capabilities=["Tools"], weight=0, maxConcurrent=4, primary=True, tasks=["code"]),
        cloud(region="eu"),
        auth=AUTH,
        aliases=["gpt"],
        classify={
            "intents": [{"name": "code"}],
            "defaultIntent": "code",
            "complexity": {"method": "Header", "header": "X-Hard", "default": "Simple"},
            "sensitivity": {"header": "X-Class", "default": "Internal"},
        },
        privacy={"denyCloudFor": ["Restricted", "Confidential"], "regions": ["eu"]},
        default={"targets": ["phi"]},
        queue={"max": 0, "timeout": "5s", "priorityHeader": "X-Prio"},
    )
    first, second = made.targets
    assert (first.tier, first.capabilities, first.weight, first.capacity) == ("Capable", ("Tools",), 0, 4)
    assert (first.primary, first.tasks) == (True, ("code",))
    assert (second.kind, second.location, second.region, second.model) == ("External", "Cloud", "eu", "large")
    assert second.names == ("target/cloud",)
    assert made.aliases == ("gpt", "route/front")
    assert (made.deny_cloud_from, made.regions, made.default) == ("Confidential", ("eu",), ("t0",))
    assert (made.intents, made.default_intent) == (("code",), "code")
    assert (made.default_complexity, made.complexity_header) == ("Simple", "x-hard")
    assert (made.default_sensitivity, made.sensitivity_header) == ("Internal", "x-class")
    assert (made.queue_max, made.queue_ms, made.priority_header) == (0, 5000, "x-prio")


def test_a_rule_is_compiled() -> None:
    rule = {
        "name": "r",
        "match": {
            "headers": [{"name": "X-Team", "value": "a"}],
            "promptTokens": {"min": 5},
            "models": ["gpt*"],
            "groups": ["staff"],
        },
        "targets": ["phi"],
        "strategy": "Sticky",
        "fallback": {"targets": ["small"], "when": ["ColdStart"], "maxAttempts": 2},
        "escalate": {"targets": ["small"], "when": {"queueDepth": 3, "latency": "2s"}, "maxPercent": 20},
        "canary": {"target": "small", "percent": 10},
        "timeouts": {"request": "1m", "firstByte": "1s500ms"},
        "sideEffects": True,
    }
    (made,) = policy(to("phi"), to("small"), rules=[rule], auth=AUTH).rules
    assert made == Rule(
        name="r",
        match=Match(headers=(Header("x-team", "a"),), min_tokens=5, models=("gpt*",), groups=("staff",)),
        targets=("t0",),
        strategy="Sticky",
        fallback=("t1",),
        when=("ColdStart",),
        max_attempts=2,
        escalate=Escalate(targets=("t1",), queue_depth=3, latency_ms=2000, max_percent=20),
        canary="t1",
        canary_percent=10,
        request_ms=60_000,
        first_byte_ms=1500,
        side_effects=True,
    )


def test_targets_that_cannot_be_used_are_left_out_everywhere() -> None:
    rules = [
        {
            "name": "r",
            "targets": ["gone", "phi"],
            "fallback": {"targets": ["gone"]},
            "escalate": {"targets": ["gone"], "when": {"noEndpoint": True}},
            "canary": {"target": "gone", "percent": 5},
        },
        {"name": "none", "targets": ["gone"]},
    ]
    made = policy(to("gone"), to("phi"), rules=rules, default={"targets": ["gone"]})
    assert [(target.id, target.name) for target in made.targets] == [("t1", "phi")]
    assert made.rules[0].targets == ("t1",)
    assert made.target("t1").name == "phi"
    assert (made.rules[0].fallback, made.rules[0].escalate, made.rules[0].canary) == ((), None, None)
    assert made.rules[1].targets == ()
    assert made.default == ()


def test_a_target_that_comes_leaves_the_others_their_ids_and_owners() -> None:
    asked = route(to("new", maxConcurrent=2), HELPER, to("phi", maxConcurrent=2))
    before, after = (resolved(asked, held) for held in (HELD, Held(*HELD.objects.values()).server("new")))
    former, latter = compile_policy(asked, before).targets, compile_policy(asked, after).targets
    assert [(target.id, target.name) for target in former] == [("t1", "helper"), ("t2", "phi")]
    assert latter[1:] == former
    assert layout(asked, after, SETTINGS, PEERS).backends[1:] == layout(asked, before, SETTINGS, PEERS).backends


def test_one_model_id_has_one_meaning() -> None:
    twice = {"name": "again", "modelServerRef": {"name": "phi"}}
    assert refused(to("phi"), twice) == (
        "targets: phi and again are both 'model/phi': keep one, and name it in several rules."
    )
    assert refused(to("phi"), aliases=["model/phi"]) == "aliases: 'model/phi' is the id of target phi; choose another."


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"targets": ["no"]}, "targets of rule r"),
        ({"targets": ["phi"], "fallback": {"targets": ["no"]}}, "fallback.targets of rule r"),
        ({"targets": ["phi"], "escalate": {"targets": ["no"], "when": {}}}, "escalate.targets of rule r"),
        ({"targets": ["phi"], "canary": {"target": "no", "percent": 1}}, "canary.target of rule r"),
    ],
)
def test_names_that_no_target_has_are_refused(rule: dict[str, Any], field: str) -> None:
    assert refused(to("phi"), rules=[{"name": "r"} | rule]) == f"{field}: 'no' is no target; legal: phi."


def test_a_rule_for_denied_classes_needs_more_than_clouds() -> None:
    def spec(targets: list[str], classes: list[str]) -> dict[str, Any]:
        rule = {"name": "secret", "match": {"sensitivity": classes}, "targets": targets}
        return {"rules": [rule], "privacy": {"denyCloudFor": ["Confidential"]}, "auth": AUTH}

    message = refused(to("phi"), cloud(), **spec(["cloud"], ["Restricted"]))
    assert "rule secret is for Restricted requests" in message
    assert "give it one that is not" in message
    policy(to("phi"), cloud(), **spec(["cloud", "phi"], ["Restricted"]))
    policy(to("phi"), cloud(), **spec(["cloud"], ["Internal", "Restricted"]))


def test_counts_that_are_exact_have_an_owner_in_turn() -> None:
    made = laid_out(to("phi", maxConcurrent=2), HELPER, to("small"), cloud(maxConcurrent=5), auth=AUTH)
    assert [backend.owner for backend in made.backends] == [0, 1, None, None]
    assert [backend.capacity for backend in made.backends] == [2, 10, None, 5]
    alone = laid_out(to("phi", maxConcurrent=2), peers=PEERS[:1])
    assert (alone.peers, alone.backends[0].owner) == ((), None)
    sites = laid_out(to("phi", maxConcurrent=2), gateway={"perSite": True})
    assert sites.backends[0].owner is None


def test_backends_are_where_the_targets_are() -> None:
    rules = [
        {"name": "a", "targets": ["phi"], "strategy": "PrefixAware"},
        {"name": "b", "targets": ["cloud"], "escalate": {"targets": ["phi"], "when": {"latency": "1s"}}},
    ]
    private = {"name": "cloud", "external": CLOUD | {"auth": {"secretName": "k", "caBundle": {"configMapName": "ca"}}}}
    phi, far, helper = laid_out(to("phi", idleTimeout="10s"), private, HELPER, auth=AUTH, rules=rules).backends
    assert (phi.host, phi.service) == ("phi-model-pods.demo.svc.cluster.local", "phi-model.demo.svc.cluster.local")
    assert (phi.hashed, phi.latency, phi.idle_ms, phi.has_credentials) == (True, False, 10_000, False)
    assert (far.host, far.tls, far.health, far.hashed, far.latency) == ("api.example.com", True, None, False, True)
    assert (far.has_credentials, far.ca_file) == (True, "/var/run/secrets/agentroute/credentials/t1/ca.crt")
    assert (helper.is_agent, helper.health) == (True, "/healthz")


def test_limits_and_budgets_keep_their_units() -> None:
    made = laid_out(
        limits=[{"scope": "Route", "requests": 5, "per": "Second"}, {"scope": "Route", "tokens": 9, "per": "Hour"}],
        budgets=[
            {"scope": "Route", "usd": "2.50", "window": "Day", "onExceeded": "Reject"},
            {"scope": "Route", "tokens": 7, "window": "Month", "onExceeded": "LocalOnly"},
        ],
    )
    assert made.limits == (Limit("Route", "requests", 5, 1), Limit("Route", "tokens", 9, 3600))
    assert made.budgets == (
        Budget("Route", "usd", "2.50", "Day", "Reject"),
        Budget("Route", "tokens", "7", "Month", "LocalOnly"),
    )


def test_everything_is_looked_for_where_something_is_denied() -> None:
    assert laid_out().sensitive == ()
    denied = {"denyCloudFor": ["Restricted"]}
    assert list(laid_out(privacy=denied).sensitive) == ordered(builtin(BUILTINS))
    chosen = {
        "sensitivity": {"patterns": ["Email"], "custom": [{"name": "p", "pattern": "secret-x", "class": "Restricted"}]}
    }
    made = laid_out(privacy=denied, classify=chosen).sensitive
    assert set(made) == {*builtin(["Email"]), ("secret-x", "Restricted")}
    assert made[0][1] == "Restricted"


def test_a_pattern_that_is_not_taken_is_named() -> None:
    chosen = {"sensitivity": {"custom": [{"name": "p", "pattern": "(a+)+$"}]}}
    with pytest.raises(InvalidSpec, match=r"classify.sensitivity.custom p: pattern '\(a\+\)\+\$'"):
        laid_out(classify=chosen)


def test_sizes_and_threads_follow_the_gateway() -> None:
    made = laid_out(gateway={"maxBody": "1Mi", "resources": {"limits": {"cpu": "1500m"}}, "tls": {"secretName": "t"}})
    assert (made.max_body, made.threads, made.tls) == (2**20, 2, True)
    assert (laid_out().max_body, laid_out().threads) == (10 * 2**20, 1)
    with pytest.raises(InvalidSpec, match=r"gateway\.maxBody: 1 is not from 1Ki to 1Gi"):
        laid_out(gateway={"maxBody": "1"})


def test_what_is_asked_of_the_decider() -> None:
    plain = laid_out()
    assert (plain.ask_intent, plain.ask_complexity) == (False, False)
    made = laid_out(
        classify={
            "intents": [{"name": "code"}],
            "intentTimeout": "80ms",
            "complexity": {"method": "Model", "modelRef": {"name": "small"}, "timeout": "2s"},
        },
        auth=AUTH | {"jwt": {"issuer": "i", "publicKeySecretName": "s"}},
        explain={"header": False},
        audit={"content": True},
    )
    assert (made.ask_intent, made.intent_ms, made.ask_complexity, made.complexity_ms) == (True, 80, True, 2000)
    assert (made.explain, made.audit_content, made.api_keys) == (False, True, True)
    assert made.jwt is not None
    assert (made.jwt.algorithm, made.jwt.groups_claim, made.jwt.subject_claim) == ("RS256", "groups", "sub")


def test_the_decider_gets_texts_costs_and_models() -> None:
    asked = route(
        to("phi", cost={"inputPerMillion": "2.5"}),
        cloud(),
        HELPER,
        auth=AUTH,
        classify={
            "intents": [{"name": "code", "keywords": ["bug"]}],
            "intentMethod": "Embedding",
            "modelRef": {"name": "small"},
        },
    )
    made = decider_config(asked, resolved(asked, HELD), PEERS)
    assert (made.intents[0].name, made.intents[0].keywords, made.intent_method) == ("code", ("bug",), "Embedding")
    assert made.intent_model is not None
    assert (made.intent_model.url, made.intent_model.model) == ("http://small-model.demo.svc.cluster.local/v1", "small")
    assert [(cost.target, cost.input_per_million) for cost in made.costs] == [("t0", "2.5")]
    assert [(each.target, each.kind, each.name) for each in made.demand] == [
        ("t0", "ModelServer", "phi"),
        ("t2", "Agent", "helper"),
    ], "what is outside is nobody's to scale"
    assert made.peers == PEERS


def test_requests_are_not_shown_to_a_cloud_to_be_classified() -> None:
    held = Held().server().server("far", engine="External", external={"url": "https://x.example.com/v1", "model": "m"})
    asked = route(to("phi"), auth=AUTH, classify={"intentMethod": "Model", "modelRef": {"name": "far"}})
    with pytest.raises(InvalidSpec, match=r"classify\.modelRef: ModelServer far is in a cloud"):
        decider_config(asked, resolved(asked, held), PEERS)


def test_a_missing_classifier_is_told_and_not_asked() -> None:
    asked = route(to("phi"), classify={"intentMethod": "Model", "modelRef": {"name": "gone"}})
    found = resolved(asked, HELD)
    assert [lost.message for lost in found.unresolved] == ["classify.modelRef: there is no ModelServer gone."]
    assert decider_config(asked, found, PEERS).intent_model is None


def test_the_longest_request_is_its_wait_and_its_answer() -> None:
    assert longest_request_s(route()) == 630
    rules = [{"name": "r", "targets": ["phi"], "timeouts": {"request": "1h"}}]
    assert longest_request_s(route(rules=rules, queue={"timeout": "2s"})) == 3602
