"""Other autoscalers that write the replicas of a ModelServer, or of its Deployments. Pure.

On the ModelServer's own /scale they are welcome in modes Manual and Recommend: spec.replicas is theirs then. In Apply
two would decide; and on one of our Deployments they fight with reconcile in any mode.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentfleet.objects import Manifest
from agentfleet.planning.observed import Observed
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
    workloads = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in observed.workload_manifests}
    for autoscaler in observed.autoscalers:
        kind, name = autoscaler["kind"], autoscaler["metadata"]["name"]
        target = _target(autoscaler)
        if target in workloads:
            return Conflict(kind, name, f"{target[0]} {target[1]}, whose replicas are this ModelServer's")
        if target == ("ModelServer", server.name) and asked_mode(server) == "Apply":
            return Conflict(kind, name, "this ModelServer, whose mode is Apply")
    return None


def _target(autoscaler: Manifest) -> tuple[str, str]:
    reference: Mapping[str, Any] = autoscaler.get("spec", {}).get("scaleTargetRef", {})
    # KEDA takes a Deployment where no kind is named.
    return reference.get("kind", "Deployment"), reference.get("name", "")
