"""haproxy.cfg, the process: limits of memory and time, Lua, logs, resolvers, peers, and the page of metrics. Pure."""

from agentfleet.gateway import haproxy_limits
from agentfleet.gateway.haproxy_access import IDENTITY_MAP
from agentfleet.gateway.haproxy_errors import error_lines
from agentfleet.gateway.haproxy_text import TICKET, revision, section, short_hash, when
from agentfleet.gateway.layout import (
    ADMIN_SOCKET,
    CONFIG_FOLDER,
    METRICS_PORT,
    PEERS_PORT,
    RUN_FOLDER,
    Backend,
    Layout,
)
from agentfleet.gateway.types import Policy

AUDIT_SOCKET = f"{RUN_FOLDER}/audit.sock"
"""Where the decider takes audit lines."""
HEADERS_SPACE = 16 * 2**10
"""Room in a buffer beside the body: for its headers, and for what HAProxy adds to them."""
SMALL_BUFFER = 64 * 2**10
"""Of copies for a second attempt: most requests fit, and only what they hold is copied."""
MOST_AT_ONCE = 1800
"""Connections of clients: with a buffer for each step of a chain, so many requests fill a gigabyte. The others wait to
be accepted, and probes of kubelet still find a place."""

_ALONE = "alone"
_KNOWS_SMALL_BUFFERS = "version_atleast(3.4)"


def longest_ms(policy: Policy) -> int:
    """The longest that a request may take once it is sent."""
    return max([600_000, *(rule.request_ms for rule in policy.rules)])


def process(policy: Policy, layout: Layout) -> list[str]:
    """The sections global, defaults, resolvers, ring and peers."""
    return [
        *_global(policy, layout),
        *_defaults(policy),
        *_resolvers(),
        *_ring(),
        *_peers(policy, layout),
    ]


