"""haproxy.cfg, where to: the pods of each target, the gate before those that sleep, the way to the owner. Pure.

pool_<id>   pods by DNS, or an endpoint outside: checks, places, queue, which moves to hold_<id> when the last pod goes
ready_<id>  the pods of the pool alone: the one place that tells how many are ready
hold_<id>   the Service, by name: it refuses until there is a pod, and HAProxy tries three times a second
own_<id>    the gateway that counts a target's requests for all
"""

import ipaddress
from collections.abc import Iterator

from agentfleet.gateway.haproxy_access import IDENTITY, IDENTITY_MAP
from agentfleet.gateway.haproxy_text import OVER, TICKET, TOO_LATE, answer, revision, section, when
from agentfleet.gateway.layout import CREDENTIALS_MAP, DECIDER_PORT, METRICS_PORT, OWNER_PORT, Backend, Layout, Peer
from agentfleet.gateway.types import Policy, Target

RAMP = 4
"""Requests at once that a target gets which has just woken up and says nothing of its capacity."""
CONNECT_MS = 300
IDLE = "pool-purge-delay 2s"
"""Less than the five seconds after which many engines close idle connections."""


def backends(policy: Policy, layout: Layout) -> list[str]:
    """All of them."""
    lines: list[str] = []
    for target, backend in zip(policy.targets, layout.backends, strict=True):
        lines += _pool(policy, target, backend)
        if backend.service:
            lines += _ready(backend)
            lines += _hold(policy, target, backend)
        lines += _own(policy, layout, backend)
    return [*lines, *_decider()]


def _pool(policy: Policy, target: Target, backend: Backend) -> list[str]:
    is_external = backend.service is None
    lines = [
        *_balance(backend),
        f"timeout queue {policy.queue_ms}ms",
        *(["timeout connect 2s", "timeout check 3s"] if is_external else []),
        *([f"option httpchk GET {backend.health}"] if backend.health else []),
        # A node that is lost answers nothing: five seconds instead of the kernel's hours.
        "option srvtcpka",
        "srvtcpka-idle 2s",
        "srvtcpka-intvl 1s",
        "srvtcpka-cnt 3",
        # An answer that was lost, two connects that fail, then the pod is known to be gone: the next one or the gate.
        f"retries {4 if backend.service else 2}",
        "option redispatch 1",
        "retry-on conn-failure empty-response",
        # An idle connection that its server closes just now would lose a request that must not be repeated.
        *(["option http-server-close"] if target.side_effects else []),
        *_sent(target, backend, is_external),
        *(_timed(target) if backend.latency else []),
        *_answered(backend, is_external),
        *_servers(target, backend, is_external),
    ]
    return section(f"backend pool_{target.id}", lines)


def _timed(target: Target) -> list[str]:
    """How long the first byte takes, in microseconds: each answer counts for an eighth; of old ones nothing counts."""
    mean, at = f"proc.latency_{target.id}", f"proc.latency_at_{target.id}"
    recent = "{ var(txn.age) -m int lt 60 }"
    return [
        "http-response set-var(txn.took) res.timer.hdr,mul(1000)",
        f"http-response set-var(txn.age) date,sub({at})",
        f"http-response set-var({mean}) var({mean}),mul(7),add(txn.took),div(8) if {recent}",
        f"http-response set-var({mean}) var(txn.took) if !{recent}",
        f"http-response set-var({at}) date",
    ]


def _balance(backend: Backend) -> Iterator[str]:
    if backend.hashed:
        yield "balance hash var(txn.key)"
        yield "hash-type consistent"
        yield "hash-balance-factor 200"
    else:
        yield "balance leastconn"
    if backend.near:
        yield "option allbackups"


