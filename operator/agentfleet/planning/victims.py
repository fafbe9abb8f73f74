"""Which pods go when replicas are taken away: those that do not serve, then those that do least. Pure.

A ReplicaSet takes pods that are not ready first by itself, and among ready ones those with the lower deletion cost; so
only ready victims are marked. Each stops by itself only when its requests are done (its preStop hook).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import DELETION_COST, Key, Manifest
from agentfleet.planning.failures import is_ready
from agentfleet.planning.observed import ObservedWorkload


class Running(Protocol):
    """What is observed of a ModelServer, or of an Agent."""

    @property
    def workloads(self) -> tuple[ObservedWorkload, ...]:
        """They have the replicas."""

    @property
    def pods(self) -> tuple[Manifest, ...]:
        """They take the requests."""


_FIRST = "-1"
_USUAL = "0"


def victims(
    observed: Running, workload: Key, replicas: int, in_flight: Mapping[str, float]
) -> Iterable[tuple[Manifest, str]]:
    """Pods of a workload that is to have `replicas`, with the deletion cost that they need and do not have yet.

    `in_flight` tells how many requests each has; a pod that nobody could ask counts as busy.
    """
    seen = next((seen for seen in observed.workloads if seen.key == workload), None)
    if seen is None or workload.kind != "Deployment" or not 0 < replicas < seen.replicas:
        return
    mine = [pod for pod in observed.pods if pod["metadata"].get("labels", {}).get(REVISION_LABEL) == seen.revision]
    ready = [pod for pod in mine if is_ready(pod)]
    by_load = sorted(_newest_first(ready), key=lambda pod: in_flight.get(pod["metadata"]["name"], math.inf))
    for place, pod in enumerate(by_load):
        cost = _FIRST if place < len(ready) - replicas else _USUAL
        if pod["metadata"].get("annotations", {}).get(DELETION_COST, _USUAL) != cost:
            yield pod, cost


def marked(pod: Manifest, cost: str) -> Manifest:
    """The pod with a deletion cost, as server-side apply takes it; its uid keeps a pod that is gone from being made."""
    metadata = pod["metadata"]
    identity = {name: metadata[name] for name in ("name", "namespace", "uid")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": identity | {"annotations": {DELETION_COST: cost}}}


def _newest_first(pods: Sequence[Manifest]) -> list[Manifest]:
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
