"""What reconcile has gathered about one ModelServer before anything is decided. Pure data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentfleet.manifests.kinds import DAEMON_SET
from agentfleet.manifests.names import REVISION_LABEL, STRATEGY_ANNOTATION, WORKER_INDEX_LABEL
from agentfleet.objects import AUTOSCALERS, FIELD_MANAGER, LOADER_LABEL, MANAGED_BY, Key, Manifest, key_of
from agentfleet.planning.nodes import NodeView


@dataclass(frozen=True)
class ObservedWorkload:
    """One workload of a ModelServer, as counts of replicas: of pods, or of groups of pods."""

    name: str
    uid: str
    revision: str
    replicas: int
    """What it is told to have; of a DaemonSet, the nodes that fit it."""
    pods: int
    """What it has, pods that are going included as long as it counts them."""
    ready: int
    kind: str = "Deployment"
    namespace: str = ""
    known: bool = True
    """False for a DaemonSet whose controller has not yet looked at what it shall be."""
    strategy: str | None = None
    """How its rollout was begun, where that was chosen."""

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace, self.name)

    @classmethod
    def of(cls, manifest: Manifest) -> "ObservedWorkload":
        metadata, status = manifest["metadata"], manifest.get("status", {})
        if manifest["kind"] == DAEMON_SET:
            replicas = status.get("desiredNumberScheduled", 0)
            pods, ready = status.get("currentNumberScheduled", 0), status.get("numberReady", 0)
            known = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
        else:
            replicas = manifest["spec"].get("replicas", 1)
            pods, ready = status.get("replicas", 0), status.get("readyReplicas", 0)
            known = True
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            revision=metadata.get("labels", {}).get(REVISION_LABEL, ""),
            replicas=replicas,
            pods=pods,
            # A count from before the last scale says nothing about pods that are to go.
            ready=min(ready, replicas),
            kind=manifest["kind"],
            namespace=metadata["namespace"],
            known=known,
            strategy=metadata.get("annotations", {}).get(STRATEGY_ANNOTATION),
        )


@dataclass(frozen=True)
class Observed:
    """Live children of one ModelServer, and what the pods say about themselves."""

    deployments: tuple[Manifest, ...] = ()
    daemon_sets: tuple[Manifest, ...] = ()
    group_sets: tuple[Manifest, ...] = ()
    """LeaderWorkerSets."""
    services: tuple[Manifest, ...] = ()
    config_maps: tuple[Manifest, ...] = ()
    policies: tuple[Manifest, ...] = ()
    budgets: tuple[Manifest, ...] = ()
    inference_pools: tuple[Manifest, ...] = ()
    jobs: tuple[Manifest, ...] = ()
    claims: tuple[Manifest, ...] = ()
    """PersistentVolumeClaims that the operator made for it, those of a former namesake included."""
    pods: tuple[Manifest, ...] = ()
    """Engine pods that answer requests: of a replica that spans nodes, the leader."""
    workers: tuple[Manifest, ...] = ()
    """The other pods of replicas that span nodes."""
    loader_pods: tuple[Manifest, ...] = ()
    """Pods of `jobs`."""
    autoscalers: tuple[Manifest, ...] = ()
    """HorizontalPodAutoscalers and ScaledObjects that seem to be about it."""
    served: frozenset[str] = frozenset()
    """Optional kinds that the API server has."""
    sidecars: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Pod name → answer of its sidecar's /status; pods that were not asked or did not answer are absent."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """Pod name → last message about a volume that cannot be mounted."""
    sites: frozenset[str] | None = None
    """Sites that nodes have; None where nodes are not watched."""
    nodes: tuple[NodeView, ...] | None = None
    """The nodes, and what is free on them; None where they are not watched or were not asked for."""

    @property
    def workload_manifests(self) -> tuple[Manifest, ...]:
        return (*self.deployments, *self.daemon_sets, *self.group_sets)

    @property
    def workloads(self) -> tuple[ObservedWorkload, ...]:
        return tuple(ObservedWorkload.of(manifest) for manifest in self.workload_manifests)


def gather(children: Callable[[str], Sequence[Manifest]], uid: str, served: frozenset[str] = frozenset()) -> Observed:
    """What the cache holds of the ModelServer with `uid`; `children` gives those of one kind (Cache.children)."""

    def owned(kind: str) -> tuple[Manifest, ...]:
        return tuple(child for child in children(kind) if is_owned(child, uid))

    pods = children("Pod")
    return Observed(
        deployments=owned("Deployment"),
        daemon_sets=owned("DaemonSet"),
        group_sets=owned("LeaderWorkerSet"),
        services=owned("Service"),
        config_maps=owned("ConfigMap"),
        policies=owned("NetworkPolicy"),
        budgets=owned("PodDisruptionBudget"),
        inference_pools=owned("InferencePool"),
        jobs=owned("Job"),
        # A kept claim has no owner, and outlives the ModelServer that it was made for.
        claims=tuple(
            claim
            for claim in children("PersistentVolumeClaim")
            if is_owned(claim, uid) or _labels(claim).get(MANAGED_BY) == FIELD_MANAGER
        ),
        pods=tuple(pod for pod in pods if is_replica(pod)),
        workers=tuple(pod for pod in pods if LOADER_LABEL not in _labels(pod) and not is_replica(pod)),
        loader_pods=tuple(pod for pod in pods if LOADER_LABEL in _labels(pod)),
        autoscalers=tuple(autoscaler for kind in AUTOSCALERS for autoscaler in children(kind)),
        served=served,
    )


def is_replica(pod: Manifest) -> bool:
    """Whether a pod of a ModelServer answers requests: it is no loader, and of a group of pods the leader."""
    labels = _labels(pod)
    return LOADER_LABEL not in labels and labels.get(WORKER_INDEX_LABEL, "0") == "0"


def not_in(manifests: Iterable[Manifest], kept: frozenset[Key]) -> list[Manifest]:
    """Those of `manifests` that are not among `kept`."""
    return [manifest for manifest in manifests if key_of(manifest) not in kept]


def _labels(manifest: Manifest) -> Mapping[str, str]:
    labels: Mapping[str, str] = manifest["metadata"].get("labels", {})
    return labels


def is_owned(child: Manifest, uid: str) -> bool:
    """Whether an object is a child of the one with `uid`, and not on its way out."""
    owners = child["metadata"].get("ownerReferences", ())
    return "deletionTimestamp" not in child["metadata"] and any(owner["uid"] == uid for owner in owners)