def _sent(target: Target, backend: Backend, is_external: bool) -> list[str]:
    """What is changed in requests on their last way."""
    if backend.has_credentials:
        key = f"%[str({target.id}),map_str({CREDENTIALS_MAP})]"
        authorization = f'http-request set-header authorization "Bearer {key}"'
    else:
        authorization = "http-request del-header authorization"
    lines = [
        "filter lua.exchange",
        "http-request set-timeout server var(txn.left) if { var(txn.left) -m int gt 0 }",
        "http-request disable-l7-retry if { var(txn.once) -m int 1 } || { var(txn.followed) -m int 1 }",
        authorization,
        "http-request del-header x-af- -m beg",
        "http-request del-header x-gateway-model-name",
        # Nobody could read in a compressed answer what it has cost.
        "http-request set-header accept-encoding identity",
    ]
    if not backend.is_agent:
        lines.append(f"http-request del-header {IDENTITY}")
    if backend.path:
        lines.append(f"http-request replace-path /v1(/.*)? {backend.path}\\1")
    if target.location == "Cloud":
        # How the route works, and whose session it is, is nobody's business outside.
        lines += ["http-request del-header x-agentroute- -m beg", "http-request del-header x-session-id"]
    if is_external:
        lines.append(f"http-request set-header host {_authority(backend)}")
    return lines


def _authority(backend: Backend) -> str:
    usual = 443 if backend.tls else 80
    return backend.host if backend.port == usual else f"{backend.host}:{backend.port}"


def _answered(backend: Backend, is_external: bool) -> list[str]:
    """What is made of answers before anybody looks at them."""
    lines = [
        # Time in the queue counts, and HAProxy's own limit begins after it.
        answer(504, TOO_LATE, "timeout", OVER, on="response"),
        "http-response set-var(txn.answered) int(1)",
        f"http-response set-timeout server {backend.idle_ms}ms",
        "http-response set-status 503 if { status 529 }",
        "http-response set-status 502 if { status 425 }",  # between gateways 425 says that a target is full
    ]
    if is_external:
        refused = "The gateway is not let in at the target."
        lines += [
            "http-response del-header x-af- -m beg",
            answer(502, refused, "target_refused", "{ status 401 403 }", on="response"),
        ]
    return lines


def _servers(target: Target, backend: Backend, is_external: bool) -> list[str]:
    place = f" maxconn {target.capacity}" if target.capacity else ""
    if is_external:
        at = f"{backend.host}:{backend.port}"
        return [f"server endpoint {at} check inter 5s fall 2 rise 1 {IDLE}{place}{_address(backend)}"]
    lines = [
        "default-server check inter 1s fastinter 250ms fall 2 rise 1 observe layer4 error-limit 2 on-error mark-down"
        f" tcp-ut 4s {IDLE} hash-key addr init-addr none resolvers cluster resolve-prefer ipv4{place}{_tls(backend)}"
    ]
    backup = ""
    if backend.near:
        lines.append(f'server-template near {backend.slots} "{backend.near}:{backend.port}"')
        backup = " backup weight 100"  # all of them are used at once, the gate too
    lines.append(f"server-template pod {backend.slots} {backend.host}:{backend.port}{backup}")
    return (
        [*lines, f"server gate abns@gate_{backend.id} backup no-check no-ssl maxconn 0 hash-key id"]
        if backend.service
        else lines
    )


def _ready(backend: Backend) -> list[str]:
    """Servers that follow the pods of the pool: there the gate is one of them."""
    names = [("near", ""), ("pod", " backup")] if backend.near else [("pod", "")]
    lines = ["option allbackups"] if backend.near else []
    for name, backup in names:
        for number in range(1, backend.slots + 1):
            lines.append(f"server {name}{number} 127.0.0.1:1 track pool_{backend.id}/{name}{number}{backup}")
    return section(f"backend ready_{backend.id}", lines)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _address(backend: Backend) -> str:
    if _is_address(backend.host):
        return _tls(backend)
    return f" init-addr none resolvers cluster resolve-prefer ipv4{_tls(backend)}"


