"""Why a pod does not serve: from what kubelet, the scheduler, the loader and the engine's last words say. Pure.

Each check looks for one cause and is named after it; the first that finds something is the answer. Reasons are those
of resources/conditions.py.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentfleet.engines.base import Engine
from agentfleet.manifests.agent_pod import AGENT, TOOLHOST
from agentfleet.manifests.loader import LOADER
from agentfleet.manifests.pod import ENGINE
from agentfleet.objects import AGENT_LABEL, Manifest
from agentfleet.resources.conditions import HINTS

_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError"}
_NOT_THERE = r'(secret|configmap) "[^"]+" not found|references non-existent (secret|config) key'
_START_REASONS = {"StartError", "ContainerCannotRun", "RunContainerError"}
_DRIVER_REFUSED = r"nvidia-container-cli.*(requirement error|unsatisfied condition|driver)"
_LAST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """One cause. `transient` causes may pass without anybody's doing: a node that is being added, a slow start."""

    reason: str
    message: str
    transient: bool = False


@dataclass(frozen=True)
class PodView:
    """One pod and all that is known about it."""

    pod: Manifest
    engine: Engine | None = None
    """None for a loader's own pod."""
    mount_failure: str | None = None

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def containers(self) -> Sequence[Mapping[str, Any]]:
        status = self.pod.get("status", {})
        return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]

    def waiting(self, reasons: Iterable[str]) -> dict[str, Any] | None:
        """The first container that waits for one of `reasons`: its name and message."""
        for container in self.containers:
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") in reasons:
                return {"name": container["name"], "image": container.get("image", ""), **waiting}
        return None

    def ended(self, name: str) -> Mapping[str, Any] | None:
        """How container `name` ended last, while it has not come back to health since."""
        for container in self.containers:
            if container["name"] == name and not container.get("ready", False):
                now, last = container.get("state", {}), container.get("lastState", {})
                ended: Mapping[str, Any] | None = now.get("terminated") or last.get("terminated")
                return ended
        return None


def is_ready(pod: Manifest) -> bool:
    """True while the pod answers requests: Ready and not on its way out."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def failure(view: PodView) -> Failure | None:
    """Why this pod does not serve; None while nothing speaks against it."""
    if is_ready(view.pod):
        return None
    for check in _CHECKS:
        found = check(view)
        if found:
            return found
    return None


def loader_failure(pod: Manifest) -> Failure | None:
    """Why a loader's own pod does not come to its end; None while nothing speaks against it."""
    view = PodView(pod)
    found = (check(view) for check in _CHECKS)
    return next((failure for failure in found if failure), None)


def _no_node_fits(view: PodView) -> Failure | None:
    for condition in view.pod.get("status", {}).get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            message = condition.get("message", "")
            if re.search(r'persistentvolumeclaim "[^"]+" not found', message):
                return Failure("ClaimNotFound", message)
            return Failure("Unschedulable", f"No node fits: {message}", transient=True)
    return None


def _image_cannot_be_pulled(view: PodView) -> Failure | None:
    waiting = view.waiting(_IMAGE_REASONS)
    if waiting is None:
        return None
    # kubelet alternates between two reasons and adds its back-off; the words that stay are the image's name.
    return Failure("ImagePullFailed", f"The image {waiting['image']} of container {waiting['name']} cannot be pulled.")


def _configuration_is_missing(view: PodView) -> Failure | None:
    waiting = view.waiting(_CONFIG_REASONS)
    if waiting is None:
        return None
    return Failure("ConfigNotFound", f"Container {waiting['name']}: {waiting.get('message', waiting['reason'])}.")


def _loader_failed(view: PodView) -> Failure | None:
    ended = view.ended(LOADER)
    if ended is None or ended.get("exitCode") == 0:
        return None
    if ended.get("reason") == "OOMKilled":
        return Failure("OutOfMemory", "The loader was killed for memory.")
    try:
        said = json.loads(ended.get("message", ""))
        return Failure(said["reason"] if said["reason"] in HINTS else "EngineDied", str(said["message"]))
    except (ValueError, KeyError, TypeError):
        return Failure("EngineDied", f"The loader ended with exit code {ended.get('exitCode')}: {_last_words(ended)}")


