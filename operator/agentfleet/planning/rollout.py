"""How many pods each revision shall have now, so that a rollout keeps serving. Pure.

The rule is that of a Deployment's rolling update, over several workloads: never more than wanted + surge pods, never
fewer serving ones than wanted - unavailable. It is level-based: called again after every change, it ends at
{newest: wanted} from any state, whoever was restarted in between.

A DaemonSet has no number to set: as the newest it replaces its own pods node by node, as the old one it goes whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentfleet.planning.observed import ObservedWorkload

Strategy = Literal["Surge", "NoSurge"]


@dataclass(frozen=True)
class Pace:
    """How far a rollout may stray from the wanted number."""

    surge: int
    unavailable: int


ONE_BY_ONE = Pace(surge=0, unavailable=1)
_UNKNOWN = "What is free on the nodes is not known, so no spare GPU is counted on."


@dataclass(frozen=True)
class Begun:
    """How the rollout stands whose pace has been chosen before."""

    strategy: Strategy
    stuck: bool
    """A new pod finds no node, and no old pod is about to leave one."""


def pace(
    wanted: int, strategy: str, room: int | None = None, begun: Begun | None = None, *, on_gpus: bool
) -> tuple[Pace, Strategy, str]:
    """How to replace `wanted` pods, and why; `strategy` is spec.rollout.strategy.

    `room` is how many more replicas the nodes could run beside all that runs now, None where nodes are not known. Auto
    on GPUs asks once, when a rollout begins: later the answer is about its own pods. A surge that finds no GPU after
    all gives way, so what was answered never decides whether a rollout ends.
    """
    surge = Pace(surge=max(1, math.ceil(wanted / 4)), unavailable=0)
    if strategy != "Auto":
        asked: Strategy = "Surge" if strategy == "Surge" else "NoSurge"
        return surge if asked == "Surge" else ONE_BY_ONE, asked, "rollout.strategy asks for it."
    if not on_gpus:
        return surge, "Surge", "The pods need no GPU."
    if begun is not None:
        return _go_on(begun)
    if not room:
        return ONE_BY_ONE, "NoSurge", "No GPU is free for one more replica." if room == 0 else _UNKNOWN
    return Pace(min(surge.surge, room), unavailable=0), "Surge", "GPUs for one more replica are free."


def _go_on(begun: Begun) -> tuple[Pace, Strategy, str]:
    if begun.strategy == "NoSurge":
        return ONE_BY_ONE, "NoSurge", "No GPU was known to be free for one more replica."
    if begun.stuck:
        return ONE_BY_ONE, "NoSurge", "The GPUs that were free when the rollout began are gone: a new pod finds none."
    return Pace(surge=1, unavailable=0), "Surge", "GPUs for one more replica were free when the rollout began."


def replicas_by_workload(wanted: int, newest: str, workloads: Sequence[ObservedWorkload], pace: Pace) -> dict[str, int]:
    """Revision → replicas it shall have now; the newest is always there. For workloads with a number to set."""
    old = [workload for workload in workloads if workload.revision != newest]
    current = next((workload for workload in workloads if workload.revision == newest), None)
    if not any(workload.replicas for workload in old):
        return {newest: wanted} | {workload.revision: 0 for workload in old}
    return {newest: _grow(wanted, current, old, pace)} | _shrink(wanted, current, old, pace)


def replicas_beside_daemon_set(
    current: ObservedWorkload | None, old: Sequence[ObservedWorkload], pace: Pace
) -> dict[str, int]:
    """Revision → replicas that workloads of a former mode shall have now that pods run per node."""
    if current is None or not current.known or not current.replicas:
        # How many nodes fit is not known yet, or none does: what serves goes on serving.
        return {workload.revision: workload.replicas for workload in old}
    return _shrink(current.replicas, current, old, pace)


def daemon_set_may_go(wanted: int, current: ObservedWorkload | None, pace: Pace) -> bool:
    """Whether the DaemonSet of a former mode can be deleted, which stops all its pods; each finishes its requests.

    With a surge the new pods serve before; without one they need its GPUs to start at all.
    """
    return pace.unavailable > 0 or (current is not None and current.ready >= wanted) or not wanted


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
