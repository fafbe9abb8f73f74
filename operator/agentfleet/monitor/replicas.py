"""The replicas of a ModelServer or an Agent as the scaling loop sees them, from pods in the cache. It asks nobody."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from agentfleet.autoscale.samples import Replica
from agentfleet.cache import Cache
from agentfleet.engines import ENGINES
from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Key, Manifest
from agentfleet.planning.failures import PodView, failure, is_ready
from agentfleet.planning.observed import is_replica

_ENDED = ("Succeeded", "Failed")
"""Phases of pods that stay to be read, such as evicted ones: their workload has started others in their place."""


@dataclass(slots=True)
class Pods:
    """Pods of one server, looked at anew only when one of them has changed."""

    replicas: tuple[Replica, ...] = ()
    addresses: dict[str, str] = field(default_factory=dict)
    """Replica → IP of its pod."""
    _seen: object = None

    def refresh(self, cache: Cache, key: Key, engine: str, revision: str) -> None:
        """Take in what the cache holds now."""
        seen = (engine, revision, cache.child_versions(key, "Pod"))
        if seen == self._seen:
            return
        pods = [pod for pod in cache.children(key, "Pod") if is_replica(pod) and _phase(pod) not in _ENDED]
        self.replicas = tuple(_replica(pod, engine, revision) for pod in pods)
        self.addresses = {
            pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods if pod.get("status", {}).get("podIP")
        }
        self._seen = seen

    @property
    def staying(self) -> int:
        """Replicas that are not on their way out."""
        return sum(not replica.leaving for replica in self.replicas)


def not_created(count: int, reason: str, now: float) -> Iterable[Replica]:
    """Stand-ins for replicas that ought to be there, and that the API server refuses to make."""
    for number in range(count):
        yield Replica(name=f"not-created-{number}", created_at=now, ready=False, problem=reason)


def _phase(pod: Manifest) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _replica(pod: Manifest, engine: str, revision: str) -> Replica:
    metadata = pod["metadata"]
    leaving = "deletionTimestamp" in metadata
    found = None if leaving else failure(PodView(pod, ENGINES.get(engine)))
    return Replica(
        name=metadata["name"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
        ready=is_ready(pod),
        leaving=leaving,
        problem=found.reason if found else None,
        current=metadata.get("labels", {}).get(REVISION_LABEL) == revision,
    )
