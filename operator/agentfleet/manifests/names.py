"""Names, labels and owner references of children, and the digests that revisions are called after. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from agentfleet.engines.base import node_count
from agentfleet.objects import FIELD_MANAGER, GROUP, MANAGED_BY, MODEL_SERVER_LABEL, VERSION, Manifest
from agentfleet.resources.base import Resource
from agentfleet.resources.modelserver import ModelServer

REVISION_LABEL = "agentfleet.dev/revision"
"""Label of workloads and pods: which rendering of the spec they are."""

SERVING_LABEL = "agentfleet.dev/serving"
"""Label of pods that Services select. It is in no workload's selector, so taking it off takes a pod out of traffic
without making its workload start another one."""

CLAIM_LABEL = "agentfleet.dev/claim"
"""Label of pods that share a claim which one node at a time can mount; they have to run together."""

APPLIED_ANNOTATION = "agentfleet.dev/applied"
"""Digest of what was applied last: tells a changed wish from a foreign edit."""

SIDECAR_ANNOTATION = "agentfleet.dev/sidecar-image"
"""Sidecar image that a workload was made with; kept, so that an upgrade of the operator rolls no engine pods."""


PER_NODE_LABEL = "agentfleet.dev/per-node"
"""Label of pods of placement mode PerNode: what their DaemonSet selects by, whatever the revision."""

WORKER_INDEX_LABEL = "leaderworkerset.sigs.k8s.io/worker-index"
"""Label that LeaderWorkerSet gives to its pods; 0 is the leader, the one pod of a replica that answers requests."""

STRATEGY_ANNOTATION = "agentfleet.dev/rollout"
"""Surge or NoSurge: what was chosen when the rollout of a revision began, so that it does not turn back half-way."""


def digest(data: Any, length: int = 10) -> str:
    """First `length` hexadecimal digits of the SHA-256 of `data` as canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def service_name(server: ModelServer) -> str:
    """The Service that clients use."""
    return f"{server.name}-model"


def headless_name(server: ModelServer) -> str:
    """The headless Service whose DNS answer lists the serving pods."""
    return f"{server.name}-model-pods"


def workload_name(server: ModelServer, revision: str) -> str:
    """The workload of one revision."""
    return f"{server.name}-model-{revision}"


def daemon_set_name(server: ModelServer) -> str:
    """The DaemonSet of placement mode PerNode: one for all revisions, since it replaces pods node by node."""
    return f"{server.name}-model"


def group_set_name(server: ModelServer, revision: str) -> str:
    """The LeaderWorkerSet of one revision. At most 48 characters: its StatefulSets, named `NAME` and `NAME-999`, give
    each pod a label with their name and 11 characters more."""
    return f"{server.name[:39].rstrip('-')}-{revision}"


def files_name(server: ModelServer, content_digest: str) -> str:
    """The ConfigMap with the files of spec.files; named by content, so that a change is a new revision."""
    return f"{server.name}-model-files-{content_digest}"


def adapters_name(server: ModelServer) -> str:
    """The ConfigMap that lists spec.adapters; one name for all contents, since a change restarts nothing."""
    return f"{server.name}-model-adapters"


def cache_claim_name(server: ModelServer) -> str:
    """The claim of cache type PersistentVolume."""
    return f"{server.name}-model-cache"


def child_labels(server: ModelServer) -> dict[str, str]:
    """Labels on every child, pods included."""
    return {
        "app.kubernetes.io/component": "model-server",
        "app.kubernetes.io/instance": server.name,
        MANAGED_BY: FIELD_MANAGER,
        MODEL_SERVER_LABEL: server.name,
    }


def pod_selector(server: ModelServer) -> str:
    """Selector of a ModelServer's replicas, for status.selector: of pods that span nodes only the leaders count."""
    selector = f"{MODEL_SERVER_LABEL}={server.name}"
    return f"{selector},{WORKER_INDEX_LABEL}=0" if node_count(server) > 1 else selector


def child(server: ModelServer, api_version: str, kind: str, name: str, **body: Any) -> Manifest:
    """A child of `server` with labels, owner and the digest of all that it is."""
    return owned_by(server, "ModelServer", api_version, kind, name, child_labels(server), **body)


def owned_by(
    parent: Resource,
    parent_kind: str,
    api_version: str,
    kind: str,
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    **body: Any,
) -> Manifest:
    """A child of an object of any kind, with its owner and the digest of all that it is."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": parent.namespace,
        "labels": dict(labels),
        "ownerReferences": [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": parent_kind,
                "name": parent.name,
                "uid": parent.uid,
                "controller": True,
            }
        ],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    manifest: Manifest = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
    applied = {APPLIED_ANNOTATION: digest(manifest)}
    metadata["annotations"] = {**(annotations or {}), **applied}
    return manifest


def url(server: ModelServer, cluster_domain: str) -> str:
    """Base address of the OpenAI API for clients inside the cluster."""
    return f"http://{service_name(server)}.{server.namespace}.svc.{cluster_domain}/v1"
