"""Recorded requests once more: where they would go by a changed route instead of the live one. Pure.

    audit line ─▶ Request ─▶ decide by the live policy, decide by the changed one ─▶ stays, goes elsewhere, or unknown

Lines hold no content, so what a request was taken for is taken over; and no headers, so what hangs on one is tried with
and without it. The recorded rule tells which of the two it was, as far as the live route is still the one of then.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args
from zlib import crc32

from agentfleet.cli.explain_source import Source
from agentfleet.gateway.policy import decide
from agentfleet.gateway.types import (
    SENSITIVITIES,
    TIERS,
    Decision,
    Endpoint,
    Load,
    Policy,
    PrivacyMode,
    Request,
    Rule,
    Target,
)

_EXAMPLES = 3
_NO_REQUEST = "no request that was routed"
_TIER_HEADER = "x-agentroute-tier"

Headers = Mapping[str, str | None]
"""Name → value; None is any."""


class NotUnderstood(ValueError):
    """A line's field has no legal value."""


@dataclass(frozen=True)
class Line:
    """One recorded request."""

    id: str
    request: Request
    rule: str | None
    """The rule that decided then, "" for none; None where the line does not say."""


@dataclass
class Group:
    """Requests that have something in common."""

    requests: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        self.requests += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)


@dataclass
class Replay:
    """What became of all lines."""

    stay: int = 0
    moves: dict[tuple[str, str], Group] = field(default_factory=lambda: defaultdict(Group))
    """(From, to) → requests; a target's name, or a refusal."""
    unknown: dict[str, Group] = field(default_factory=lambda: defaultdict(Group))
    """Why it cannot be told → requests."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Why a line was left out → lines."""
    otherwise: int = 0
    """Requests that another rule has decided than the live route would choose now."""

    @property
    def move(self) -> int:
        return sum(group.requests for group in self.moves.values())

    @property
    def requests(self) -> int:
        return self.stay + self.move + sum(group.requests for group in self.unknown.values())


def replay(lines: Iterable[str], live: Policy, changed: Policy) -> Replay:
    """Every line, by both policies. All targets are taken to be up and idle, so that only the policies differ."""
    result = Replay()
    trials = _Trials(live, changed)
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = parse(text, number)
        except NotUnderstood as error:
            result.skipped[str(error)] += 1
            continue
        _judge(result, line, trials)
    return result


def _judge(result: Replay, line: Line, trials: "_Trials") -> None:
    outcomes = list(trials.of(line.request, line.rule))
    if not outcomes:
        result.otherwise += 1
        outcomes = list(trials.of(line.request, None))
    pairs = {outcome.pair for outcome in outcomes}
    if all(before == after for before, after in pairs):
        result.stay += 1
    elif len(pairs) == 1:
        result.moves[pairs.pop()].add(line.id)
    else:
        headers = [outcome.headers for outcome in outcomes]
        in_doubt = frozenset.union(*headers) - frozenset.intersection(*headers)
        names = " and ".join(sorted({name for name, _ in in_doubt}))
        result.unknown[f"a rule matches on header {names}, which is not recorded"].add(line.id)


@dataclass(frozen=True)
class _Outcome:
    """Where a request goes if it had these headers."""

    headers: frozenset[tuple[str, str]]
    pair: tuple[str, str]
    """By the live route, and by the changed one."""


class _Trials:
    """Both policies, and the sets of headers that can make a difference to them."""

    def __init__(self, live: Policy, changed: Policy) -> None:
        self._policies = live, changed
        self._idle = [{target.id: Load() for target in policy.targets} for policy in self._policies]
        before, after = (list(_header_sets(policy.rules)) for policy in self._policies)
        # The rule that decides is the first whose headers are all there, so to each policy a request is like one that
        # has the headers of one rule alone, or none.
        both = [_together(one, other) for one in before for other in after if _agree(one, other)]
        self._headers = [dict(each) for each in dict.fromkeys(tuple(sorted(one.items())) for one in both)]

    def of(self, request: Request, rule: str | None) -> Iterator[_Outcome]:
        """With each of the sets, as far as the live route then decides by `rule`; by any where None."""
        live, changed = self._policies
        for headers in self._headers:
            asked = replace(request, headers={**request.headers, **headers})
            before = decide(live, asked, self._idle[0])
            if rule in (None, before.rule):
                after = decide(changed, asked, self._idle[1])
                yield _Outcome(frozenset(headers.items()), (_place(live, before), _place(changed, after)))


