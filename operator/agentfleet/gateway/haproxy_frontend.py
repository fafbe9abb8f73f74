"""haproxy.cfg, `frontend route`: what happens to a request, from top to bottom. Pure.

who ─▶ how much ─▶ body ─▶ what (scan, sensitivity, complexity, conversation, intent) ─▶ policy ─▶ backend
"""

from agentfleet.gateway import haproxy_access, haproxy_answers, haproxy_chain, haproxy_limits
from agentfleet.gateway.complexity import LONG_PROMPT, LONG_TEXT, SHORT_PROMPT, SHORT_TEXT
from agentfleet.gateway.haproxy_log import TIER_BYTES, error_log_format, log_format
from agentfleet.gateway.haproxy_maps import sensitivity
from agentfleet.gateway.haproxy_process import MOST_AT_ONCE, intents_table
from agentfleet.gateway.haproxy_text import JSON, TRY_LATER, answer, one_of, section
from agentfleet.gateway.layout import CONFIG_FOLDER, DECIDER_PORT, HTTP_PORT, TLS_FOLDER, TLS_PORT, Layout
from agentfleet.gateway.pattern_needs import GATES
from agentfleet.gateway.types import TIERS, Policy

_IDS = '{"id":"%[var(txn.asked),json(utf8s)]","object":"model","created":0,"owned_by":"agentfleet"}'
_PROBLEM = (
    '{"error":{"message":"%[var(txn.why)]","type":"invalid_request_error","param":null,"code":"%[var(txn.problem)]"}}'
)
_MISSING = (
    '{"error":{"message":"The model `%[var(txn.model),json(utf8s)]` does not exist.",'
    '"type":"invalid_request_error","param":"model","code":"model_not_found"}}'
)
_FAILED = "The gateway failed to read the request."


def frontend(policy: Policy, layout: Layout) -> list[str]:
    """The section."""
    lines = [
        f"bind :{HTTP_PORT}",
        f"maxconn {MOST_AT_ONCE}",
        # For connections without a request: one that was answered before all of it had come ends after this time.
        "timeout client 10s",
        "http-request set-timeout client 300s",
        *([f"bind :{TLS_PORT} ssl crt {TLS_FOLDER}/tls.crt alpn h2,http/1.1"] if layout.tls else []),
        "log stdout len 65500 format raw local0 info",
        "log ring@audit len 65500 format raw local0 info",
        "unique-id-format %[uuid()]",
        # Who connects and says nothing, as load balancers do to see whether somebody is there, has no line: it is no
        # request, and must not be counted as one of which the line is missing.
        "option http-ignore-probes",
        log_format(layout),
        error_log_format(),
        *_path(),
        *haproxy_access.loop_guard(policy),
        *haproxy_access.who(layout),
        *_lists(),
        *(f"{line} if decided" for line in haproxy_access.clean()),
        "http-request allow if decided",
        *haproxy_limits.checks(layout),
        *_body(layout),
        *_classes(layout),
        *_conversation(policy, layout),
        *_intent(policy, layout),
        *haproxy_access.clean(),
        f"http-request set-var(txn.tier) req.fhdr(x-agentroute-tier),bytes(0,{TIER_BYTES})",
        "http-request lua.route",
        "http-request lua.dry_run if { req.fhdr(x-agentroute-dry-run) -i true }",
        *_refusals(),
        *haproxy_limits.charge(layout),
        *_audited(layout),
        *_on_its_way(policy, layout),
        *haproxy_chain.waking(layout),
        *haproxy_answers.answers(policy, layout),
        *haproxy_answers.afterwards(layout),
        "use_backend decider if decided",
        "use_backend stream_%[var(txn.retry)]_1 if chained streams",
        "use_backend try_%[var(txn.retry)]_1 if chained",
        *haproxy_chain.places(policy, layout),
    ]
    return section("frontend route", lines)


