"""The last samples of every replica: what `kubectl agentfleet report` and what-if replays read.

Ticks are folded into one sample per half minute; the last 1000 of each replica are kept (100 for Ollama). None is
unknown, never zero. Nothing is decided here, and nothing survives the process.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from agentfleet.autoscale.folding import Fold, Folded
from agentfleet.autoscale.samples import DemandSample, Tick
from agentfleet.monitor.rings import Ring
from agentfleet.objects import Key

Sample = dict[str, float | None]
"""`at` (its end, seconds since the epoch) and one value for each field; None is not known."""

INTERVAL = 30.0
KEPT = 1000
KEPT_OLLAMA = 100

_REMEMBERED = 3600.0
"""How long the samples of a replica that is gone are kept, in seconds."""
_MOST_GONE = 32
"""Replicas of one server that are gone and still kept: a crash loop must not fill the memory."""

_MEMORY_UNIT = float(2**26)  # 64 MiB: up to 4 TiB
_TOKENS_UNIT = 16.0
_FIELDS: dict[str, float] = {
    "requestsPerSecond": 1.0,
    "failedPerSecond": 1.0,
    "latencySeconds": 1.0,
    "gpuUtilizationPercent": 1.0,
    "gpuMemoryBytes": _MEMORY_UNIT,
    "cpuCores": 1.0,
    "memoryBytes": _MEMORY_UNIT,
    "waiting": 1.0,
    "running": 1.0,
    "promptTokensPerSecond": _TOKENS_UNIT,
    "outputTokensPerSecond": _TOKENS_UNIT,
    "probeTokensPerSecond": 1.0,
}
"""Field → its unit in the ring. The last is the active probe's, where an engine counts no tokens."""
_DEMAND_FIELDS = {"requestsPerSecond": 1.0, "waiting": 1.0}


@dataclass(frozen=True, slots=True)
class Completed:
    """The samples of one server for one half minute."""

    since: float
    until: float
    samples: list[Folded]


class _Replica:
    __slots__ = ("fold", "last", "ring")

    def __init__(self, kept: int, now: float) -> None:
        self.fold = Fold()
        self.ring = Ring(_FIELDS, kept)
        self.last = now


class _Server:
    __slots__ = ("arrived", "demand", "kept", "phase", "replicas", "slot")

    def __init__(self, kept: int, phase: int, slot: int) -> None:
        self.kept = kept
        self.phase = phase
        self.slot = slot
        self.replicas: dict[str, _Replica] = {}
        self.demand = Ring(_DEMAND_FIELDS, kept)
        self.arrived: DemandSample | None = None


