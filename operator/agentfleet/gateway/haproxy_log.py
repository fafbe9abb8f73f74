"""haproxy.cfg, the audit line: JSON, one for each request, to standard output and to the decider. Pure.

It says who asked for what, what was decided and why, and how it went. What was said stays out of it, but where the
route asks for that, and then only for requests that are Public.
"""

from agentfleet.gateway.layout import CONFIG_FOLDER, Layout

_NAMES = {
    "mode": "mode",
    "groups": "groups",
    "endpoint": "endpoint",
    "intent": "d_intent",
    "complexity": "d_cplx",
    "sensitivity": "d_sens",
    "rule": "rule",
    "reason": "reason",
    "plan": "plan",
}
"""Field → variable whose text cannot hold a quote."""
_TEXTS = {"caller": "caller", "model": "model", "tier": "tier"}
"""The same for what callers write. It comes last, and bounded: nobody can push the rest out of the line."""
TIER_BYTES = 64
_TEXT_BYTES = 253
_NUMBERS = {
    "attempts": "attempt",
    "tokens": "tokens",
    "tokens_in": "told_in",
    "tokens_out": "told_out",
    "stream": "stream",
    "cut": "cut",  # the stream went on past its deadline
    "tools": "tools",
    "vision": "vision",
    "small": "small",
    "local": "local",
    "conversation": "conversation",
    "prefix": "prefix_hash",
}
_OWN = {
    "queue_ms": "%Tw",
    "first_byte_ms": "%Tr",
    "total_ms": "%Ta",
    "status": "%ST",
    "bytes_in": "%U",
    "bytes_out": "%B",
}


def log_format(layout: Layout) -> str:
    """The line of `frontend route` that says what is logged."""
    fields = [
        '"ts":%[accept_date(ms)]',
        '"id":"%[unique-id]"',
        *(_text(field, f"var(txn.{variable})") for field, variable in _NAMES.items()),
        _text("target", f"var(txn.target),map_str({CONFIG_FOLDER}/targets.map)"),
        '"readable":%[var(txn.readable,1)]',
        *(f'"{field}":%[var(txn.{variable},0)]' for field, variable in _NUMBERS.items()),
        *(f'"{field}":{value}' for field, value in _OWN.items()),
        '"end":"%ts"',
        '"server":"%b/%s"',
        *(_text(field, f"var(txn.{name}),bytes(0,{_TEXT_BYTES}),json(utf8s)") for field, name in _TEXTS.items()),
    ]
    if layout.audit_content:
        fields.append(_text("content", "var(txn.content)"))
    return f"log-format '{{{','.join(fields)}}}'"


def error_log_format() -> str:
    """The line of what is no HTTP, or no TLS: there are no variables then, and HAProxy would write `-` for a number."""
    fields = [
        '"ts":%[accept_date(ms)]',
        '"id":""',
        '"reason":"no_request"',
        '"status":%ST',
        '"end":"%ts"',
        '"server":"%b/%s"',
    ]
    return f"error-log-format '{{{','.join(fields)}}}'"


def _text(field: str, expression: str) -> str:
    """A text in quotes of HAProxy's own: without them it writes what is empty as `-`."""
    return f'"{field}":%{{+Q}}[{expression}]'
