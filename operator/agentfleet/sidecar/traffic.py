"""Tells requests from idle keep-alive connections, for an engine that counts nothing (Ollama). Pure.

    client ─▶ engine's port ─ Ollama ─ 127.0.0.1 ─▶ a runner, one per loaded model

Both hops are HTTP/1.1, where the two sides take turns. So a connection on which the peer spoke last waits for an
answer; one on which we spoke last has its answer or is in the middle of a stream. A stream whose next piece takes
longer than QUIET is not lost: Ollama may hold pieces back (tool calls), but its runner still speaks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agentfleet.sidecar.procnet import ESTABLISHED, LISTEN, is_loopback
from agentfleet.sidecar.sockdiag import Connection

QUIET = 10.0
"""Seconds of silence after our last byte that count as the end of an answer: 70B on a CPU takes 3 s for a token."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The engine's work at one moment."""

    in_flight: int
    runners: Mapping[int, bool] = field(default_factory=dict)
    """Port of each runner, and whether it works."""


def judge(sockets: Iterable[Connection], port: int) -> Traffic:
    """What the sockets say about the engine on `port`. Loopback peers there are the sidecar and kubelet's probes."""
    sockets = list(sockets)
    clients = [s for s in sockets if s.port == port and s.state == ESTABLISHED and not is_loopback(s.peer)]
    runners = dict.fromkeys(_runner_ports(sockets, port), 0)
    for s in sockets:
        if s.port in runners and s.state == ESTABLISHED and is_loopback(s.address):
            runners[s.port] += carries_request(s, tie=True)
    certain = sum(carries_request(s, tie=False) for s in clients)
    # A request that sits in a silent connection shows at its runner. Work there without any client is nobody's.
    return Traffic(max(certain, min(len(clients), sum(runners.values()))), {p: n > 0 for p, n in runners.items()})


def _runner_ports(sockets: Sequence[Connection], port: int) -> set[int]:
    """Runners are children of the engine, so they run as its user; a service mesh in the pod does not."""
    users = {s.user for s in sockets if s.state == LISTEN and s.port == port}
    return {
        s.port for s in sockets if s.state == LISTEN and s.port != port and s.user in users and is_loopback(s.address)
    }


def carries_request(connection: Connection, *, tie: bool) -> bool:
    """True while an answer is owed, or may be: what the kernel does not tell counts as work.

    `tie` is the verdict where question and answer came within one tick of the kernel's clock: that looks alike in
    either order. Ollama asks a runner for its health right before it sends the prompt, so there the question came last.
    A client's question that is not answered shows at a runner, so for clients the answer did.
    """
    if connection.queued or connection.received is None:
        return True
    if min(connection.sent_ago, connection.received_ago) < QUIET:
        return True
    if connection.received == 0:
        return False
    if not connection.answered or connection.received_ago < connection.sent_ago:
        return True
    return tie and connection.received_ago == connection.sent_ago
