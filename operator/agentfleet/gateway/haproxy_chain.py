"""haproxy.cfg, one after the other: how a request that its target could not answer gets to the next. Pure.

    route ─▶ try_TRS_1 ─▶ go_1 ─▶ pool of the plan's first target
                  └─────▶ next_TRS_2 ─▶ try_TRS_2 ─▶ go_2 ─▶ pool of the second
                                             └─────▶ go_3 ─▶ pool of the third

HAProxy cannot change the backend of a request that was sent, but it can send it once more to another server of the same
backend. So each level is a backend with two servers, this target and whatever comes next, which are HAProxy itself.
The letters say after which causes the next is tried: Q full, T no answer in time, R 429, S 5xx.
"""

from collections.abc import Iterator

from agentfleet.gateway.haproxy_access import IDENTITY_MAP
from agentfleet.gateway.haproxy_process import MOST_AT_ONCE
from agentfleet.gateway.haproxy_text import TICKET, answer, comma_field, one_of, revision, section, when
from agentfleet.gateway.layout import OWNER_PORT, Layout
from agentfleet.gateway.types import EVERY_CAUSE, Cause, Policy

LETTERS: dict[Cause, str] = {"Saturated": "Q", "Timeout": "T", "RateLimited": "R", "ServerError": "S"}
_RETRY_ON = {"Q": "425", "T": "408", "R": "429", "S": "empty-response 500 502 503 504"}
"""425 and 408 are only between HAProxy and itself: full, and no answer in time."""
_DEFAULT_ATTEMPTS = 3
WAKING_S = 10


def chains(policy: Policy) -> dict[str, int]:
    """The letters that requests can have, and how many targets such a request may try at most."""
    found: dict[str, int] = {}
    wanted = [(EVERY_CAUSE, _DEFAULT_ATTEMPTS), *((rule.when, rule.max_attempts) for rule in policy.rules)]
    for causes, attempts in wanted:
        depth = min(attempts, len(policy.targets))
        answered = "".join(LETTERS[cause] for cause in LETTERS if cause in causes and cause != "Saturated")
        variants = {answered, "Q" + answered, "Q"} if "Saturated" in causes else {answered}
        for letters in variants - {""}:
            if depth > 1:
                found[letters] = max(depth, found.get(letters, 0))
    return dict(sorted(found.items()))


def chain_sections(policy: Policy, layout: Layout) -> list[str]:
    """All levels of all chains, and the places where their hops arrive."""
    wanted = chains(policy)
    lines: list[str] = []
    for letters, depth in wanted.items():
        for level in range(1, depth):
            if level > 1:
                lines += _next(policy, letters, level)
            lines += _try(letters, level, depth)
        lines += _try(letters, 1, depth, is_stream=True)
    deepest = max(wanted.values(), default=0)
    for level in range(2, deepest):
        lines += section(f"backend only_{level}", [f"server this abns@go_{level}"])
    for level in range(1, deepest + 1):
        lines += _go(policy, layout, level)
    return lines


def _try(letters: str, level: int, depth: int, *, is_stream: bool = False) -> list[str]:
    """Tokens of streams are counted by a filter, which is too dear for all others."""
    following = f"go_{level + 1}" if level + 1 == depth else f"next_{letters}_{level + 1}"
    lines = [
        "balance first",
        *(["filter lua.usage"] if is_stream else []),
        "retries 1",
        "option redispatch 1",
        f"retry-on conn-failure {' '.join(_RETRY_ON[letter] for letter in letters)}",
        f"server this abns@go_{level}",
        f"server next abns@{following}",
    ]
    return section(f"backend {'stream' if is_stream else 'try'}_{letters}_{level}", lines)


def _next(policy: Policy, letters: str, level: int) -> list[str]:
    """Who has no follower, or must not be asked twice, is asked alone."""
    lines = [
        f"bind abns@next_{letters}_{level}",
        "http-request wait-for-body time 10s",
        *_target(policy, level),
        *_more(level),
        f"use_backend try_{letters}_{level} if more !once",
        f"default_backend only_{level}",
    ]
    return section(f"frontend next_{letters}_{level}", lines)


def _target(policy: Policy, level: int) -> list[str]:
    return [f"http-request set-var(txn.target) {comma_field('req.fhdr(x-af-plan)', level)}", *once(policy)]