class History:
    """Samples of all ModelServers."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self._servers: dict[Key, _Server] = {}

    def record(self, key: Key, tick: Tick, kept: int = KEPT) -> Completed | None:
        """Take in a tick. Gives one sample per replica where it begins a new half minute, else None."""
        server = self._servers.get(key)
        if server is None or server.kept != kept:
            # Servers complete their samples at different ticks: a thousand at once would delay the loop.
            phase = zlib.crc32(str(key).encode()) % max(1, int(self.interval))
            server = self._servers[key] = _Server(kept, phase, self._slot(tick.now, phase))
        slot = self._slot(tick.now, server.phase)
        completed = self._complete(server, tick) if slot > server.slot else None
        server.slot = max(slot, server.slot)
        for replica in tick.replicas:
            known = server.replicas.get(replica.name)
            if known is None:
                if not replica.ready and replica.name not in tick.engines:
                    continue  # it has not begun yet
                known = server.replicas[replica.name] = _Replica(kept, tick.now)
            known.last = tick.now
            known.fold.add(replica, tick)
        return completed

    def _slot(self, now: float, phase: int) -> int:
        return int((now - phase) // self.interval)

    def _complete(self, server: _Server, tick: Tick) -> Completed:
        """Ends the half minute before that of `tick`."""
        since = server.slot * self.interval + server.phase
        until = since + self.interval
        self._forget_gone(server, tick)
        completed = []
        for name, replica in server.replicas.items():
            if replica.last >= since:
                folded = replica.fold.take(name, since, until)
                replica.ring.put(server.slot, _row(folded))
                completed.append(folded)
        server.demand.put(server.slot, self._demand(server, tick.demand, completed))
        return Completed(since, until, completed)

    @staticmethod
    def _demand(server: _Server, now: DemandSample | None, completed: list[Folded]) -> dict[str, float | None]:
        """Requests that came: as the gateways count them, else as the engines do."""
        before, server.arrived = server.arrived, now
        if now is not None:
            return {"requestsPerSecond": _arrivals(before, now), "waiting": now.waiting}
        rates = [folded.rate(folded.growth.arrived) for folded in completed if folded.growth is not None]
        known = [rate for rate in rates if rate is not None]
        return {"requestsPerSecond": sum(known) if known and len(known) == len(rates) else None}

    @staticmethod
    def _forget_gone(server: _Server, tick: Tick) -> None:
        here = {replica.name for replica in tick.replicas}
        gone = sorted((replica.last, name) for name, replica in server.replicas.items() if name not in here)
        for place, (last, name) in enumerate(reversed(gone)):
            if place >= _MOST_GONE or tick.now - last > _REMEMBERED:
                del server.replicas[name]

    def replicas(self, key: Key) -> list[str] | None:
        """Replicas of which there are samples, sorted; None where the server is not known."""
        server = self._servers.get(key)
        return None if server is None else sorted(server.replicas)

    def samples(self, key: Key, replica: str, most: int = KEPT) -> list[Sample]:
        """The last samples of one replica, oldest first; none where it is not known (any more)."""
        server = self._servers.get(key)
        known = server.replicas.get(replica) if server else None
        return [self._shown(server, *row) for row in known.ring.rows(most)] if server and known else []

    def demand(self, key: Key, most: int = KEPT) -> list[Sample]:
        """The same of the requests that came for the server."""
        server = self._servers.get(key)
        return [{"at": self._end(server, slot), **row} for slot, row in server.demand.rows(most)] if server else []

    def _shown(self, server: _Server, slot: int, row: Sample) -> Sample:
        per_request = {
            "promptTokens": _ratio(row["promptTokensPerSecond"], row["requestsPerSecond"]),
            "outputTokens": _ratio(row["outputTokensPerSecond"], row["requestsPerSecond"]),
        }
        return {"at": self._end(server, slot), **row, **per_request}

    def _end(self, server: _Server, slot: int) -> float:
        return (slot + 1) * self.interval + server.phase

    def forget(self, key: Key) -> None:
        """The server is gone."""
        self._servers.pop(key, None)


def _arrivals(before: DemandSample | None, now: DemandSample) -> float | None:
    """Requests per second between two looks at all gateways."""
    if before is None or now.answered < now.sources or now.at <= before.at or now.arrived < before.arrived:
        return None
    return (now.arrived - before.arrived) / (now.at - before.at)


def _row(folded: Folded) -> Mapping[str, float | None]:
    growth = folded.growth
    return {
        "requestsPerSecond": folded.rate(growth.requests) if growth else None,
        "failedPerSecond": folded.rate(growth.failed) if growth else None,
        "latencySeconds": folded.latency,
        "gpuUtilizationPercent": None if folded.gpu is None else folded.gpu * 100,
        "gpuMemoryBytes": folded.gpu_memory,
        "cpuCores": folded.cpu,
        "memoryBytes": folded.memory,
        "waiting": folded.waiting,
        "running": folded.running,
        "promptTokensPerSecond": folded.rate(growth.prompt_tokens) if growth else None,
        "outputTokensPerSecond": folded.rate(growth.output_tokens) if growth else None,
        "probeTokensPerSecond": folded.tokens_per_second,
    }


def _ratio(tokens: float | None, requests: float | None) -> float | None:
    """Tokens of a mean request; unknown where none ended."""
    return tokens / requests if tokens is not None and requests else None
