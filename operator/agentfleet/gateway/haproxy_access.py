"""haproxy.cfg, who: API keys, tokens of an identity provider, and identities that this namespace signs. Pure.

Leaves txn.caller, txn.groups ("a,b") and txn.mode, or answers 401. Nothing that a client writes passes as a header of
the gateway's own.
"""

from agentfleet.gateway.haproxy_text import answer, hexadecimal, one_of
from agentfleet.gateway.layout import GROUPS_MAP, KEYS_MAP, RUN_FOLDER, Jwt, Layout
from agentfleet.gateway.types import Policy

IDENTITY_MAP = f"{RUN_FOLDER}/identity.map"
"""`key` → the namespace's key in base64, as the init step writes it."""
IDENTITY = "x-agentfleet-identity"
"""Claims in base64url, a dot, and their HMAC-SHA256 in hexadecimal."""
HOPS = "x-agentfleet-hops"
"""The routes that a request has passed, with commas between: each by a hash, as clusters may have routes of one name,
and as clouds need not know them."""
MOST_HOPS = 8
LEEWAY_S = 60
"""By so much may the clock of an identity provider differ."""
DECIDER_MAP = f"{RUN_FOLDER}/decider.map"
"""A random text of this pod alone, as the init step writes it: by it the decider's calls are known. By their address
they are not, since a sidecar's or a port-forward's come from there, too."""
DECIDER = "x-af-decider"
JWT_SLOTS = tuple(f"{RUN_FOLDER}/jwt-{number}.pem" for number in range(4))
"""Public keys, as the init step puts them there: HAProxy wants to know their names as it starts."""

_MODES = ("Standard", "Private", "Offline")
_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")


def loop_guard(policy: Policy) -> list[str]:
    """Refuse what goes in circles. Through one route after another a request may go."""
    named = f"str({policy.namespace}/{policy.name})"
    unknown = "!{ var(proc.own) -m found }"
    back = "The request has come back to this route: one of its targets leads to it."
    passed = f"{{ req.fhdr({HOPS}) -m found }}"
    return [
        f"http-request set-var(txn.identity_key) str(key),map_str({IDENTITY_MAP}) if {unknown}",
        f"http-request set-var(proc.own) {named},hmac(sha256,txn.identity_key),hex,lower,bytes(0,16) if {unknown}",
        f"http-request set-var(proc.own) {named} if {unknown}",
        answer(508, back, "loop_detected", f"{passed} {{ req.hdr({HOPS}),strcmp(proc.own) eq 0 }}"),
        answer(
            508, "Too many routes, one after the other.", "loop_detected", f"{{ req.hdr_cnt({HOPS}) ge {MOST_HOPS} }}"
        ),
        "http-request set-var(txn.hops) var(proc.own)",
        f'http-request set-var-fmt(txn.hops) "%[req.fhdr({HOPS})],%[var(proc.own)]" if {passed}',
    ]


def who(layout: Layout) -> list[str]:
    """Who asks."""
    lines = [
        "http-request set-var(txn.now) date",
        f"acl signed req.fhdr({IDENTITY}) -m found",
        *_signed(),
    ]
    if layout.api_keys:
        lines += [
            f"http-request set-var(txn.caller) http_auth_bearer,sha2(256),hex,lower,map_str({KEYS_MAP}) if !signed",
            f"http-request set-var(txn.groups) var(txn.caller),map_str({GROUPS_MAP}) if !signed",
        ]
    if layout.jwt:
        lines += _jwt(layout.jwt)
    if layout.api_keys or layout.jwt:
        unknown = "!{ var(txn.caller) -m found }"
        lines += _refuse("Incorrect API key provided.", "invalid_api_key", unknown)
    else:
        lines.append('http-request set-var(txn.caller) str("") if !signed')
    return [
        *lines,
        f"http-request set-var(txn.identity) req.fhdr({IDENTITY}) if signed",
        f"http-request set-var(txn.inner) int(1) if {{ req.fhdr({DECIDER}),map_str({DECIDER_MAP}) -m found }}",
    ]