def _path() -> list[str]:
    return [
        f"http-request set-var(txn.endpoint) path,map_str({CONFIG_FOLDER}/paths.map)",
        "http-request set-var(txn.endpoint) str(model) if { path_beg /v1/models/ }",
        answer(404, "There is no such path here.", "unknown_url", "!{ var(txn.endpoint) -m found }"),
        "acl decided var(txn.endpoint) -m str decider",
        "acl reads path /v1/models /health",
        "acl reads path_beg /v1/models/",
        answer(405, "This path takes GET.", "method_not_allowed", "reads !METH_GET"),
        answer(405, "This path takes POST.", "method_not_allowed", "!reads !METH_POST"),
    ]


def _lists() -> list[str]:
    listed, asked = one_of("txn.endpoint", ["models"]), one_of("txn.endpoint", ["model"])
    known = f"{{ var(txn.asked),map_str({CONFIG_FOLDER}/models.map) -m found }}"
    return [
        f"http-request return status 200 {JSON} file {CONFIG_FOLDER}/models.json if {listed}",
        f'http-request set-var(txn.asked) path,url_dec,regsub(^/v1/models/,"") if {asked}',
        f"http-request return status 200 {JSON} lf-string '{_IDS}' if {asked} {known}",
        answer(404, "The model does not exist.", "model_not_found", asked),
    ]


def _body(layout: Layout) -> list[str]:
    message = f"The request is larger than {layout.max_body} bytes."
    unsaid, bad = "!{ req.fhdr(content-length) -m found }", "{ var(txn.problem) -m found }"
    return [
        "http-request set-var(txn.size) req.fhdr(content-length),add(0)",
        answer(413, message, "request_too_large", f"{{ var(txn.size) -m int gt {layout.max_body} }}"),
        "http-request wait-for-body time 10s",
        answer(
            413,
            f"A request without content-length must not be larger than {layout.buffer} bytes.",
            "request_too_large",
            f"{unsaid} {{ req.body_size gt {layout.buffer} }}",
        ),
        "http-request lua.scan",
        answer(500, _FAILED, "internal_error", "!{ var(txn.tokens) -m found }"),
        f"http-request set-var(txn.why) var(txn.problem),map_str({CONFIG_FOLDER}/problems.map) if {bad}",
        f"http-request return status 400 {JSON} lf-string '{_PROBLEM}'"
        f" hdr x-agentroute-decision reason=%[var(txn.problem)] if {bad}",
    ]


def _classes(layout: Layout) -> list[str]:
    lines = _sensitivity(layout)
    if layout.complexity and not layout.ask_complexity:  # where a model does not tell in time, the default counts
        lines += _complexity()
    # The decider says it of each request of a batch.
    said = "{ var(txn.inner) -m int 1 } { req.fhdr(x-agentroute-complexity)"
    lines += [f"http-request set-var(txn.said) str({each}) if {said} -i {each.lower()} }}" for each in TIERS]
    return [*lines, "http-request set-var(txn.cplx) var(txn.said) if { var(txn.said) -m found }"]


def _sensitivity(layout: Layout) -> list[str]:
    """One class for each map: agentroute.lua takes the highest. Most texts pass no gate."""
    lines = ["acl escaped var(txn.text) -m found"]
    maps = {name for name, patterns in sensitivity(layout).items() if patterns}
    for text, condition in (("var(txn.text)", "escaped"), ("req.body", "!escaped")):
        gates: dict[str, str] = {"": "", **{f"-{gate}": f" {{ {text} -m reg '{GATES[gate]}' }}" for gate in GATES}}
        lines += [
            f"http-request set-var(txn.sens{suffix.replace('-', '_')})"
            f" {text},map_reg({CONFIG_FOLDER}/sensitivity{suffix}.map) if {condition}{gate}"
            for suffix, gate in gates.items()
            if f"sensitivity{suffix}.map" in maps
        ]
    return lines if maps else []


