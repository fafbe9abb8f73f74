"""Requests as gateways count them, before any engine does: the demand that is not capped by what there is. Pure.

A gateway is any pod with the labels `app.kubernetes.io/managed-by: agentfleet` and `agentfleet.dev/demand-source:
"PORT"` that the operator can reach on that port (a NetworkPolicy of its own has to let it in). There, /metrics shows in
Prometheus' text format, for each ModelServer (label model_server) and each Agent (label agent) that it stands before,
from its start and also while nobody asks:

    agentfleet_demand_requests_total{namespace="team-a",model_server="chat"} 512    counter: requests that came
    agentfleet_demand_waiting{namespace="team-a",model_server="chat"} 3             gauge: held back for want of room
    agentfleet_demand_in_flight{namespace="team-a",model_server="chat"} 17          gauge: passed on; may be left out

What no gateway names has no gateway: its requests come another way, and that is not the same as none. What a gateway
says about objects of other namespaces than its own counts where their allowedNamespaces let its namespace in, and
nowhere else. A gateway that has never answered may stand before everything in its namespace; until it answers, nothing
there is scaled in.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from agentfleet.autoscale.samples import DemandSample
from agentfleet.monitor.exposition import label_of, scan
from agentfleet.objects import DEMAND_LABELS, DEMAND_SOURCE_LABEL, Key, Manifest
from agentfleet.resources.modelserver import AllowedNamespaces

_REQUESTS = "agentfleet_demand_requests_total"
_WAITING = "agentfleet_demand_waiting"
_IN_FLIGHT = "agentfleet_demand_in_flight"
_NAMES = (_REQUESTS, _WAITING, _IN_FLIGHT)

Guests = Mapping[Key, frozenset[str]]
"""ModelServer or Agent → namespaces other than its own whose gateways may speak for it."""

Labels = Callable[[str], Mapping[str, str]]
"""Namespace → its labels; empty where they are not known."""

_MOST_SERVERS = 1000
"""Objects that one gateway may name: whoever can start pods must not fill the operator's memory."""


def sources_of(pods: Iterable[Manifest]) -> dict[str, str]:
    """The gateways among pods that we manage: host:port → namespace. Those that are going away still work off requests,
    but no longer decide what is to come."""
    sources = {}
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status", {})
        port, address = metadata.get("labels", {}).get(DEMAND_SOURCE_LABEL, ""), status.get("podIP")
        going = "deletionTimestamp" in metadata or status.get("phase") != "Running"
        if address and not going and port.isdecimal() and 0 < int(port) < 1 << 16:
            host = f"[{address}]" if ":" in address else address
            sources[f"{host}:{int(port)}"] = metadata["namespace"]
    return sources


def guests(allowed: AllowedNamespaces | None, namespaces: Iterable[str], labels: Labels) -> frozenset[str]:
    """Those of `namespaces` whose gateways may speak for an object with spec.allowedNamespaces `allowed`."""
    if allowed is None or allowed.from_ == "Same":
        return frozenset()
    wanted = allowed.selector.match_labels.items() if allowed.selector else ()
    return frozenset(name for name in namespaces if all(labels(name).get(label) == value for label, value in wanted))


@dataclass(frozen=True, slots=True)
class _Counts:
    """What one gateway said about one server."""

    requests: float
    waiting: float
    in_flight: float | None


@dataclass(slots=True)
class _Source:
    """One gateway."""

    namespace: str
    counts: Mapping[Key, _Counts | None] | None = None
    """Object → what its last answer said, None where that was no number. None until it has answered once."""
    last: dict[Key, float] = field(default_factory=dict)
    """Object → the last count of its requests that was a number."""
    answered: bool = False
    """It answered when it was last asked."""

    def take(self, page: str) -> dict[Key, float]:
        """An answer. Returns how many requests came since the one before, by object.

        What it had counted before its first answer is history. A server that it names only now had nothing till then,
        and a smaller count than before began anew.
        """
        first, self.counts = self.counts is None, _parse(page)
        arrived = {}
        for server, counts in self.counts.items():
            if counts is None:
                continue
            last = self.last.get(server, counts.requests if first else 0.0)
            arrived[server] = counts.requests - last if counts.requests >= last else counts.requests
            self.last[server] = counts.requests
        if len(self.last) > 2 * _MOST_SERVERS:
            self.last = {server: counts.requests for server, counts in self.counts.items() if counts is not None}
        return arrived


