"""A finished pod template as the workload that runs it: one of three kinds, behind one function. Pure.

Deployment        one per revision; planning/rollout.py moves the pods over
LeaderWorkerSet   the same, for replicas that span nodes: one group of pods is one replica
DaemonSet         placement mode PerNode: one for all revisions, replaced node by node by its own controller, which lets
                  the old and the new pod meet on a node and leaves none out. spec.replicas is not used then
"""

from dataclasses import dataclass
from typing import Any

from agentfleet.engines.base import node_count, startup_seconds
from agentfleet.manifests.group import leader_template, worker_template
from agentfleet.manifests.merge import overlay
from agentfleet.manifests.names import (
    PER_NODE_LABEL,
    REVISION_LABEL,
    SIDECAR_ANNOTATION,
    STRATEGY_ANNOTATION,
    child,
    daemon_set_name,
    group_set_name,
    workload_name,
)
from agentfleet.manifests.topology import placement_mode
from agentfleet.manifests.workload import Workload
from agentfleet.objects import KINDS, MODEL_SERVER_LABEL, Key, Manifest
from agentfleet.resources.modelserver import ModelServer

DEPLOYMENT, DAEMON_SET, GROUP_SET = "Deployment", "DaemonSet", "LeaderWorkerSet"


@dataclass(frozen=True)
class Extent:
    """How much of a workload there shall be: `replicas`, or for a DaemonSet how it replaces its pods."""

    replicas: int = 0
    surge: int = 0
    unavailable: int = 1


def workload_kind(server: ModelServer) -> str:
    """Which of the three kinds runs the pods of `server`."""
    if server.is_external:
        return DEPLOYMENT
    if node_count(server) > 1:
        return GROUP_SET
    return DAEMON_SET if placement_mode(server) == "PerNode" else DEPLOYMENT


def workload_key(server: ModelServer, revision: str) -> Key:
    """The workload that runs `revision`."""
    kind = workload_kind(server)
    names = {
        DEPLOYMENT: workload_name(server, revision),
        GROUP_SET: group_set_name(server, revision),
        DAEMON_SET: daemon_set_name(server),
    }
    return Key(kind, server.namespace, names[kind])


def workload_manifest(
    server: ModelServer, work: Workload, sidecar_image: str, extent: Extent, strategy: str | None = None
) -> Manifest:
    """The workload of one revision; `strategy` is noted on it where it was chosen (names.STRATEGY_ANNOTATION)."""
    key = workload_key(server, work.revision)
    build = {DEPLOYMENT: _deployment, GROUP_SET: _group_set, DAEMON_SET: _daemon_set}[key.kind]
    manifest = child(server, KINDS[key.kind].api_version, key.kind, key.name, spec=build(server, work, sidecar_image))
    # After the digest of what was applied, which is compared without them.
    if key.kind == DAEMON_SET:
        rolling = {"maxSurge": extent.surge, "maxUnavailable": extent.unavailable}
        manifest["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}
    else:
        # Always there, so that no apply of the template can ever reset the number; it is changed through /scale.
        manifest["spec"]["replicas"] = extent.replicas
    manifest["metadata"]["labels"] |= {REVISION_LABEL: work.revision}
    manifest["metadata"]["annotations"][SIDECAR_ANNOTATION] = sidecar_image
    if strategy:
        manifest["metadata"]["annotations"][STRATEGY_ANNOTATION] = strategy
    return manifest


def pod_template_of(workload: Manifest) -> dict[str, Any]:
    """The pod template of a live workload; of a LeaderWorkerSet, the workers' as a stand-in for all of a group."""
    spec = workload["spec"]
    template: dict[str, Any] = spec.get("template") or spec["leaderWorkerTemplate"]["workerTemplate"]
    return template


def _deployment(server: ModelServer, work: Workload, sidecar_image: str) -> dict[str, Any]:
    labels = {MODEL_SERVER_LABEL: server.name, REVISION_LABEL: work.revision}
    return {
        "progressDeadlineSeconds": startup_seconds(server) + 60,
        "revisionHistoryLimit": 1,
        "selector": {"matchLabels": labels},
        "template": _finished(work.template, labels, sidecar_image),
    }


def _daemon_set(server: ModelServer, work: Workload, sidecar_image: str) -> dict[str, Any]:
    selector = {MODEL_SERVER_LABEL: server.name, PER_NODE_LABEL: "true"}
    labels = selector | {REVISION_LABEL: work.revision}
    return {
        "revisionHistoryLimit": 1,
        "selector": {"matchLabels": selector},
        "template": _finished(work.template, labels, sidecar_image),
    }


def _group_set(server: ModelServer, work: Workload, sidecar_image: str) -> dict[str, Any]:
    labels = {MODEL_SERVER_LABEL: server.name, REVISION_LABEL: work.revision}
    nodes = node_count(server)
    finished = _finished(work.template, labels, sidecar_image)
    return {
        "leaderWorkerTemplate": {
            "leaderTemplate": leader_template(finished, nodes),
            # A headless worker whose leader has died waits for it for ever, and a leader cannot go on without one.
            "restartPolicy": "RecreateGroupOnPodRestart",
            "size": nodes,
            "workerTemplate": worker_template(finished, nodes),
        },
        "rolloutStrategy": {"type": "RollingUpdate"},
        # Ranks wait for each other, so a worker that waited for a ready leader would wait for ever.
        "startupPolicy": "LeaderCreated",
    }


def _finished(template: dict[str, Any], labels: dict[str, str], sidecar_image: str) -> dict[str, Any]:
    """The template with its labels, and with the sidecar's image wherever none is set."""
    finished: dict[str, Any] = overlay(template, {"metadata": {"labels": labels}})
    for containers in ("containers", "initContainers"):
        if containers in finished["spec"]:
            finished["spec"] = finished["spec"] | {
                containers: [
                    container if container.get("image") else container | {"image": sidecar_image}
                    for container in finished["spec"][containers]
                ]
            }
    return finished
