"""haproxy.cfg, how much: rate limits and budgets. Pure.

Each gateway counts in tables of its own, which it tells its peers of; what counts is the sum of all gateways'. Tables
of tokens count in two counters what was charged and what was given back: a request is charged as it is estimated, and
corrected when its answer tells.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from agentfleet.gateway.haproxy_text import answer, comma_field, section, short_hash
from agentfleet.gateway.layout import RUN_FOLDER, Layout, Limit

BUDGETS_MAP = f"{RUN_FOLDER}/budgets.map"
"""route, key:ID or group:NAME → spent, small, local; the decider keeps it."""
GROUPS_COUNTED = 8
"""Groups of one caller that count."""

_PERIODS = {1: "second", 60: "minute", 3600: "hour"}
_ALONE = "0"


@dataclass(frozen=True)
class Counter:
    """One counter of a request: one of its limits, for one key."""

    number: int
    """Of HAProxy's counters of a request."""
    index: int
    """Of the limit."""
    limit: Limit
    key: str
    """Expression of what is counted for."""
    condition: str
    """Empty, or when there is such a key."""


def _keys(limit: Limit) -> list[tuple[str, str]]:
    if limit.scope == "Route":
        return [("str(route)", "")]
    if limit.scope == "Key":
        return [("var(txn.caller)", "")]
    return [(f"var(txn.group{number})", f"{{ var(txn.group{number}) -m len gt 0 }}") for number in _groups()]


def _groups() -> range:
    return range(1, GROUPS_COUNTED + 1)


def _counters(layout: Layout) -> Iterator[Counter]:
    number = 1  # 0 is the conversation's
    for index, limit in enumerate(layout.limits):
        for key, condition in _keys(limit):
            yield Counter(number, index, limit, key, condition)
            number += 1


def counters(layout: Layout) -> int:
    """How many counters a request has."""
    return 1 + sum(1 for _ in _counters(layout))


def counts_tokens(layout: Layout) -> bool:
    return any(limit.unit == "tokens" for limit in layout.limits)


def _gateways(layout: Layout) -> list[str]:
    return [peer.name for peer in layout.peers] if len(layout.peers) > 1 else [_ALONE]


def _table(index: int, layout: Layout, gateway: str) -> str:
    """Gateways of another revision may have other limits, or the same in another order: a name says what it counts."""
    limit = layout.limits[index]
    return f"limit_{short_hash(limit, layout.limits[:index].count(limit))}_{gateway}"


def _own_table(index: int, layout: Layout) -> str:
    name = "${HOSTNAME}" if len(layout.peers) > 1 else _ALONE
    return f'"gateways/{_table(index, layout, name)}"'


def tables(layout: Layout) -> list[str]:
    """A table for each limit and gateway."""
    return [
        f"table {_table(index, layout, gateway)} type string len 128 size 10k expire {2 * limit.period_s}s"
        f" store gpc(2),gpc_rate(2,{limit.period_s}s)"
        for index, limit in enumerate(layout.limits)
        for gateway in _gateways(layout)
    ]


def _split_groups(layout: Layout) -> list[str]:
    if "Group" not in {limit.scope for limit in layout.limits} | {budget.scope for budget in layout.budgets}:
        return []
    return [f"http-request set-var(txn.group{number}) {comma_field('var(txn.groups)', number)}" for number in _groups()]


def checks(layout: Layout) -> list[str]:
    """Refuse what is over a limit or a budget, then count the request. What is refused does not count."""
    lines = [*_split_groups(layout), *_budgets(layout)]
    for counter in _counters(layout):
        lines += _check(layout, counter)
    for counter in _counters(layout):
        condition = f" if {counter.condition}" if counter.condition else ""
        own = _own_table(counter.index, layout)
        lines.append(f"http-request track-sc{counter.number} {counter.key} table {own}{condition}")
        if counter.limit.unit == "requests":
            lines.append(f"http-request sc-inc-gpc(0,{counter.number}){condition}")
    return lines


