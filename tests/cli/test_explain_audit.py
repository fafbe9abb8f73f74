"""cli/explain_audit.py: recorded requests by a changed route."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentfleet.cli.explain_audit import NotUnderstood, Replay, parse, replay
from agentfleet.gateway.types import Escalate, Header, Match, Policy, Rule, Target
from tests.cli.routes import SPEC, agent_route, serve_routes, serve_targets
from tests.cli.servers import FakeApi, refused

LIGHT = Target("t0", "light", "ModelServer", "l", ("model/light",), tier="Lightweight")
LARGE = Target("t1", "large", "ModelServer", "b", ("model/large",))
CLOUD = Target("t2", "cloud", "External", "c", ("target/cloud",), location="Cloud")
LIVE = Policy("prod", "r", ("auto", "route/r"), (LIGHT, LARGE, CLOUD), intents=("code",))
BLUE = Match(headers=(Header("x-team", "blue"),))
RED = Match(headers=(Header("x-team", "red"),))
LONE = Match(headers=(Header("x-lone"),))
REST = Rule("rest", Match(), ("t0",))
HEADER = "a rule matches on header x-team, which is not recorded"


def _policy(*rules: Rule, **fields: Any) -> Policy:
    return replace(LIVE, rules=rules, **fields)


def _line(ident: str = "a", **fields: Any) -> str:
    return json.dumps({"id": ident, "model": "auto", "complexity": "Moderate", **fields})


def _moves(found: Replay) -> dict[tuple[str, str], list[str]]:
    return {way: group.examples for way, group in found.moves.items()}


def test_a_line_in_full() -> None:
    text = _line(
        endpoint="embeddings",
        readable=0,
        tools=1,
        vision="1",
        tokens="120",
        sensitivity="Internal",
        intent="code",
        caller="bob",
        groups="a,b",
        mode="Private",
        conversation="4294967295",
        prefix=7,
        tier="lightweight",
        small=True,
        local=False,
        rule="",
        target="light",
    )
    line = parse(text, 3)
    asked = line.request
    assert (line.id, line.rule, asked.endpoint, asked.readable, asked.tools) == ("a", "", "embeddings", False, True)
    assert (asked.vision, asked.prompt_tokens, asked.sensitivity, asked.intent) == (True, 120, "Internal", "code")
    assert (asked.caller, asked.groups, asked.privacy_mode) == ("bob", ("a", "b"), "Private")
    assert (asked.conversation, asked.prefix, asked.smaller_tier, asked.local_only) == (2**32 - 1, 7, True, False)
    assert asked.headers == {"x-agentroute-tier": "lightweight"}


def test_only_the_model_is_needed() -> None:
    line = parse('{"model":"auto"}', 12)
    assert (line.id, line.rule, line.request.readable, line.request.sensitivity) == ("line 12", None, True, "Public")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("haproxy started", "not JSON"),
        ("[]", "no request that was routed"),
        ('{"status":401,"model":""}', "no request that was routed"),
        (_line(status=400, reason=""), "no request that was routed"),
        (_line(complexity="Hard"), "complexity is 'Hard'; legal: Simple, Moderate, Complex"),
        (_line(tokens="many"), "tokens is 'many', no whole number"),
        (_line(mode=["x"]), "mode is ['x']; legal: Standard, Private, Offline"),
    ],
)
def test_lines_that_are_no_requests(text: str, why: str) -> None:
    with pytest.raises(NotUnderstood) as error:
        parse(text)
    assert str(error.value) == why
    assert replay([text, "", "\n"], LIVE, LIVE).skipped == {why: 1}


def test_what_goes_elsewhere() -> None:
    changed = _policy(Rule("code", Match(intents=("code",)), ("t2",)), REST, deny_cloud_from="Restricted")
    found = replay(
        [
            *(_line(f"code-{number}", intent="code") for number in range(5)),
            _line("secret", intent="code", sensitivity="Restricted"),
            _line("named", model="target/cloud", sensitivity="Restricted"),
            _line("other"),
            _line("unknown", model="gpt"),
        ],
        _policy(REST),
        changed,
    )
    assert (found.requests, found.stay, found.move) == (9, 3, 6)
    assert _moves(found) == {
        ("light", "cloud"): ["code-0", "code-1", "code-2"],
        ("cloud", "403 PrivacyDenied"): ["named"],
    }


@pytest.mark.parametrize(
    ("before", "after", "recorded", "outcome"),
    [
        # nobody knows whether it had the header that the changed route asks for
        ((REST,), (Rule("blue", BLUE, ("t2",)), REST), "rest", HEADER),
        # with the header or without it, it goes to the same target
        ((REST,), (Rule("blue", BLUE, ("t0",)), REST), "rest", "stays"),
        ((REST,), (Rule("blue", BLUE, ("t1",)), replace(REST, targets=("t1",))), "rest", ("light", "large")),
        # both routes ask for it alike
        ((Rule("blue", BLUE, ("t2",)), REST), (Rule("blue", BLUE, ("t2",)), REST), None, "stays"),
        # the recorded rule tells that it was there, or that it was not
        ((Rule("blue", BLUE, ("t2",)), REST), (REST,), "blue", ("cloud", "light")),
        ((Rule("blue", BLUE, ("t2",)), REST), (REST,), "rest", "stays"),
        ((Rule("blue", BLUE, ("t2",)), REST), (REST,), None, HEADER),
        # one value excludes the other
        ((Rule("blue", BLUE, ("t2",)), REST), (Rule("red", RED, ("t1",)), REST), "blue", ("cloud", "light")),
        ((Rule("blue", BLUE, ("t2",)), REST), (Rule("red", RED, ("t1",)), REST), "rest", HEADER),
        # any value may be the one that the other route asks for
        (
            (Rule("any", Match(headers=(Header("x-team"), Header("x-lone"))), ("t2",)), REST),
            (Rule("blue", BLUE, ("t1",)), REST),
            "any",
            HEADER,
        ),
        # another header may be there, too
        (
            (Rule("blue", BLUE, ("t2",)), REST),
            (Rule("lone", LONE, ("t1",)), Rule("blue", BLUE, ("t2",)), REST),
            "blue",
            HEADER.replace("x-team", "x-lone"),
        ),
    ],
)
def test_headers_that_are_not_recorded(
    before: tuple[Rule, ...], after: tuple[Rule, ...], recorded: str | None, outcome: Any
) -> None:
    found = replay([_line(**({} if recorded is None else {"rule": recorded}))], _policy(*before), _policy(*after))
    told = "stays" if found.stay else next(iter(found.moves or found.unknown))
    assert told == outcome


def test_a_route_that_has_changed_since_is_told() -> None:
    found = replay([_line(rule="of-old"), _line(rule="rest")], _policy(REST), _policy(REST))
    assert (found.stay, found.otherwise) == (2, 1)


def test_what_is_random_is_the_same_for_both() -> None:
    turns = Rule("r", Match(), ("t0", "t1"), strategy="RoundRobin")
    draws = Rule("r", Match(), ("t0", "t1"), strategy="Weighted")
    lines = [_line(str(number)) for number in range(100)]
    for rule in (turns, draws):
        assert replay(lines, _policy(rule), _policy(rule)).stay == 100
    weights = replace(LIVE, targets=(LIGHT, replace(LARGE, weight=3), CLOUD), rules=(draws,))
    moved = replay(lines, _policy(draws), weights)
    assert 10 < moved.move < 45, "a quarter of all, since the ids are what is drawn"


AUDIT = [
    _line("x1", intent="code", rule="code"),
    _line("x2", rule=""),
    _line("x3", rule="", sensitivity="Restricted"),
    '{"status":401,"model":""}',
    "[NOTICE] haproxy is up",
]


@pytest.fixture
def route(api: FakeApi) -> FakeApi:
    serve_routes(api, agent_route())
    serve_targets(api)
    return api


def _files(folder: Path, **spec: Any) -> list[str]:
    audit, changed = folder / "audit.jsonl", folder / "changed.yaml"
    audit.write_text("\n".join(AUDIT))
    manifest = {"kind": "AgentRoute", "metadata": {"name": "assistant"}, "spec": SPEC | spec}
    changed.write_text(yaml.safe_dump(manifest))
    return ["--against", str(audit), "-f", str(changed)]


async def test_the_command(route: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = [
        {
            "name": "code",
            "match": {"intents": ["code"]},
            "targets": ["light"],
            "escalate": {"targets": ["cloud"], "when": {"complexity": ["Complex"]}, "maxPercent": 5},
        },
        {"name": "rest", "targets": ["balanced"], "match": {"headers": [{"name": "X-Team"}]}},
        {"name": "public", "match": {"sensitivity": ["Public"]}, "targets": ["cloud"]},
    ]
    classify = {"intents": [{"name": "code", "keywords": ["bug"]}]}
    files = _files(tmp_path, rules=rules, classify=classify)
    assert await route.run("explain", "route", "assistant", *files) == 0
    assert capsys.readouterr().out == (
        f"prod/assistant as it is and as in {files[3]}\n"
        "3 requests: 1 stay, 1 go elsewhere, 1 cannot be judged.\n"
        "\n"
        "FROM       TO      REQUESTS   EXAMPLES\n"
        "balanced   light   1          x1\n"
        "\n"
        "CANNOT BE JUDGED                                         REQUESTS   EXAMPLES\n"
        "a rule matches on header x-team, which is not recorded   1          x2\n"
        "\n"
        "1 lines left out: no request that was routed.\n"
        "1 lines left out: not JSON.\n"
        "The routes classify differently, but lines hold no text: what requests were taken for is kept.\n"
        "escalate.maxPercent is not replayed: all that would be escalated are.\n"
    )
    assert await route.run("explain", "route", *files, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["requests"], answer["stay"], answer["move"], answer["unjudged"]) == (3, 1, 1, 1)
    assert answer["moves"] == [{"from": "balanced", "to": "light", "requests": 1, "examples": ["x1"]}]


async def test_a_target_that_is_another_one_is_told(
    route: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = [SPEC["targets"][0] | {"modelServerRef": {"name": "qwen"}}, *SPEC["targets"][2:]]
    files = _files(tmp_path, targets=targets, rules=[])
    assert await route.run("explain", "route", "assistant", *files) == 0
    assert "Something else under the same name, which is not counted: light." in capsys.readouterr().out


async def test_mistakes(route: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, audit, _, changed = _files(tmp_path)
    told = await refused(route, capsys, "explain", "route", "assistant", "--against", audit)
    assert told == "--against needs the changed route: name its file by -f"
    told = await refused(route, capsys, "explain", "route", "--against", "/nowhere", "-f", changed)
    assert told == "/nowhere: No such file or directory"


def test_escalation_counts_as_the_place() -> None:
    escalating = replace(REST, escalate=Escalate(("t2",), complexity=("Complex",)))
    assert _moves(replay([_line(complexity="Complex")], _policy(REST), _policy(escalating))) == {
        ("light", "cloud"): ["a"]
    }
