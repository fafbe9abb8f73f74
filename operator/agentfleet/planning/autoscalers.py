"""Other autoscalers that write the replicas of a ModelServer or an Agent, or of their Deployments. Pure.

On the ModelServer's own /scale they are welcome in modes Manual and Recommend: spec.replicas is theirs then. In Apply
two would decide; and on one of our Deployments they fight with reconcile in any mode. An Agent has no /scale.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentfleet.objects import Manifest
from agentfleet.planning.observed import Observed, ObservedWorkload
from agentfleet.planning.scaling_goal import asked_mode
from agentfleet.resources.modelserver import ModelServer


@dataclass(frozen=True, slots=True)
class Conflict:
    """An autoscaler that must not be there."""

    kind: str
    name: str
    target: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} scales {self.target}"


def conflict_of(server: ModelServer, observed: Observed) -> Conflict | None:
    """The first autoscaler that writes what is not its to write; None where all is well."""
    found = autoscaler_of(observed.autoscalers, observed.workloads, "ModelServer")
    if found is not None or asked_mode(server) != "Apply":
        return found
    for autoscaler in observed.autoscalers:
        if _target(autoscaler) == ("ModelServer", server.name):
            return Conflict(autoscaler["kind"], autoscaler["metadata"]["name"], "this ModelServer, whose mode is Apply")
    return None


def autoscaler_of(
    autoscalers: Iterable[Manifest], workloads: Iterable[ObservedWorkload], parent: str
) -> Conflict | None:
    """The first that writes the replicas of one of `workloads`, which are of a `parent`."""
    ours = {(workload.kind, workload.name) for workload in workloads}
    for autoscaler in autoscalers:
        target = _target(autoscaler)
        if target in ours:
            told = f"{target[0]} {target[1]}, whose replicas are this {parent}'s"
            return Conflict(autoscaler["kind"], autoscaler["metadata"]["name"], told)
    return None


def _target(autoscaler: Manifest) -> tuple[str, str]:
    reference: Mapping[str, Any] = autoscaler.get("spec", {}).get("scaleTargetRef", {})
    # KEDA takes a Deployment where no kind is named.
    return reference.get("kind", "Deployment"), reference.get("name", "")