def clean() -> list[str]:
    """Headers of the gateway's own are its own alone.

    Not before the body was read: HAProxy copies a whole buffer to read it once headers have changed.
    """
    return [
        "http-request del-header x-agentfleet- -m beg",
        "http-request del-header x-af- -m beg",
        f"http-request set-header {HOPS} %[var(txn.hops)]",
        # Lines of a target's own log can be found by the audit line, and the other way round.
        "http-request set-header x-request-id %[unique-id]",
    ]


def _refuse(message: str, code: str, condition: str) -> list[str]:
    """401, and why in the audit line."""
    return [
        f"http-request set-var(txn.reason) str({code}) if {condition}",
        answer(401, message, code, condition),
    ]


def _signed() -> list[str]:
    """An agent that calls shows who asked it, and how private that is, signed with the key of the namespace."""
    bad = "signed !{ var(txn.given),secure_memcmp(txn.mac) } !{ var(txn.given),secure_memcmp(txn.former_mac) }"
    former = "signed { var(txn.former_key) -m found }"
    claims = "var(txn.claims),json_query"
    return [
        f"http-request set-var(txn.claims) req.fhdr({IDENTITY}),field(1,.) if signed",
        f"http-request set-var(txn.given) req.fhdr({IDENTITY}),field(2,.) if signed",
        f"http-request set-var(txn.identity_key) str(key),map_str({IDENTITY_MAP}) if signed",
        "http-request set-var(txn.mac) var(txn.claims),hmac(sha256,txn.identity_key),hex,lower if signed",
        # While the key is replaced, agents may still sign with the former one, or with the next.
        f"http-request set-var(txn.former_key) str(previous),map_str({IDENTITY_MAP}) if signed",
        f"http-request set-var(txn.former_mac) var(txn.claims),hmac(sha256,txn.former_key),hex,lower if {former}",
        answer(401, "The signature of x-agentfleet-identity is wrong.", "invalid_identity", bad),
        "http-request set-var(txn.claims) var(txn.claims),ub64dec if signed",
        f"http-request set-var(txn.left) {claims}('$.exp','int'),sub(txn.now) if signed",
        f"http-request set-var(txn.caller) {claims}('$.sub') if signed",
        f"http-request set-var(txn.mode) {claims}('$.mode') if signed",
        f"http-request set-var(txn.groups) {claims}('$.groups'),lua.words if signed",
        answer(401, "x-agentfleet-identity has run out.", "invalid_identity", "signed !{ var(txn.left) -m int gt 0 }"),
        answer(401, "x-agentfleet-identity has no sub.", "invalid_identity", "signed !{ var(txn.caller) -m found }"),
        answer(
            401,
            f"The mode in x-agentfleet-identity is none of {' '.join(_MODES)}.",
            "invalid_identity",
            f"signed !{one_of('txn.mode', _MODES)}",
        ),
    ]


