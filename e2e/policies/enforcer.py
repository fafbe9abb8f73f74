"""Makes NetworkPolicies count in the embedded cluster, whose network plug-in enforces none, for some of its pods.

cyclonus says which connections between these pods and all that there is (pods, addresses outside) the policies allow.
nftables on each node then lets through these and no others: what nobody has asked cyclonus about is refused, with an
answer, as nobody needs to wait for it (to TCP with a reset: the kernel sends few of the other kind a second). Services
have been translated before, by kube-proxy. Hosts may reach their pods, as with every plug-in, for probes; so may tests,
which stand where the API server does.

It knows the pods that there are when it begins, so those that are guarded must not be replaced meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from e2e.cluster import EmbeddedCluster, layout
from e2e.cluster.node import Node
from e2e.cluster.shell import run
from e2e.policies.evaluator import Connection, Manifest, Peer, allowed

_TABLE = "inet e2e_policies"
_NO_TABLE = f"table {_TABLE} {{ }}\ndelete table {_TABLE}\n"
_LONGEST = "10m"
"""Rules that a run which was killed has left mean nothing after this time: addresses are given to other pods."""


@dataclass(frozen=True)
class Place:
    """One end of connections, and the ports where it listens: (number, protocol, name)."""

    peer: Peer
    ports: tuple[tuple[int, str, str], ...]


def place(peer: Peer, pod: Manifest) -> Place:
    """A pod, with the ports that its containers name."""
    spec = pod["spec"]
    containers = (*spec["containers"], *spec.get("initContainers", ()))
    ports: Iterable[dict[str, Any]] = (port for container in containers for port in container.get("ports", ()))
    return Place(peer, tuple((port["containerPort"], port["protocol"], port.get("name", "")) for port in ports))


def outside(address: str, *ports: int) -> Place:
    """An address outside the cluster."""
    return Place(Peer(address), tuple((port, protocol, "") for port in ports for protocol in ("TCP", "UDP")))


@contextmanager
def enforced(
    cluster: EmbeddedCluster, policies: Sequence[Manifest], guarded: Sequence[Place], others: Sequence[Place]
) -> Iterator[None]:
    """For the time of the block, `policies` count for connections from and to the guarded pods."""
    asked = list(_connections(guarded, others))
    verdicts = allowed(policies, asked)
    passing = [connection for connection, passes in zip(asked, verdicts, strict=True) if passes]
    rules = _rules([each.peer.address for each in guarded], passing)
    try:
        for node in cluster.nodes:
            _load(node, _NO_TABLE + rules)
        yield
    finally:
        for node in cluster.nodes:
            _load(node, _NO_TABLE)


def _connections(guarded: Sequence[Place], others: Sequence[Place]) -> Iterator[Connection]:
    everybody = (*guarded, *others)
    for source in everybody:
        for destination in everybody if source in guarded else guarded:
            for port, protocol, name in destination.ports:
                yield Connection(source.peer, destination.peer, port, protocol, name)


def _rules(guarded: Iterable[str], passing: Iterable[Connection]) -> str:
    elements = {
        f"{each.source.address} . {each.destination.address} . {each.protocol.lower()} . {each.port}"
        for each in passing
    }
    opened = f"elements = {{ {', '.join(sorted(elements))} }}" if elements else ""
    return f"""
table {_TABLE} {{
  set guarded {{
    type ipv4_addr; flags timeout; timeout {_LONGEST}; elements = {{ {", ".join(sorted(guarded))} }}
  }}
  set open {{
    type ipv4_addr . ipv4_addr . inet_proto . inet_service; {opened}
  }}
  chain judge {{
    ct state established,related accept
    ip saddr . ip daddr . meta l4proto . th dport @open accept
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority filter
    ip saddr {layout.NETWORK} accept
    ip saddr @guarded jump judge
    ip daddr @guarded jump judge
  }}
  chain input {{
    type filter hook input priority filter
    ip saddr @guarded jump judge
  }}
}}
"""


def _load(node: Node, rules: str) -> None:
    run(node.enter_network(["nft", "-f", "-"]), stdin=rules)
