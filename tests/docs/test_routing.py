"""The guides to routing and to the gateway name what there is: errors, metrics, audit fields, ports."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast, get_args

import yaml
from prometheus_client.core import Metric

from agentfleet.decider.families import Families, Parts
from agentfleet.gateway import complexity, haproxy, layout
from agentfleet.gateway.compile import compile_policy
from agentfleet.gateway.compile_layout import layout as layout_of
from agentfleet.gateway.haproxy_log import log_format
from agentfleet.gateway.layout import Peer
from agentfleet.gateway.policy import decide
from agentfleet.gateway.request import Refusal, read
from agentfleet.gateway.resolved import Reason as TargetReason
from agentfleet.gateway.types import Load, Reason
from agentfleet.resources.route_rules import FallbackCause, Strategy
from tests.docs.test_scaling import _rows, _words
from tests.routes import AUTH, SETTINGS, Held, cloud, resolved, route, to

GUIDES = Path(__file__).parents[2] / "operator/docs"
ROUTING, ANSWERS, GATEWAY = (
    (GUIDES / f"{name}.md").read_text(encoding="utf-8") for name in ("routing", "routing-answers", "gateway")
)

_BETWEEN_GATEWAYS = {"saturated", "no_gateway"}
"""Codes that no client sees."""
_OF_THE_DECIDER = {"timeout", "service_unavailable", "queue_full", "bad_gateway"}

_RULE = {"name": "r", "targets": ["small"], "fallback": {"targets": ["cloud"]}}
_LIMIT = {"scope": "Key", "tokens": 5, "per": "Hour"}
_BUDGET = {"scope": "Key", "usd": "5", "window": "Day", "onExceeded": "Reject"}
FULL = route(
    to("small", maxConcurrent=2),
    cloud(cost={"outputPerMillion": "1"}),
    rules=[_RULE],
    auth=AUTH | {"jwt": {"issuer": "i", "audiences": ["a"], "publicKeySecretName": "jwt"}},
    limits=[_LIMIT],
    budgets=[_BUDGET],
    audit={"content": True},
)
FOUND = resolved(FULL, Held().server("small"))
PEERS = tuple(Peer(f"front-route-{index}", f"10.0.0.{index}") for index in (1, 2))
LAYOUT = layout_of(FULL, FOUND, SETTINGS, peers=PEERS)
FILES = haproxy.render(compile_policy(FULL, FOUND), LAYOUT)


def _named(rows: Iterable[list[str]], column: int = 0) -> set[str]:
    return {word for row in rows for word in _words(row[column])}


def test_errors() -> None:
    told = {(row[0], word) for row in _rows(ANSWERS, "status |") for word in _words(row[1])}
    answers = "".join(text for name, text in FILES.items() if name == "haproxy.cfg" or name.endswith(".http"))
    codes = set(re.findall(r'"code": "(\w+)"', answers)) | {"model_not_found"}
    problems = {line.split()[0] for line in FILES["problems.map"].splitlines()}
    assert {code for _, code in told} == codes - _BETWEEN_GATEWAYS | problems | _OF_THE_DECIDER
    returned = re.findall(r'status (\d+) [^\n]*?"code": "(\w+)"', FILES["haproxy.cfg"])
    for status, code in returned:
        # What a target answers keeps its status; HAProxy's own 414 and 431 are as bad as other requests.
        assert (status, code) in told or code in _BETWEEN_GATEWAYS | {"target_error", "bad_request"}, (status, code)


def test_reasons_of_decisions_and_targets() -> None:
    assert _named(_rows(ANSWERS, "reason |")) == set(get_args(Reason))
    assert _named(_rows(ROUTING, "status.targets[].reason |")) == set(get_args(TargetReason))


def test_strategies_and_causes() -> None:
    assert _named(_rows(ROUTING, "strategy |")) == set(get_args(Strategy))
    assert _named(_rows(ROUTING, "cause |")) == set(get_args(FallbackCause))


def test_fields_of_audit_lines() -> None:
    there = set(re.findall(r'"(\w+)":', log_format(LAYOUT)))
    assert _named(_rows(ANSWERS, "audit field |")) == there


def test_the_first_request() -> None:
    """The guide's first route and request give the header that it shows."""
    found = next(yaml.safe_load_all(ROUTING.split("```yaml\n")[1].split("```")[0]))
    targets = found["spec"]["targets"]
    body = re.search(r"-d '(.*)'$", ROUTING, re.MULTILINE)
    assert body
    asked = read("chat/completions", {}, body[1].encode(), caller="")
    assert not isinstance(asked, Refusal)
    first = route(*targets)
    held = Held()
    for target in targets:
        held.server(target["modelServerRef"]["name"])
    policy = compile_policy(first, resolved(first, held))
    classified = replace(asked, complexity=complexity.classify(b"Hello", asked.prompt_tokens))
    decision = decide(policy, classified, {target.id: Load() for target in policy.targets})
    plan = [policy.target(each).name for each in decision.plan]
    shown = f"target={plan[0]}; plan={','.join(plan)}; reason={decision.reason}; intent={decision.intent}"
    assert f"rule=; {shown}; complexity={decision.complexity}; sensitivity={decision.sensitivity};" in ROUTING
    assert '"Analyze this." goes to `large` (`complexity=Complex`)' in " ".join(ROUTING.split())
    assert complexity.classify(b"Analyze this.", asked.prompt_tokens) == "Complex"


def test_ports() -> None:
    told = {int(port) for row in _rows(GATEWAY, "port |") for port in row[0].split(", ")}
    assert told == {value for name, value in vars(layout).items() if name.endswith("_PORT")}


def families() -> Iterator[Metric]:
    """All metrics of a gateway's page."""
    number = SimpleNamespace
    parts = number(
        policy=number(targets=()),
        sources=(),
        gateway="g",
        meter=None,
        requests=number(requests={}, tokens={}, attempts={}),
        audit=number(lines=0, bad=0),
        missing=number(lines=0),
        ledger=number(own=tuple, refused=0),
        rotation=number(skipped=0, rotations=0, failures=0),
        classifier=number(outcomes={}),
        chat=number(
            tally=number(ok=1, failed=0, total=1, seconds=1.0, by_agent={}, per_minute=1), waiting=0, workers=1
        ),
    )
    return Families(cast(Parts, parts), loads={}).collect()


def test_metrics() -> None:
    there = {f"{each.name}_total" if each.type == "counter" else each.name for each in families()}
    told = {f"agentfleet_route_{name}" for name in _named(_rows(GATEWAY, "metric `agentfleet_route_…`"))}
    demand = {f"agentfleet_demand_{name}" for name in ("requests_total", "waiting", "in_flight")}
    assert told | demand == there