def _complexity() -> list[str]:
    """Words, then sizes, as complexity.classify does it."""
    unsure = "!{ var(txn.cplx) -m found }"
    return [
        f"http-request set-var(txn.cplx) var(txn.last),map_reg({CONFIG_FOLDER}/complexity.map)",
        "http-request set-var(txn.bytes) int(0)",
        "http-request set-var(txn.bytes) var(txn.last),length if { var(txn.last) -m found }",
        f"http-request set-var(txn.cplx) str(Complex) if {unsure} {{ var(txn.bytes) -m int ge {LONG_TEXT} }}"
        f" || {unsure} {{ var(txn.tokens) -m int ge {LONG_PROMPT} }}",
        f"http-request set-var(txn.cplx) str(Simple) if {unsure} {{ var(txn.bytes) -m int le {SHORT_TEXT} }}"
        f" {{ var(txn.tokens) -m int le {SHORT_PROMPT} }}",
    ]


def _conversation(policy: Policy, layout: Layout) -> list[str]:
    lines = []
    if layout.ask_intent or any(rule.strategy == "Sticky" or rule.canary for rule in policy.rules):
        session = "{ req.fhdr(x-session-id) -m len gt 0 }"
        lines += [
            # set-var-fmt would leave out control characters.
            f"http-request set-var(txn.session) req.fhdr(x-session-id) if {session}",
            f"http-request set-var(txn.conv) var(txn.caller),concat(|s|,txn.session) if {session}",
            "http-request set-var(txn.conv)"
            f" var(txn.caller),concat(|,txn.model,|),concat(,txn.seed,|),concat(,txn.who) if !{session}",
            "http-request set-var(txn.conversation) var(txn.conv),crc32",
        ]
    if any(rule.strategy == "PrefixAware" for rule in policy.rules):
        lines.append("http-request set-var(txn.prefix_hash) var(txn.prefix),crc32")
    return lines


def _intent(policy: Policy, layout: Layout) -> list[str]:
    """The decider is asked for what is not known of a conversation yet; where it does not answer in time, none is."""
    url = f"http://127.0.0.1:{DECIDER_PORT}/decide"
    named = f"{{ var(txn.model),map_str({CONFIG_FOLDER}/named.map) -m found }}"
    unsaid = "!{ var(txn.said) -m found }"
    if not layout.ask_intent:
        if layout.ask_complexity:
            return [f"http-request lua.ask {url} {layout.complexity_ms} complexity if !{named} {unsaid}"]
        return []
    table = f"gateways/{intents_table(policy)}"
    known = f"map_str({CONFIG_FOLDER}/intents.map)"
    later = "{ var(txn.turns) -m int gt 1 } !{ var(txn.session) -m found }"
    lines = [
        # Many conversations begin alike: from its second text on one is known by both.
        "http-request set-var(txn.talk) var(txn.conv)",
        f"http-request set-var(txn.talk) var(txn.conv),concat(|,txn.second) if {later}",
        f"http-request track-sc0 var(txn.talk),xxh64 table {table} if !{named}",
        f"http-request set-var(txn.number) sc_get_gpt(0,0) if !{named}",
        f"http-request set-var(txn.intent) var(txn.number),{known} if !{named}",
        f"http-request set-var(txn.new) int(1) if !{named} {{ var(txn.number) -m int eq 0 }}",
    ]
    new = "{ var(txn.new) -m int 1 }"
    if layout.ask_complexity:
        both = max(layout.intent_ms, layout.complexity_ms)
        lines += [
            f"http-request lua.ask {url} {both} both if {new}",
            f"http-request lua.ask {url} {layout.complexity_ms} complexity if !{new} !{named} {unsaid}",
            "http-request set-var(txn.cplx) var(txn.said) if { var(txn.said) -m found }",
        ]
    else:
        lines.append(f"http-request lua.ask {url} {layout.intent_ms} intent if {new}")
    told = f"{new} {{ var(txn.told) -m int 1 }}"
    numbers = f"map_str_int({CONFIG_FOLDER}/intent-numbers.map,{len(policy.intents) + 1})"
    first = f"var(txn.conv),xxh64,table_gpt(0,{table}),{known}"
    return [
        *lines,
        # That there is none is known, too: the number after the last.
        f"http-request set-var(txn.number) int({len(policy.intents) + 1}) if {told}",
        f"http-request set-var(txn.number) var(txn.intent),{numbers} if {told} {{ var(txn.intent) -m found }}",
        f"http-request sc-set-gpt(0,0) var(txn.number) if {told}",
        f"http-request set-var(txn.intent) {first} if !{named} !{{ var(txn.intent) -m found }} {later}",
    ]