def _engine_ended(view: PodView) -> Failure | None:
    ended = view.ended(ENGINE)
    if ended is None:
        return None
    code = ended.get("exitCode")
    if ended.get("reason") == "OOMKilled":
        return Failure("OutOfMemory", "The engine was killed for memory (exit code 137).")
    words = ended.get("message", "")
    if ended.get("reason") in _START_REASONS and re.search(_DRIVER_REFUSED, words):
        return Failure("DriverTooOld", f"The container runtime refused to start the engine: {_last_words(ended)}")
    for pattern, reason in view.engine.failures if view.engine else ():
        match = re.search(pattern, words, re.IGNORECASE)
        if match:
            return Failure(reason, f"The engine ended with exit code {code}: {_line_at(words, match.start())}")
    return Failure("EngineDied", f"The engine ended with exit code {code}: {_last_words(ended)}")


def _agent_ended(view: PodView) -> Failure | None:
    """Which container of an Agent's pod ends again and again, with its last words."""
    if AGENT_LABEL not in view.pod["metadata"].get("labels", {}):
        return None
    for name in (container["name"] for container in view.containers):
        ended = view.ended(name) if name == AGENT or name.startswith(f"{TOOLHOST}-") else None
        if ended is None or ended.get("exitCode") == 0:
            continue
        if ended.get("reason") == "OOMKilled":
            return Failure("AgentOutOfMemory", f"Container {name} was killed for memory.")
        said = str(ended.get("message") or ended.get("reason") or "no words").strip()[-_LAST_WORDS:]
        return Failure("AgentDied", f"Container {name} ended with {ended.get('exitCode')}: {said}.")
    return None


def _volume_cannot_be_mounted(view: PodView) -> Failure | None:
    if view.mount_failure is None:
        return None
    if "hostPath type check failed" in view.mount_failure:
        return Failure("ModelNotFound", f"{view.mount_failure}.")
    if re.search(_NOT_THERE, view.mount_failure):
        return Failure("ConfigNotFound", f"{view.mount_failure}.")
    return Failure("VolumeMountFailed", f"{view.mount_failure}.")


def _evicted(view: PodView) -> Failure | None:
    status = view.pod.get("status", {})
    # Without a reason of its own a pod has failed because a container has, as a Job's does: the container tells why.
    if status.get("phase") != "Failed" or not status.get("reason"):
        return None
    message = status.get("message", "the pod failed")
    if "ephemeral" in message or "emptyDir" in message or "DiskPressure" in message:
        return Failure("DiskFull", f"{message}.")
    return Failure("EngineDied", f"{status['reason']}: {message}.")


_CHECKS: tuple[Callable[[PodView], Failure | None], ...] = (
    _evicted,
    _no_node_fits,
    _image_cannot_be_pulled,
    _configuration_is_missing,
    _loader_failed,
    _engine_ended,
    _agent_ended,
    _volume_cannot_be_mounted,
)


def workload_failure(deployment: Manifest) -> Failure | None:
    """Why a Deployment cannot even create its pods: quota, admission, a class that does not exist."""
    for condition in deployment.get("status", {}).get("conditions", ()):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = condition.get("message", "")
            reason = "QuotaExceeded" if "exceeded quota" in message else "Rejected"
            return Failure(reason, f"Pods cannot be created: {message}.")
    return None


def _line_at(words: str, position: int) -> str:
    start = words.rfind("\n", 0, position) + 1
    end = words.find("\n", position)
    return words[start : end if end >= 0 else None].strip()[:_LAST_WORDS]


def _last_words(ended: Mapping[str, Any]) -> str:
    lines = [line.strip() for line in ended.get("message", "").splitlines() if line.strip()]
    return lines[-1][:_LAST_WORDS] if lines else "it left no message."