def _header_sets(rules: Iterable[Rule]) -> Iterator[Headers]:
    yield {}
    for rule in rules:
        if rule.match.headers:
            yield {header.name: header.value for header in rule.match.headers}


def _agree(one: Headers, other: Headers) -> bool:
    """Whether a request can have both."""
    return all(None in (one[name], other[name]) or one[name] == other[name] for name in one.keys() & other.keys())


def _together(one: Headers, other: Headers) -> dict[str, str]:
    """Both; where any value does, an empty one."""
    given = {name: value for name, value in (*one.items(), *other.items()) if value is not None}
    return dict.fromkeys((*one, *other), "") | given


def _place(policy: Policy, decision: Decision) -> str:
    if decision.plan:
        return policy.target(decision.plan[0]).name
    return f"{decision.status} {decision.reason}"


def parse(text: str, number: int = 1) -> Line:
    """One line of the audit log; NotUnderstood says why it is not a request that was routed."""
    try:
        line = json.loads(text)
    except ValueError as error:
        raise NotUnderstood("not JSON") from error
    # without a reason it was refused before the policy was asked: a bad key, a limit, a body that is no JSON
    if not isinstance(line, dict) or not line.get("model") or line.get("reason") == "":
        raise NotUnderstood(_NO_REQUEST)
    ident = str(line.get("id") or f"line {number}")
    tier = str(line.get("tier") or "")
    request = Request(
        model=str(line["model"]),
        endpoint=_word(line, "endpoint", get_args(Endpoint), "chat/completions"),
        readable=_flag(line, "readable", default=True),
        tools=_flag(line, "tools"),
        vision=_flag(line, "vision"),
        prompt_tokens=_number(line, "tokens"),
        complexity=_word(line, "complexity", tuple(TIERS), None),
        sensitivity=_word(line, "sensitivity", SENSITIVITIES, "Public"),
        intent=str(line.get("intent") or "") or None,
        caller=str(line.get("caller") or ""),
        groups=tuple(filter(None, str(line.get("groups") or "").split(","))),
        privacy_mode=_word(line, "mode", get_args(PrivacyMode), "Standard"),
        headers={_TIER_HEADER: tier} if tier else {},
        conversation=_number(line, "conversation"),
        prefix=_number(line, "prefix"),
        # what was random then: the same for both policies, and the same each time
        draw=crc32(ident.encode()) % 1_000_000,
        turn=number,
        smaller_tier=_flag(line, "small"),
        local_only=_flag(line, "local"),
    )
    rule = line.get("rule")
    return Line(ident, request, None if rule is None else str(rule))


def _word(line: Mapping[str, Any], name: str, legal: Iterable[str], default: Any) -> Any:
    value = line.get(name) or default
    if value not in (default, *legal):
        raise NotUnderstood(f"{name} is {value!r}; legal: {', '.join(legal)}")
    return value


def _number(line: Mapping[str, Any], name: str) -> int:
    value = line.get(name) or 0
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise NotUnderstood(f"{name} is {value!r}, no whole number") from error


def _flag(line: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = line.get(name)
    return default if value in (None, "") else bool(_number(line, name))


def remarks(live: Source, changed: Source) -> list[str]:
    """What the comparison does not show."""
    found = []
    if live.route.spec.classify != changed.route.spec.classify or live.layout.sensitive != changed.layout.sensitive:
        found.append("The routes classify differently, but lines hold no text: what requests were taken for is kept.")
    before = {target.name: _what(target) for target in live.policy.targets}
    after = {target.name: _what(target) for target in changed.policy.targets}
    others = [name for name in before if name in after and before[name] != after[name]]
    if others:
        found.append(f"Something else under the same name, which is not counted: {', '.join(others)}.")
    if any(rule.escalate and rule.escalate.max_percent < 100 for rule in (*live.policy.rules, *changed.policy.rules)):
        found.append("escalate.maxPercent is not replayed: all that would be escalated are.")
    return found


def _what(target: Target) -> tuple[str, ...]:
    return (target.kind, target.model, target.location, *target.names)
