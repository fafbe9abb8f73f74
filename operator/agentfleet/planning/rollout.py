"""How many pods each revision shall have now, so that a rollout keeps serving. Pure.

The rule is that of a Deployment's rolling update, over several Deployments: never more than wanted + surge pods, never
fewer serving ones than wanted - unavailable. It is level-based: called again after every change, it ends at
{newest: wanted} from any state, whoever was restarted in between.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agentfleet.planning.observed import ObservedWorkload


@dataclass(frozen=True)
class Pace:
    """How far a rollout may stray from the wanted number."""

    surge: int
    unavailable: int


def pace(wanted: int, gpus: int) -> Pace:
    """CPU pods surge by a quarter; GPU pods are replaced one by one, since a spare GPU cannot be counted on."""
    return Pace(surge=0, unavailable=1) if gpus else Pace(surge=max(1, math.ceil(wanted / 4)), unavailable=0)


def replicas_by_workload(wanted: int, newest: str, workloads: Sequence[ObservedWorkload], pace: Pace) -> dict[str, int]:
    """Revision → pods it shall have now; the newest is always there."""
    old = [workload for workload in workloads if workload.revision != newest]
    current = next((workload for workload in workloads if workload.revision == newest), None)
    if not any(workload.replicas for workload in old):
        return {newest: wanted} | {workload.revision: 0 for workload in old}
    return {newest: _grow(wanted, current, old, pace)} | _shrink(wanted, current, old, pace)


def _grow(wanted: int, current: ObservedWorkload | None, old: Sequence[ObservedWorkload], pace: Pace) -> int:
    has = current.replicas if current else 0
    room = wanted + pace.surge - sum(max(workload.replicas, workload.pods) for workload in old)
    return min(wanted, max(has, room))


def _shrink(
    wanted: int, current: ObservedWorkload | None, old: Sequence[ObservedWorkload], pace: Pace
) -> dict[str, int]:
    serving = (current.ready if current else 0) + sum(workload.ready for workload in old)
    spare = max(0, serving - max(0, wanted - pace.unavailable))
    targets = {}
    # Pods that do not serve go at once; of those that do, as many as can be spared, smallest workload first.
    for workload in sorted(old, key=lambda workload: (workload.ready, workload.name)):
        leaving = min(spare, workload.ready)
        spare -= leaving
        targets[workload.revision] = workload.ready - leaving
    return targets