def _global(policy: Policy, layout: Layout) -> list[str]:
    # A stopping gateway waits for what it holds, and then for the answers.
    stop_s = layout.grace_s + -(-(policy.queue_ms + longest_ms(policy)) // 1000)
    whole = layout.buffer + HEADERS_SPACE
    lines = [
        f"stats socket {ADMIN_SOCKET} mode 600 level admin",
        f"nbthread {layout.threads}",
        # Else HAProxy makes tables for as many connections as the node allows: a million. Each of MOST_AT_ONCE may have
        # a connection in each step of its chain, and others as many at the owner's port.
        "fd-hard-limit 32768",
        f"hard-stop-after {stop_s}s",
        f"grace {layout.grace_s}s",
        # Not tune.bufsize.large: HAProxy 3.4.7 ends in a heap overflow when a filter changes a body that is in one.
        f"tune.bufsize {whole}",
        *when(_KNOWS_SMALL_BUFFERS, [f"tune.bufsize.small {SMALL_BUFFER}"]),
        # By default a thread keeps 512 KiB for its next buffers: two of these.
        f"tune.memory.hot-size {16 * whole}",
        "tune.http.maxhdr 256",
        # After fifty rules HAProxy turns to others for a moment, who would be let in by what was true before it.
        "tune.max-rules-at-once 100000",
        f"tune.stick-counters {max(3, haproxy_limits.counters(layout))}",
        "tune.lua.bool-sample-conversion normal",
        "httpclient.retries 0",
        "httpclient.timeout.connect 300ms",
        "ssl-default-bind-options ssl-min-ver TLSv1.2",
        f"lua-prepend-path {CONFIG_FOLDER}/?.lua",
        f"lua-load-per-thread {CONFIG_FOLDER}/agentroute.lua {CONFIG_FOLDER}/route.json {whole}",
        f"lua-load-per-thread {CONFIG_FOLDER}/agentroute_usage.lua",
    ]
    lines.append('localpeer "${HOSTNAME}"' if len(layout.peers) > 1 else f"localpeer {_ALONE}")
    return section("global", lines)


def _defaults(policy: Policy) -> list[str]:
    lines = [
        "mode http",
        "option http-no-delay",  # without it tokens are held back and leave in bursts of 200 ms
        "option abortonclose",  # a client that has left frees its place
        "option idle-close-on-response",
        "option dontlognull",
        "timeout connect 300ms",
        "timeout http-request 10s",
        "timeout http-keep-alive 60s",
        "timeout client 300s",
        f"timeout server {longest_ms(policy) + policy.queue_ms}ms",
        f"timeout queue {policy.queue_ms}ms",
        "timeout check 500ms",
        # Else all of a buffer is copied for a second attempt, most of it empty.
        *when(_KNOWS_SMALL_BUFFERS, ["option use-small-buffers l7-retries"]),
    ]
    return section("defaults", [*lines, *error_lines()])


def _resolvers() -> list[str]:
    return section(
        "resolvers cluster",
        [
            "parse-resolv-conf",
            "accepted_payload_size 8192",  # a truncated answer is dropped whole: 512 bytes hold 29 pods
            "timeout resolve 1s",
            "timeout retry 500ms",
            "hold valid 1s",
            "hold nx 1s",  # so a Service without pods answers; by default its last pod would be kept for 30 s
            # Addresses outlive a DNS that has gone.
            "hold timeout 1h",
            "hold refused 1h",
            "hold other 1h",
        ],
    )


def _ring() -> list[str]:
    """Audit lines on their way to the decider: they wait while it restarts."""
    return section(
        "ring audit",
        [
            "format raw",
            "maxlen 65500",
            f"size {16 * 2**20}",  # some 24,000 requests: what is older is forgotten
            "timeout connect 1s",
            "timeout server 10s",
            f"server decider unix@{AUDIT_SOCKET} log-proto octet-count",
        ],
    )


def _peers(policy: Policy, layout: Layout) -> list[str]:
    """What is counted, and intents that are known: tables that the gateways of a route tell each other of."""
    if len(layout.peers) < 2:
        # Without any peer HAProxy would drop the tables.
        lines = [f"bind 127.0.0.1:{PEERS_PORT}", f"server {_ALONE}"]
    else:
        lines = [f"bind :{PEERS_PORT}"]
        for peer in layout.peers:
            lines += [
                f'.if streq("$HOSTNAME",{peer.name})',
                f"server {peer.name}",
                ".else",
                f"server {peer.name} {peer.address}:{PEERS_PORT}",
                ".endif",
            ]
    tables = haproxy_limits.tables(layout)
    if layout.ask_intent:
        tables.append(f"table {intents_table(policy)} type string len 24 size 100k expire 1h store gpt(1)")
    return section("peers gateways", [*lines, *tables]) if tables else []


def intents_table(policy: Policy) -> str:
    """What it keeps are places in the list of intents."""
    return f"intents_{short_hash(policy.intents)}"


def metrics(policy: Policy, layout: Layout) -> list[str]:
    """The page of metrics, and what kubelet asks."""
    ok = 'http-request return status 200 content-type text/plain string "ok"'
    shared = len(layout.peers) > 1
    own = revision(policy, layout)
    same = f"path /healthz/{own}"
    alike = [
        f"http-request set-var(txn.identity_key) str(key),map_str({IDENTITY_MAP}) if {{ {same} }}",
        f"http-request set-var(txn.pass) str({own}),hmac(sha256,txn.identity_key),hex,lower if {{ {same} }}",
        f"{ok} if {{ {same} }} {{ req.fhdr({TICKET}),secure_memcmp(txn.pass) }}",
    ]
    known = [f"acl known nbsrv({name}) gt 0" for name in map(_first_known, layout.backends)]
    return section(
        "frontend metrics",
        [
            f"bind :{METRICS_PORT}",
            "no log",
            "http-request use-service prometheus-exporter if { path /metrics }",
            f"{ok} if {{ path /healthz }}",
            *(alike if shared else []),
            *known,
            *_led(layout),
            # Stopping, it must leave its Service; without an answer from DNS it could only refuse.
            f"{ok} if {{ path /readyz }} !{{ stopping }} known !leaderless",
            'http-request return status 503 content-type text/plain string "not ready" if { path /readyz }',
            'http-request return status 404 content-type text/plain string "try /metrics, /healthz or /readyz"',
        ],
    )


def _led(layout: Layout) -> list[str]:
    """`leaderless`: nobody of this revision, not even this gateway, is known yet to count the places of a target."""
    lines: list[str] = []
    for index, peer in enumerate(layout.peers if len(layout.peers) > 1 else ()):
        owned = [each.id for each in layout.backends if each.owner is not None and each.owner != index]
        unknown = [f"acl leaderless nbsrv(own_{target}) eq 0" for target in owned]
        lines += when(f'streq("$HOSTNAME",{peer.name})', unknown)
    return [*lines, "acl leaderless always_false"]


def _first_known(backend: Backend) -> str:
    """The backend that has a server as soon as DNS has told an address, be a pod ready or not."""
    return f"hold_{backend.id}" if backend.service else f"pool_{backend.id}"