class Demand:
    """All gateways, and a total for each server that never goes backwards while a gateway names it."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}
        self._guests: Guests = {}
        self._arrived: dict[Key, float] = {}

    def set_sources(self, sources: Mapping[str, str], guests: Guests) -> None:
        """The gateways that there are, host:port → namespace; and of which other namespaces they may speak for whom."""
        self._guests = guests
        known, self._sources = self._sources, {}
        for address, namespace in sources.items():
            source = known.get(address)
            same = source is not None and source.namespace == namespace
            self._sources[address] = source if source is not None and same else _Source(namespace)
        named = {server for source in self._sources.values() for server in source.last if self._may(source, server)}
        self._arrived = {server: count for server, count in self._arrived.items() if server in named}

    def addresses(self, servers: Iterable[Key]) -> list[str]:
        """The gateways that may speak for any of these."""
        wanted = {key.namespace for key in servers}.union(*(self._guests.get(key, ()) for key in servers))
        return [address for address, source in self._sources.items() if source.namespace in wanted]

    def take(self, address: str, page: str | None) -> None:
        """One gateway's answer; None where it gave none."""
        source = self._sources.get(address)
        if source is None:  # it went while it was asked
            return
        source.answered = page is not None
        for server, count in source.take(page).items() if page is not None else ():
            if self._may(source, server):
                self._arrived[server] = self._arrived.get(server, 0.0) + count

    def _may(self, source: _Source, server: Key) -> bool:
        return source.namespace == server.namespace or source.namespace in self._guests.get(server, ())

    def sample(self, key: Key, at: float) -> tuple[DemandSample | None, int]:
        """What gateways know of one object, None where none of them answered; and how many there are."""
        sources, found = 0, []
        for source in self._sources.values():
            is_named = source.counts is not None and key in source.counts
            may_stand_before_it = source.counts is None and source.namespace == key.namespace
            if not may_stand_before_it and not (is_named and self._may(source, key)):
                continue
            sources += 1
            if source.answered and source.counts and (counts := source.counts[key]) is not None:
                found.append(counts)
        if not found:
            return None, sources
        in_flight = [counts.in_flight for counts in found if counts.in_flight is not None]
        sample = DemandSample(
            at=at,
            arrived=self._arrived.get(key, 0.0),
            waiting=sum(counts.waiting for counts in found),
            sources=sources,
            answered=len(found),
            in_flight=sum(in_flight) if len(in_flight) == len(found) else None,
        )
        return sample, sources


def _parse(page: str) -> dict[Key, _Counts | None]:
    """What a page says."""
    samples = scan(page, _NAMES)
    requests, waiting, in_flight = (_by_server(samples.get(name, ())) for name in _NAMES)
    counts: dict[Key, _Counts | None] = {}
    for server, arrived in requests.items():
        held, running = waiting.get(server, math.nan), in_flight.get(server, math.nan)
        sound = math.isfinite(arrived) and math.isfinite(held)
        counts[server] = _Counts(arrived, held, running if math.isfinite(running) else None) if sound else None
        if len(counts) == _MOST_SERVERS:
            break
    return counts


def _by_server(samples: Iterable[tuple[str, float]]) -> dict[Key, float]:
    """Sums over whatever other labels there are; NaN where one of them is no number."""
    sums: dict[Key, float] = {}
    for text, value in samples:
        namespace = label_of(text, "namespace")
        for kind, label in DEMAND_LABELS.items():
            name = label_of(text, label)
            if namespace and name:
                key = Key(kind, namespace, name)
                sums[key] = sums.get(key, 0.0) + (value if value >= 0 else math.nan)
    return sums
