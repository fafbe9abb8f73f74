"""haproxy.cfg, what is made of answers: errors in OpenAI's form, tokens used, the gateway's headers. Pure."""

from agentfleet.gateway import haproxy_limits
from agentfleet.gateway.haproxy_process import longest_ms
from agentfleet.gateway.haproxy_text import OVER, TOO_LATE, TRY_LATER, answer, comma_field, one_of
from agentfleet.gateway.layout import Layout
from agentfleet.gateway.types import Policy


def answers(policy: Policy, layout: Layout) -> list[str]:
    """What is made of answers. Only those that are no stream are looked into here."""
    whole = "{ res.fhdr(content-type) -m beg application/json }"
    query = "res.body,json_query"
    responses = one_of("txn.endpoint", ["responses"])
    lines = [
        # Some send their headers at once, and white space until the answer is there. It is read before its headers are
        # changed: afterwards HAProxy would copy a whole buffer to do so.
        f"http-response wait-for-body time {longest_ms(policy)}ms if {whole}",
        f"http-response set-var(txn.told_in) {query}('$.usage.prompt_tokens','int') if {whole} !{responses}",
        f"http-response set-var(txn.told_out) {query}('$.usage.completion_tokens','int') if {whole} !{responses}",
        f"http-response set-var(txn.told_in) {query}('$.usage.input_tokens','int') if {whole} {responses}",
        f"http-response set-var(txn.told_out) {query}('$.usage.output_tokens','int') if {whole} {responses}",
    ]
    # Not wanted, but some compress nevertheless: then a byte counts as a token, which is more than there can be.
    compressed = "{ res.fhdr(content-encoding) -m found } !{ res.fhdr(content-encoding) -i identity }"
    lines += [
        f"http-response set-var(txn.told_out) res.body_size if {whole} {compressed}",
        "http-response set-var(txn.attempt) res.fhdr(x-af-attempt),add(0) if chained",
        *(
            f"http-response set-var(txn.target) {comma_field('var(txn.plan)', number)}"
            f" if chained {{ var(txn.attempt) -m int {number} }}"
            for number in range(2, 6)
        ),
        "http-response set-var(txn.late) res.fhdr(x-af-late) if chained || away",
        "http-response del-header x-af- -m beg if chained || away",
    ]
    if haproxy_limits.counts_tokens(layout):
        lines += [
            # An error has cost nothing.
            "http-response set-var(txn.total) int(0)",
            "http-response set-var(txn.total) var(txn.told_out,0),add(txn.told_in) if { status lt 400 }",
            "http-response set-var(txn.more) var(txn.total),sub(txn.charged) if { var(txn.charged) -m found }",
            "http-response set-var(txn.less) var(txn.more),neg if { var(txn.charged) -m found }",
            "http-response set-var(txn.age) date,sub(txn.now)",
            *haproxy_limits.correct(layout),
        ]
    late = f"{whole} {{ var(txn.deadline) -m found }} {OVER}"
    return [
        *lines,
        answer(504, TOO_LATE, "timeout", late, on="response"),
        "http-response allow if { status lt 400 }",
        *_in_form(),
    ]


def _in_form() -> list[str]:
    """Errors of targets in OpenAI's form, whatever they were."""
    no_json = "!{ res.fhdr(content-type) -m beg application/json }"
    lines = [answer(429, f"All targets are full. {TRY_LATER}", "queue_full", "{ status 425 }", after=5, on="response")]
    for status in (400, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504):
        said = f"The target answered {status}."
        lines.append(answer(status, said, "target_error", f"{{ status {status} }} {no_json}", on="response"))
    other = f"{{ status 401:599 }} {no_json}"
    return [*lines, answer(502, "The target answered with an error.", "target_error", other, on="response")]


def afterwards(layout: Layout) -> list[str]:
    """What every answer gets, also those of HAProxy itself."""
    lines = [
        "http-after-response set-header x-request-id %[unique-id]",
        "http-after-response set-status 504 if { var(txn.late) -m found }",
        "http-after-response set-header retry-after 5 if { status 503 } !{ res.fhdr(retry-after) -m found }",
    ]
    lines += haproxy_limits.give_back(layout)
    shown = "{ var(txn.decision) -m found }"
    later = "{ var(txn.attempt) -m int gt 1 }"
    attempt = "attempt=%[var(txn.attempt,0)]"
    lines += [
        f"http-after-response set-header x-agentroute-decision '%[var(txn.decision)]; {attempt}' if {shown}",
        f"http-after-response set-header x-agentroute-decision '%[lua.decision]; {attempt}' if {shown} {later}",
    ]
    if not layout.explain:  # but for the decider, which tells by it who has answered
        lines.append("http-after-response del-header x-agentroute-decision if !{ var(txn.inner) -m int 1 }")
    return lines
