"""What reconcile has gathered about one Agent before anything is decided. Pure data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import AUTOSCALERS, Key, Manifest, key_of
from agentfleet.planning.agent_answers import Said
from agentfleet.planning.observed import ObservedWorkload, is_owned

KINDS_OF_AGENT = (
    "Deployment",
    "Service",
    "ConfigMap",
    "ServiceAccount",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "PersistentVolumeClaim",
)


@dataclass(frozen=True)
class AgentObserved:
    """Live children of one Agent."""

    children: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    """Those that are not on their way out."""
    going: tuple[Manifest, ...] = ()
    autoscalers: tuple[Manifest, ...] = ()
    """HorizontalPodAutoscalers and ScaledObjects that seem to be about it."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """Pod name → last message about a volume that cannot be mounted."""
    said: Said = field(default_factory=Said)
    """What pods of the newest revision have answered."""

    def child(self, key: Key) -> Manifest | None:
        """One child; None where it is not there."""
        return next((each for each in self.children if key_of(each) == key), None)

    @property
    def workloads(self) -> tuple[ObservedWorkload, ...]:
        """Its Deployment, where there is one."""
        return tuple(ObservedWorkload.of(each) for each in self.children if each["kind"] == "Deployment")

    def others(self, revision: str) -> bool:
        """Whether pods of another revision are left, also on their way out."""
        return any(revision_of(pod) != revision for pod in (*self.pods, *self.going))


def gather_agent(children: Callable[[str], Sequence[Manifest]], uid: str) -> AgentObserved:
    """What the cache holds of the Agent with `uid`; `children` gives those of one kind (Cache.children)."""
    owned = tuple(child for kind in KINDS_OF_AGENT for child in children(kind) if is_owned(child, uid))
    pods = children("Pod")
    return AgentObserved(
        children=owned,
        pods=tuple(pod for pod in pods if "deletionTimestamp" not in pod["metadata"]),
        going=tuple(pod for pod in pods if "deletionTimestamp" in pod["metadata"]),
        autoscalers=tuple(autoscaler for kind in AUTOSCALERS for autoscaler in children(kind)),
    )


def revision_of(pod: Manifest) -> str | None:
    """The revision that a pod is of."""
    revision: str | None = pod["metadata"].get("labels", {}).get(REVISION_LABEL)
    return revision
