"""HAProxy starts with any route, and whatever users write in it."""

import re
import string
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.gateway.haproxy import render
from agentfleet.gateway.layout import Budget, Jwt, Layout, Limit, Peer
from agentfleet.gateway.types import Escalate, Header, Match, Policy, Rule
from tests.gateway import routes
from tests.gateway.starting import check, furnish

_HOSTILE = 5_000
_HARD = [
    *"'\"\\%#${}[]() ;,|&`",
    *("\n", "\t", "\r", "\0", "\x7f", "é", "漢", "😀", ".if"),
    *("%[var(txn.caller)]", "${HOSTNAME}", "'\n  server x 1.2.3.4", "\nglobal\n"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gateway")
    furnish(folder)
    return folder


def _hostile(source: Random) -> str:
    return "".join(source.choice([*_HARD, *string.ascii_letters]) for _ in range(source.randint(1, 30)))


def _regex(source: Random) -> str:
    """What patterns.check lets pass: an expression without spaces and control characters."""
    text = "".join(char for char in _hostile(source) if char.isprintable() and char != " ")
    return re.escape(text) or "#x"


def test_no_text_of_users_keeps_haproxy_from_starting(folder: Path) -> None:
    """Thousands of them, 500 for each start: headers' values as they are; patterns, issuers and audiences as far as the
    contract lets them be."""
    source = Random(6)  # noqa: S311 -- the same on each run
    texts = [_hostile(source) for _ in range(_HOSTILE)]
    target = routes.target(0, "phi")
    for start in range(0, _HOSTILE, 500):
        batch = texts[start : start + 500]
        rules = tuple(
            Rule(f"r{number}", Match(headers=(Header("x-any", text),)), ("t0",), escalate=Escalate(("t0",)))
            for number, text in enumerate(batch)
        )
        policy = routes.policy(target, rules=rules)
        layout = routes.layout(
            policy,
            sensitive=tuple((_regex(source), "Internal") for _ in batch),
            jwt=Jwt(_printable(batch[0]), tuple(map(_printable, batch[:8])), "RS256", "groups", "sub"),
        )
        files = render(policy, layout)
        assert not [text for text in batch if len(text) > 8 and text in files["haproxy.cfg"]]
        check(files, folder)


def _leaves(value: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The ways to all texts of a dataclass."""
    if isinstance(value, str):
        yield way
    elif isinstance(value, tuple):
        for place, each in enumerate(value):
            yield from _leaves(each, (*way, place))
    elif is_dataclass(value):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name), (*way, field.name))


def _put(value: Any, way: tuple[str | int, ...], text: str) -> Any:
    if not way:
        return text
    here, *rest = way
    if isinstance(here, int):
        return tuple(_put(each, tuple(rest), text) if place == here else each for place, each in enumerate(value))
    return replace(value, **{here: _put(getattr(value, here), tuple(rest), text)})


def _fields_of_text(root: type[Any], found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Class and name of all fields that can hold a text, of a dataclass and of those in it."""
    for name, kind in get_type_hints(root).items():
        for part in _parts(kind):
            if part is str or get_origin(part) is Literal:
                found.add((root.__name__, name))
            elif is_dataclass(part) and isinstance(part, type):
                _fields_of_text(part, found)
    return found


def _parts(kind: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    inner = () if get_origin(kind) is Literal else get_args(kind)
    for each in inner:
        yield from _parts(each)
    if not inner:
        yield kind


def _holder(value: Any, way: tuple[str | int, ...]) -> tuple[str, str]:
    """Class and field of the text at the end of this way."""
    found = ("", "")
    for here in way:
        if isinstance(here, str):
            found = (type(value).__name__, here)
        value = value[here] if isinstance(here, int) else getattr(value, here)
    return found


_FREE = {
    ("Header", "value"),
    ("Jwt", "issuer"),
    ("Jwt", "audiences"),
    ("Layout", "sensitive"),
    ("Layout", "complexity"),
}
"""Fields that take any text."""


def test_no_other_text_gets_into_the_configuration() -> None:
    """Every text of policy and layout, whoever it comes from: endpoints outside tell names, too."""
    target = routes.target(0, "phi", region="eu", tasks=("code",), capabilities=("Tools",))
    match = Match(
        intents=("code",),
        complexity=("Complex",),
        models=("gpt*",),
        headers=(Header("x-any", "a b"),),
        sensitivity=("Public",),
        capabilities=("Tools",),
        groups=("staff",),
    )
    escalate = Escalate(("t0",), complexity=("Complex",))
    rule = Rule("r", match, ("t0",), escalate=escalate, canary="t0", fallback=("t0",))
    policy = routes.policy(
        target,
        rules=(rule,),
        intents=("code",),
        default_intent="code",
        default=("t0",),
        regions=("eu",),
        deny_cloud_from="Restricted",
        complexity_header="x-hard",
    )
    near = routes.backend(target, ca_file="/a/ca.crt", near="x-${SITE}.team.svc", path="/openai/v1")
    layout = routes.layout(
        policy,
        backends=(near,),
        peers=(Peer("chat-route-0", "10.0.0.1"), Peer("chat-route-1", "fd00::2")),
        limits=(Limit("Key", "tokens", 1, 60),),
        budgets=(Budget("Key", "usd", "1.50", "Day", "Reject"),),
        jwt=Jwt("https://id", ("me",), "RS256", "groups", "sub", ("a.pem",)),
    )
    assert render(policy, layout)
    there = {_holder(root, way) for root in (policy, layout) for way in _leaves(root)}
    assert there == _fields_of_text(Policy, set()) | _fields_of_text(Layout, set()), "a field that nobody tries"
    tried = 0
    for evil in ("m)\n  server evil 6.6.6.6:80", "a b", "a,b", "%[x]", "${HOME}", "a'b", 'a"b', "a\\b", "a#b"):
        for root in (policy, layout):
            for way in _leaves(root):
                if _holder(root, way) in _FREE:
                    continue
                changed = _put(root, way, evil)
                tried += 1
                with pytest.raises(InvalidSpec, match="cannot stand in a configuration"):
                    render(*((changed, layout) if root is policy else (policy, changed)))
    assert tried > 500


def _printable(text: str) -> str:
    """As the contract allows issuers and audiences to be."""
    return "".join(char for char in text if "!" <= char <= "~") or "x"


def _random_route(source: Random) -> tuple[Policy, Layout]:
    """Any route at all."""
    count = source.randint(1, 6)
    targets = []
    for number in range(count):
        kind = source.choice(["ModelServer", "Agent", "External"])
        targets.append(
            routes.target(
                number,
                f"n{number}",
                kind=kind,
                side_effects=kind == "Agent" and source.random() < 0.8,
                capacity=source.choice([None, 1, 10]),
                location=source.choice(["Edge", "Cluster", "Cloud"]),
                model=source.choice(["qwen2.5:0.5b", "org/model_x-1.0", "m"]),
            )
        )
    ids = [each.id for each in targets]
    causes = ("NoEndpoint", "ColdStart", "Saturated", "Timeout", "RateLimited", "ServerError")
    rules = tuple(
        Rule(
            f"rule-{number}",
            Match(),
            tuple(source.sample(ids, source.randint(1, count))),
            strategy=source.choice(["LeastLoaded", "Weighted", "Sticky", "PrefixAware"]),
            when=tuple(source.sample(causes, source.randint(0, 6))),
            max_attempts=source.randint(1, 5),
            side_effects=source.choice([None, True, False]),
        )
        for number in range(source.randint(0, 4))
    )
    policy = routes.policy(*targets, rules=rules, intents=source.choice([(), ("code", "talk")]))
    peers = tuple(Peer(f"chat-route-{number}", f"10.0.0.{number}") for number in range(source.randint(1, 3)))
    backends = []
    for each in targets:
        if each.kind == "External":
            more = {
                "host": source.choice(["api.example.com", "10.1.2.3"]),
                "tls": source.random() < 0.5,
                "health": None,
            }
        else:
            more = {"near": source.choice([None, "x-${SITE}.team.svc"]), "hashed": source.random() < 0.5}
            more["owner"] = source.choice([None, 0]) if len(peers) > 1 else None
        backends.append(routes.backend(each, has_credentials=source.random() < 0.3, **more))
    scopes, units = ("Route", "Key", "Group"), ("requests", "tokens")
    layout = routes.layout(
        policy,
        backends=tuple(backends),
        peers=peers,
        api_keys=source.random() < 0.5,
        limits=tuple(
            Limit(source.choice(scopes), source.choice(units), source.randint(1, 10**6), source.choice([1, 60, 3600]))
            for _ in range(source.randint(0, 6))
        ),
        budgets=tuple(
            Budget(scope, "tokens", "1", "Day", "Reject") for scope in source.sample(scopes, source.randint(0, 3))
        ),
        ask_intent=bool(policy.intents) and source.random() < 0.7,
        ask_complexity=source.random() < 0.3,
        tls=source.random() < 0.3,
        explain=source.random() < 0.5,
        audit_content=source.random() < 0.5,
    )
    return policy, layout


def test_haproxy_takes_any_route(folder: Path) -> None:
    source = Random(7)  # noqa: S311 -- the same on each run
    for _ in range(40):
        check(render(*_random_route(source)), folder)