def _check(layout: Layout, counter: Counter) -> list[str]:
    limit = counter.limit
    condition = f" if {counter.condition}" if counter.condition else ""
    lines = ["http-request set-var(txn.used) int(0)"]
    for gateway in _gateways(layout):
        table = f"gateways/{_table(counter.index, layout, gateway)}"
        lines.append(f"http-request set-var(txn.used) {counter.key},table_gpc_rate(0,{table}),add(txn.used){condition}")
        if limit.unit == "tokens":
            lines.append(
                f"http-request set-var(txn.used) {counter.key},table_gpc_rate(1,{table}),neg,add(txn.used){condition}"
            )
    each = {"Route": "the route", "Key": "a key", "Group": "a group"}[limit.scope]
    message = f"Rate limit reached: {limit.amount} {limit.unit} a {_PERIODS[limit.period_s]} for {each}."
    over = f"{{ var(txn.used) -m int ge {limit.amount} }}"
    # A tenth of the window has passed: some room is there again.
    return [*lines, answer(429, message, "rate_limit_exceeded", over, after=-(-limit.period_s // 10))]


def _budgets(layout: Layout) -> list[str]:
    lines = []
    for key, condition in _budget_keys(layout):
        guard = f" if {condition}" if condition else ""
        lines += [
            f"http-request set-var-fmt(txn.budget) {key}{guard}",
            f"http-request set-var(txn.spent) var(txn.budget),map_str({BUDGETS_MAP},none){guard}",
            answer(429, "The budget is spent.", "insufficient_quota", "{ var(txn.spent) -m sub spent }", after=60),
            "http-request set-var(txn.small) int(1) if { var(txn.spent) -m sub small }",
            "http-request set-var(txn.local) int(1) if { var(txn.spent) -m sub local }",
        ]
    return lines


def _budget_keys(layout: Layout) -> Iterator[tuple[str, str]]:
    """Keys of the map, as the decider writes them, and when there is such a one."""
    scopes = {budget.scope for budget in layout.budgets}
    if "Route" in scopes:
        yield "route", ""
    if "Key" in scopes:
        yield "key:%[var(txn.caller),url_enc]", ""
    if "Group" in scopes:
        for number in _groups():
            yield f"group:%[var(txn.group{number}),url_enc]", f"{{ var(txn.group{number}) -m len gt 0 }}"


def charge(layout: Layout) -> list[str]:
    """The estimate of a request that goes on its way."""
    if not counts_tokens(layout):
        return []
    return [
        *(f"http-request sc-add-gpc(0,{each.number}) var(txn.tokens){_if(each)}" for each in _of_tokens(layout)),
        "http-request set-var(txn.charged) var(txn.tokens)",
    ]


def correct(layout: Layout) -> list[str]:
    """What the answer tells. A stream tells at its end: there agentroute_usage.lua asks `corrections` to do it."""
    if not counts_tokens(layout):
        return []
    told = "{ var(txn.more) -m int gt 0 }"
    lines = []
    for each in _of_tokens(layout):
        # What was charged in a period that is over counts no more: to give it back would be a gift.
        back = f"{{ var(txn.less) -m int gt 0 }} {{ var(txn.age) -m int lt {each.limit.period_s} }}"
        lines += [
            f"http-response sc-add-gpc(0,{each.number}) var(txn.more) if {told} {each.condition}".rstrip(),
            f"http-response sc-add-gpc(1,{each.number}) var(txn.less) if {back} {each.condition}".rstrip(),
        ]
    return lines


def give_back(layout: Layout) -> list[str]:
    """HAProxy's own errors: nothing was used, and they pass no other rules."""
    if not counts_tokens(layout):
        return []
    own = "{ status ge 400 } { var(txn.charged) -m found } !{ var(txn.more) -m found }"
    lines = [f"http-after-response set-var(txn.age) date,sub(txn.now) if {own}"]
    for each in _of_tokens(layout):
        recent = f"{{ var(txn.age) -m int lt {each.limit.period_s} }}"
        rule = f"http-after-response sc-add-gpc(1,{each.number}) var(txn.charged)"
        lines.append(f"{rule} if {own} {recent} {each.condition}".rstrip())
    return lines


def _of_tokens(layout: Layout) -> list[Counter]:
    return [each for each in _counters(layout) if each.limit.unit == "tokens"]


def _if(counter: Counter) -> str:
    return f" if {counter.condition}" if counter.condition else ""


def corrections(layout: Layout) -> list[str]:
    """Where agentroute_usage.lua gives back, or adds, what a stream has taken less or more than its estimate."""
    if not counts_tokens(layout):
        return []
    lines = [
        "bind abns@charge",
        "http-request set-var(txn.caller) req.fhdr(x-af-caller)",
        "http-request set-var(txn.groups) req.fhdr(x-af-groups)",
        *_split_groups(layout),
    ]
    for each in _of_tokens(layout):
        recent = f"{{ req.fhdr(x-af-age),add(0) lt {each.limit.period_s} }}"
        own = _own_table(each.index, layout)
        lines += [
            f"http-request track-sc{each.number} {each.key} table {own}{_if(each)}",
            f"http-request sc-add-gpc(0,{each.number}) req.fhdr(x-af-more),add(0){_if(each)}",
            f"http-request sc-add-gpc(1,{each.number}) req.fhdr(x-af-less),add(0)"
            f" if {recent} {each.condition}".rstrip(),
        ]
    return section("frontend charge", [*lines, "http-request return status 200"])