def once(policy: Policy) -> list[str]:
    """txn.once: requests to this target do things that must not be done twice, unless the rule says otherwise."""
    effects = [target.id for target in policy.targets if target.side_effects]
    lines = ["http-request set-var(txn.once) req.fhdr(x-af-once),add(0)", "acl once var(txn.once) -m int 1"]
    if effects:
        said = "{ req.fhdr(x-af-once) -m found }"
        lines.insert(1, f"http-request set-var(txn.once) int(1) if !{said} {one_of('txn.target', effects)}")
    return lines


def _more(level: int) -> list[str]:
    return [f"acl more {comma_field('req.fhdr(x-af-plan)', level + 1)} -m len gt 0"]


def _go(policy: Policy, layout: Layout, level: int) -> list[str]:
    """The target itself, at its place in the plan."""
    lines = [
        f"bind abns@go_{level}",
        "http-request wait-for-body time 10s",
        *_target(policy, level),
        *_more(level),
        "acl spills req.fhdr(x-af-retry) -m sub Q",
        # The hop before has a copy already, and sends it to the next one.
        "http-request set-var(txn.followed) int(1) if more { req.fhdr(x-af-retry) -m sub S }",
        "http-request set-var(txn.now) date(0,ms)",
        "http-request set-var(txn.deadline) req.fhdr(x-af-deadline),add(0)",
        *_arrived(),
        *_full(policy, layout, "more spills"),
        *away(layout),
        "http-request set-header x-af-more 1 if away more spills",
        *to_owner(policy, layout),
        *waking(layout),
        *_shown(level),
        *places(policy, layout),
    ]
    return section(f"frontend go_{level}", lines)


def _arrived() -> list[str]:
    """What is left of the deadline of all attempts, and what the hop before has said: the limit of this one, the key
    for its pod."""
    return [
        "http-request set-var(txn.left) var(txn.deadline),sub(txn.now)",
        "http-request set-var(txn.first) req.fhdr(x-af-first),add(0)",
        "http-request set-var(txn.shorter) var(txn.left),sub(txn.first)",
        "http-request set-var(txn.left) var(txn.first) if { var(txn.shorter) -m int gt 0 }",
        "http-request return status 504 default-errorfiles if { var(txn.left) -m int le 0 }",
        "http-request set-var(txn.key) req.fhdr(x-af-key)",
        "http-request set-var(txn.model_at) req.fhdr(x-af-model-at)",
        "http-request set-priority-class req.fhdr(x-af-priority),add(0)",
    ]


def _full(policy: Policy, layout: Layout, condition: str) -> Iterator[str]:
    """Where another target follows, a full one says so at once instead of making the request wait."""
    for taken, full in _taken(policy, layout, condition):
        yield from (taken, answer(425, "All places are taken.", "saturated", full))


def filled(policy: Policy, layout: Layout) -> Iterator[str]:
    """A target that was not full when the request was decided on: whoever finds it so now asks the next one."""
    if any("Q" in letters for letters in chains(policy)):
        for taken, full in _taken(policy, layout, "only_full !away"):
            yield from (taken, f"http-request set-var(txn.chained) int(1) if {full}")


def _taken(policy: Policy, layout: Layout, condition: str) -> Iterator[tuple[str, str]]:
    """For each target a rule that counts, and the condition that all its places are taken.

    Between it and the backend no other request may run. Those on their way to a pod count, too; be_conn_free sees them
    only once they are connected.
    """
    gated = {each.id for each in layout.backends if each.service}
    for target in policy.targets:
        if target.capacity:
            pool = f"pool_{target.id}"
            pods = f"ready_{target.id}" if target.id in gated else pool
            here = f"{condition} {one_of('txn.target', [target.id])}"
            full = f"{{ nbsrv({pods}),mul({target.capacity}),sub(txn.taken) le 0 }} {{ nbsrv({pods}) gt 0 }}"
            yield f"http-request set-var(txn.taken) be_conn({pool}) if {here}", f"{here} {full}"


def _shown(level: int | None) -> list[str]:
    """HAProxy's own 504 is a timeout, the target's a server error."""
    lines = [
        "http-after-response set-var(txn.late) int(1) if { status 504 } !{ var(txn.answered) -m int 1 }",
        "http-after-response set-header x-af-late 1 if { var(txn.late) -m int 1 }",
        "http-after-response set-status 408 if { var(txn.late) -m int 1 }",
    ]
    if level is not None:
        lines.append(f"http-after-response set-header x-af-attempt {level}")
    return lines