def _jwt(jwt: Jwt) -> list[str]:
    """A token counts when its algorithm is the one that is expected, its signature fits, and it has not run out."""
    if jwt.algorithm not in _ALGORITHMS:
        raise ValueError(f"jwt algorithm {jwt.algorithm!r}: expected one of {', '.join(_ALGORITHMS)}")
    bearer = "var(txn.bearer)"
    lines = [
        "http-request set-var(txn.bearer) http_auth_bearer if !signed !{ var(txn.caller) -m found }"
        " { http_auth_bearer,field(3,.) -m len gt 0 }",
        f"http-request set-var(txn.alg) {bearer},jwt_header_query('$.alg')",
        "acl token var(txn.alg) -m found",
        f"acl pinned var(txn.alg) -m str {jwt.algorithm}",
    ]
    for slot in JWT_SLOTS:
        lines.append(
            f'http-request set-var(txn.genuine) {bearer},jwt_verify("{jwt.algorithm}","{slot}")'
            " if token pinned !{ var(txn.genuine) -m int 1 }"
        )
    lines += [
        f"http-request set-var(txn.left) {bearer},jwt_payload_query('$.exp','int'),sub(txn.now),add({LEEWAY_S})"
        " if token",
        f"http-request set-var(txn.early) {bearer},jwt_payload_query('$.nbf','int'),sub(txn.now) if token",
        f"http-request set-var(txn.issuer) {bearer},jwt_payload_query('$.iss'),hex,lower if token",
        f"http-request set-var(txn.audience) {bearer},jwt_payload_query('$.aud'),hex,lower if token",
        "acl genuine var(txn.genuine) -m int 1",
        "acl lasting var(txn.left) -m int gt 0",  # a token without exp has no txn.left
        f"acl early var(txn.early) -m int gt {LEEWAY_S}",
        f"acl issued var(txn.issuer) -m str {hexadecimal(jwt.issuer)}",
    ]
    refusals = [
        (f"The alg of the token is not {jwt.algorithm}.", "token_algorithm", "!pinned"),
        ("No key fits the signature of the token.", "token_signature", "!genuine"),
        ("The token has run out, or has no exp.", "token_expired", "!lasting"),
        ("The token does not hold yet: its nbf is to come.", "token_early", "early"),
        ("The iss of the token is not that of this route.", "token_issuer", "!issued"),
    ]
    if jwt.audiences:
        # A string, or a list: '["a","b"]'. Its text is compared with its quotes around it.
        lines.append(f"acl meant var(txn.audience) -m str {' '.join(map(hexadecimal, jwt.audiences))}")
        quoted = " ".join(hexadecimal(f'"{each}"') for each in jwt.audiences)
        lines.append(f"acl meant var(txn.audience) -m sub {quoted}")
        refusals.append(("The aud of the token is none of this route.", "token_audience", "!meant"))
    for message, code, failed in refusals:
        lines += _refuse(message, code, f"token {failed}")
    subject = "{ var(txn.subject) -m len gt 0 }"
    return [
        *lines,
        f"http-request set-var(txn.subject) {bearer},jwt_payload_query('$.{jwt.subject_claim}') if token",
        *_refuse(f"The token has no {jwt.subject_claim}.", "token_subject", f"token !{subject}"),
        # Nobody can call himself like a client with a key: ids of these have no colon.
        "http-request set-var(txn.caller) str(jwt:),concat(,txn.subject) if token",
        f"http-request set-var(txn.groups) {bearer},jwt_payload_query('$.{jwt.groups_claim}'),lua.words if token",
    ]


def sign(agents: bool) -> list[str]:
    """The identity of the caller, for agents."""
    if not agents:
        return []
    claims = (
        '{"sub":"%[var(txn.caller),json(utf8s)]","groups":[%[var(txn.group_list)]],'
        '"mode":"%[var(txn.mode)]","exp":%[var(txn.until)]}'
    )
    return [
        "http-request set-var(txn.mode) str(Standard) unless { var(txn.mode) -m len gt 0 }",
        "http-request set-var(txn.until) var(txn.request_ms),div(1000),add(60),add(txn.now)",
        "http-request set-var-fmt(txn.group_list) '\"%[var(txn.groups)]\"' if { var(txn.groups) -m len gt 0 }",
        "http-request set-var(txn.group_list) \"var(txn.group_list),regsub(',','\\\\x22,\\\\x22',g)\"",
        f"http-request set-var-fmt(txn.claims) '{claims}'",
        "http-request set-var(txn.claims) var(txn.claims),ub64enc",
        f"http-request set-var(txn.identity_key) str(key),map_str({IDENTITY_MAP})",
        "http-request set-var(txn.mac) var(txn.claims),hmac(sha256,txn.identity_key),hex,lower",
        f"http-request set-header {IDENTITY} %[var(txn.claims)].%[var(txn.mac)]",
    ]