def _tls(backend: Backend) -> str:
    if not backend.tls:
        return ""
    authority = backend.ca_file or "@system-ca"
    # Of an address HAProxy checks the certificate's authority, not whom it is for. Pods show that of their Service.
    host = backend.service or backend.host
    name = "" if _is_address(host) else f" verifyhost {host} sni str({host})"
    return f" ssl verify required{name} ca-file {authority}"


def _hold(policy: Policy, target: Target, backend: Backend) -> list[str]:
    """Those that wait leave a few at a time, or the first pod would get all of them at once."""
    lines = [
        f"timeout connect {CONNECT_MS}ms",
        f"timeout queue {policy.queue_ms}ms",
        f"retries {max(1, policy.queue_ms // CONNECT_MS)}",  # HAProxy waits that long between two
        "retry-on conn-failure",
        *_sent(target, backend, is_external=False),
        *_answered(backend, is_external=False),
        f"server gate {backend.service}:{backend.service_port} maxconn {target.capacity or RAMP}"
        f" init-addr none resolvers cluster resolve-prefer ipv4{_tls(backend)}",
    ]
    late = [f"bind abns@gate_{target.id}", f"default_backend hold_{target.id}"]
    return [*section(f"frontend gate_{target.id}", late), *section(f"backend hold_{target.id}", lines)]


def _own(policy: Policy, layout: Layout, backend: Backend) -> list[str]:
    """In all gateways the same order, so that all choose the same successor when the owner is lost."""
    if backend.owner is None or len(layout.peers) < 2:
        return []
    own, peers = revision(policy, layout), layout.peers
    order = [*peers[backend.owner :], *peers[: backend.owner]]
    lines = [
        "balance first",
        "filter lua.usage",
        f"timeout queue {policy.queue_ms}ms",
        # Of an owner that died just now many idle connections would be left, each good for one try.
        "option http-server-close",
        "retries 3",
        "option redispatch 1",
        "retry-on conn-failure empty-response",
        "http-request disable-l7-retry if { var(txn.once) -m int 1 }",
        "http-response set-var(txn.answered) int(1)",
        # By t0, t1 … a gateway of another revision means other targets, and one with another key would refuse: none is
        # ever up.
        "option httpchk",
        f"http-check set-var(check.key) str(key),map_str({IDENTITY_MAP})",
        f'http-check send meth GET uri /healthz/{own} hdr {TICKET} "%[str({own}),hmac(sha256,check.key),hex,lower]"',
        "default-server inter 500ms init-state down",
    ]
    for peer in order:
        lines += _peer(peer)
    # The owner itself needs no way to itself, and must not count what it sends there twice.
    return when(f'!streq("$HOSTNAME",{order[0].name})', section(f"backend own_{backend.id}", lines))


def _peer(peer: Peer) -> list[str]:
    """Itself each gateway asks without any network: not all let a pod reach itself by its Service. It is the last to be
    up, so that it knows the others by then, and then it is up for good."""
    return [
        f'.if streq("$HOSTNAME",{peer.name})',
        f"server {peer.name} abns@owner check addr 127.0.0.1 port {METRICS_PORT} rise 3 fall 1000000",
        ".else",
        f"server {peer.name} {peer.address}:{OWNER_PORT} check port {METRICS_PORT} rise 2 fall 2 tcp-ut 4s"
        # What it refuses goes to its successor at once, not when the next checks have failed.
        " observe layer4 error-limit 1 on-error mark-down",
        ".endif",
    ]


def _decider() -> list[str]:
    """It calls back as the same caller: by the authorization, and as privately as an agent that asks."""
    lines = [
        "timeout connect 1s",
        "retries 2",
        "retry-on conn-failure",
        f"http-request set-header {IDENTITY} %[var(txn.identity)] if {{ var(txn.identity) -m found }}",
        f"server decider 127.0.0.1:{DECIDER_PORT}",
    ]
    return section("backend decider", lines)