def away(layout: Layout) -> list[str]:
    """`away`: the target's requests are counted by another gateway."""
    lines: list[str] = []
    if len(layout.peers) > 1:
        for index, peer in enumerate(layout.peers):
            others = [each.id for each in layout.backends if each.owner is not None and each.owner != index]
            if others:
                owned = f"acl away var(txn.target) -m str {' '.join(others)}"
                lines += when(f'streq("$HOSTNAME",{peer.name})', [owned])
    return [*lines, "acl away always_false"]


def to_owner(policy: Policy, layout: Layout) -> list[str]:
    """What the owner is told, signed: its port must be of no use for others."""
    if len(layout.peers) < 2:
        return []
    own = revision(policy, layout)
    return [
        # Clocks of two nodes differ: what is told is the time that is left.
        "http-request set-var(txn.rest) date(0,ms),neg,add(txn.deadline) if away",
        f'http-request set-var-fmt(txn.ticket) "{own}|%[var(txn.target)]|%[var(txn.rest)]" if away',
        f"http-request set-var(txn.identity_key) str(key),map_str({IDENTITY_MAP}) if away",
        "http-request set-header x-af-target %[var(txn.target)] if away",
        "http-request set-header x-af-left %[var(txn.rest)] if away",
        f"http-request set-header {TICKET} %[var(txn.ticket),hmac(sha256,txn.identity_key),hex,lower] if away",
    ]


def waking(layout: Layout) -> list[str]:
    """`held`: a target has just woken up, and those that were held for it go first.

    Beside them new ones would take each place of its first pod twice.
    """
    lines = []
    for each in (backend.id for backend in layout.backends if backend.service):
        this, slept = one_of("txn.target", [each]), f"proc.slept_{each}"
        recent = f"{{ date,sub({slept}) -m int lt {WAKING_S} }}"
        lines += [
            f"http-request set-var({slept}) date if {this} {{ nbsrv(ready_{each}) eq 0 }}",
            f"http-request set-var(txn.held) int(1) if {{ be_conn(hold_{each}) gt 0 }} {this} {recent}",
        ]
    return lines


def places(policy: Policy, layout: Layout, *, may_be_away: bool = True) -> list[str]:
    """The backend of txn.target."""
    sleepers = [each.id for each in layout.backends if each.service]
    lines = ["use_backend own_%[var(txn.target)] if away"] if may_be_away and len(layout.peers) > 1 else []
    if sleepers:
        asleep = "{ str(ready_),concat('',txn.target),nbsrv eq 0 }"
        lines.append(f"use_backend hold_%[var(txn.target)] if {one_of('txn.target', sleepers)} {asleep}")
        lines.append("use_backend hold_%[var(txn.target)] if { var(txn.held) -m int 1 }")
    return [*lines, "use_backend pool_%[var(txn.target)]"]


def owner(policy: Policy, layout: Layout) -> list[str]:
    """Where the other gateways' requests arrive, for targets whose count is this one's."""
    if len(layout.peers) < 2 or all(each.owner is None for each in layout.backends):
        return []
    own = revision(policy, layout)
    lines = [
        f"bind :{OWNER_PORT}",
        "bind abns@owner",
        f"maxconn {MOST_AT_ONCE}",
        f'http-request set-var-fmt(txn.ticket) "{own}|%[req.fhdr(x-af-target)]|%[req.fhdr(x-af-left)]"',
        f"http-request set-var(txn.identity_key) str(key),map_str({IDENTITY_MAP})",
        "http-request set-var(txn.pass) var(txn.ticket),hmac(sha256,txn.identity_key),hex,lower",
        f"http-request set-var(txn.given) req.fhdr({TICKET})",
        # No gateway of this revision and with this key: one that is a gateway asks the next when it gets no answer.
        "http-request reject if !{ var(txn.given),secure_memcmp(txn.pass) }",
        "http-request wait-for-body time 10s",
        "http-request set-var(txn.target) req.fhdr(x-af-target)",
        *once(policy),
        "http-request set-var(txn.now) date(0,ms)",
        "http-request set-var(txn.rest) req.fhdr(x-af-left),add(0)",
        "http-request set-var(txn.deadline) var(txn.now),add(txn.rest)",
        *_arrived(),
        *_full(policy, layout, "{ req.fhdr(x-af-more) 1 }"),
        *waking(layout),
        *_shown(None),
        *places(policy, layout, may_be_away=False),
    ]
    return section("frontend owner", lines)
