"""Pods as the command line reads them: which of them serve, and why one does not. Pure."""

from collections.abc import Sequence
from typing import Any

from agentfleet.objects import Manifest

_PULL_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def is_ready(pod: Manifest) -> bool:
    """Whether the pod's condition Ready is true."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def serving(pods: Sequence[Manifest]) -> list[Manifest]:
    """Those that are ready and stay, by name."""
    found = (pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"])
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def state_of(pod: Manifest, image_hint: str) -> str:
    """Why a pod is not ready, as far as its status says; `image_hint` is what to do about an image."""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting: dict[str, Any] | None = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") in _PULL_REASONS:
            return f"{waiting['reason']} of {container['image']}: {image_hint}"
        if waiting and waiting.get("reason") not in (None, "PodInitializing"):
            text = f"container {container['name']}: {waiting['reason']}"
            return f"{text}; see its log" if waiting["reason"] == "CrashLoopBackOff" else text
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return str(condition.get("message") or "it is not scheduled yet")
    return f"phase {status.get('phase', 'Unknown')}"
