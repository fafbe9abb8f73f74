"""Demand of ModelServers and Agents, as this gateway counts it, for the operator's scaling loop.

Requests are counted where they wait for pods: in the gateway that holds the target's queue. One that is passed on to
the owner of an exact limit is counted there.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentfleet.decider import stats
from agentfleet.decider.admin import AdminError, AdminSocket
from agentfleet.decider.stats import Reading, TargetLoad
from agentfleet.gateway.decider_config import DemandSource


@dataclass(frozen=True)
class Count:
    """Demand of one ModelServer or Agent."""

    kind: str
    namespace: str
    name: str
    requests: int
    """Never smaller than before, also when HAProxy was restarted."""
    waiting: int
    in_flight: int


class Meter:
    """Reads HAProxy; a total goes on where a restarted HAProxy begins again at zero."""

    def __init__(self, admin: AdminSocket, targets: Sequence[str]) -> None:
        self._admin = admin
        self._targets = targets
        self._started = ""
        self._turn = asyncio.Lock()
        """Answers are taken in the order of the questions, else a total could go back."""
        self._before = dict.fromkeys(targets, 0)
        self._last = dict.fromkeys(targets, 0)

    async def read(self) -> dict[str, TargetLoad]:
        """The load of each target. AdminError where HAProxy does not answer: that is not the same as no load."""
        async with self._turn:
            answer = await self._admin.ask(stats.COMMAND)
            try:
                reading = stats.parse(answer)
            except ValueError as error:
                raise AdminError(str(error)) from error
            self._count(reading)
        return {target: stats.load(reading, target) for target in self._targets}

    def _count(self, reading: Reading) -> None:
        if reading.started != self._started:
            for target, last in self._last.items():
                self._before[target] += last
            self._started = reading.started
        self._last = {target: stats.requests(reading, target) for target in self._targets}

    def requests(self, target: str) -> int:
        """Requests for the target until the last reading, over all HAProxies that this decider has seen."""
        return self._before[target] + self._last[target]


def counts(meter: Meter, loads: Mapping[str, TargetLoad], sources: Sequence[DemandSource]) -> list[Count]:
    """One count for each object, at zero too; several targets may stand for one."""
    found: dict[tuple[str, str, str], Count] = {}
    for source in sources:
        key = (source.kind, source.namespace, source.name)
        before, load = found.get(key, Count(*key, 0, 0, 0)), loads[source.target]
        found[key] = Count(
            *key,
            requests=before.requests + meter.requests(source.target),
            waiting=before.waiting + load.waiting,
            in_flight=before.in_flight + load.in_flight,
        )
    return list(found.values())