def _refusals() -> list[str]:
    status = "var(txn.status) -m int"
    denied = "No target may see this request: it must not go to a cloud."
    return [
        # An error in Lua ends an action, and nothing else: without a decision nothing may go on.
        answer(500, _FAILED, "internal_error", "!{ var(txn.status) -m found }"),
        f"http-request return status 404 {JSON} lf-string '{_MISSING}' if {{ {status} 404 }}",
        answer(403, denied, "privacy_denied", f"{{ {status} 403 }}"),
        answer(429, f"The queue is full. {TRY_LATER}", "queue_full", f"{{ {status} 429 }}", after=5),
        answer(503, f"No target is there. {TRY_LATER}", "no_target", f"!{{ {status} 200 }}", after=5),
    ]


def _on_its_way(policy: Policy, layout: Layout) -> list[str]:
    header = policy.priority_header
    hops = bool(haproxy_chain.chains(policy)) or len(layout.peers) > 1
    lines = [
        *_once(policy),
        *haproxy_access.sign(any(each.is_agent for each in layout.backends)),
        f"http-request set-var(txn.priority) int(-10) if {{ req.fhdr({header}) -i high }}",
        f"http-request set-var(txn.priority) int(10) if {{ req.fhdr({header}) -i low }}",
        "http-request set-priority-class var(txn.priority) if { var(txn.priority) -m found }",
        *haproxy_chain.away(layout),
        "acl only_full var(txn.retry) -m str Q",
        "acl retried var(txn.retry) -m len gt 0",
        "http-request set-var(txn.attempt) int(1)",
        "http-request set-var(txn.chained) int(1) if retried !only_full || only_full away",
        *haproxy_chain.filled(policy, layout),
        "acl chained var(txn.chained) -m int 1",
        # What was not read to its end may say so where nobody has looked.
        "acl streams var(txn.stream) -m int 1",
        "acl streams var(txn.readable) -m int 0",
    ]
    if hops:
        sent = "if chained || away"
        lines += [
            f"http-request set-header x-af-deadline %[var(txn.deadline)] {sent}",
            f"http-request set-header x-af-first %[var(txn.left)] {sent}",
            f"http-request set-header x-af-key %[var(txn.key)] {sent}",
            f"http-request set-header x-af-model-at %[var(txn.model_at)] {sent}",
            "http-request set-header x-af-priority %[var(txn.priority)] if { var(txn.priority) -m found }",
            "http-request set-header x-af-once %[var(txn.once)] if { var(txn.once) -m found }",
            "http-request set-header x-af-plan %[var(txn.plan)] if chained",
            "http-request set-header x-af-retry %[var(txn.retry)] if chained",
            *haproxy_chain.to_owner(policy, layout),
        ]
    return lines


def _audited(layout: Layout) -> list[str]:
    """What the audit line says of a request itself."""
    lines = [
        "http-request set-var(txn.told_in) var(txn.tokens)",
    ]
    if layout.audit_content:
        public = one_of("txn.d_sens", ["Public"])
        private = one_of("txn.mode", ["Private", "Offline"])
        lines.append(f"http-request set-var(txn.content) var(txn.last),lua.quoted if {public} !{private}")
    return lines


def _once(policy: Policy) -> list[str]:
    """Where the rule says whether requests may be sent twice, it says so for all targets of the plan."""
    effects = [target.id for target in policy.targets if target.side_effects]
    lines = [f"http-request set-var(txn.once) int(1) if {one_of('txn.target', effects)}"] if effects else []
    for says, number in ((True, 1), (False, 0)):
        names = [rule.name for rule in policy.rules if rule.side_effects is says]
        if names:
            lines.append(f"http-request set-var(txn.once) int({number}) if {one_of('txn.rule', names)}")
    return lines
