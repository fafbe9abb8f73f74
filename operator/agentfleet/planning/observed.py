"""What reconcile has gathered about one ModelServer before anything is decided. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Manifest


@dataclass(frozen=True)
class ObservedWorkload:
    """One Deployment of a ModelServer, as counts."""

    name: str
    uid: str
    revision: str
    replicas: int
    """What it is told to have."""
    pods: int
    """What it has, pods that are going included as long as it counts them."""
    ready: int

    @classmethod
    def of(cls, manifest: Manifest) -> "ObservedWorkload":
        status = manifest.get("status", {})
        replicas = manifest["spec"].get("replicas", 1)
        return cls(
            name=manifest["metadata"]["name"],
            uid=manifest["metadata"]["uid"],
            revision=manifest["metadata"].get("labels", {}).get(REVISION_LABEL, ""),
            replicas=replicas,
            pods=status.get("replicas", 0),
            # A count from before the last scale says nothing about pods that are to go.
            ready=min(status.get("readyReplicas", 0), replicas),
        )


@dataclass(frozen=True)
class Observed:
    """Live children of one ModelServer, and what the pods say about themselves."""

    deployments: tuple[Manifest, ...] = ()
    services: tuple[Manifest, ...] = ()
    config_maps: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    sidecars: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Pod name → answer of its sidecar's /status; pods that were not asked or did not answer are absent."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """Pod name → last message about a volume that cannot be mounted."""
    sites: frozenset[str] | None = None
    """Sites that nodes have; None where nodes are not watched."""

    @property
    def workloads(self) -> tuple[ObservedWorkload, ...]:
        return tuple(ObservedWorkload.of(manifest) for manifest in self.deployments)
