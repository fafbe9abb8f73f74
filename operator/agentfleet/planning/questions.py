"""Which pods have to be asked for more than their status shows. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from agentfleet.manifests.names import REVISION_LABEL
from agentfleet.objects import Manifest
from agentfleet.planning.failures import is_ready
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus

_MOST_ASKED = 4
"""Sidecars asked at a time: enough to tell how the download goes, however many replicas there are."""

_MOUNT_GRACE = timedelta(seconds=4)
_MOUNT_REASONS = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}


def sidecars_to_ask(
    server: ModelServer, pods: Sequence[Manifest], revision: str, before: ModelServerStatus
) -> dict[str, str]:
    """Pod name → address of the newest revision's pods whose models may have changed since status was written."""
    known = before.revision == revision and _is_settled(server, before)
    asked = {}
    for pod in pods:
        address = pod.get("status", {}).get("podIP")
        current = pod["metadata"].get("labels", {}).get(REVISION_LABEL) == revision
        if address and current and "deletionTimestamp" not in pod["metadata"] and not (known and is_ready(pod)):
            asked[pod["metadata"]["name"]] = address
    return dict(list(asked.items())[:_MOST_ASKED])


def loaders_to_ask(pods: Iterable[Manifest]) -> dict[str, str]:
    """Pod name → address of loaders that are at work."""
    running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running" and pod["status"].get("podIP")]
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in running[:_MOST_ASKED]}


def changes_by_itself(server: ModelServer) -> bool:
    """True where models may change without any event: outside the cluster, or by Ollama's pulls on a schedule."""
    return server.is_external or (server.spec.engine == "Ollama" and server.model.update is not None)


def _is_settled(server: ModelServer, before: ModelServerStatus) -> bool:
    """True where status already says all that sidecars could."""
    if changes_by_itself(server) or not before.models:
        return False
    wanted = {adapter.name for adapter in server.spec.adapters}
    told = {model.name for model in before.models}
    # Adapters come and go without a new revision.
    adapters = told - {server.model_name} if server.spec.engine == "VLLM" else wanted
    return adapters == wanted and all(model.state == "Ready" for model in before.models)


def stuck_before_start(pods: Iterable[Manifest], now: datetime) -> list[Manifest]:
    """Scheduled pods none of whose containers has been made yet, longer than kubelet needs when all is well."""
    stuck = []
    for pod in pods:
        status = pod.get("status", {})
        scheduled = any(c["type"] == "PodScheduled" and c["status"] == "True" for c in status.get("conditions", ()))
        containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        made = any(container.get("state", {}).keys() & {"running", "terminated"} for container in containers)
        age = now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        if scheduled and not made and age > _MOUNT_GRACE and "deletionTimestamp" not in pod["metadata"]:
            stuck.append(pod)
    return stuck[:_MOST_ASKED]


def mount_failure(events: Iterable[Manifest]) -> str | None:
    """The latest message about a volume that cannot be mounted."""
    messages = [event.get("message", "") for event in events if event.get("reason") in _MOUNT_REASONS]
    return " ".join(messages[-1].split()) if messages else None
