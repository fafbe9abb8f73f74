"""What the operator calls the things of a cluster: kinds, keys and plain manifests. Pure names, no behaviour."""

import re
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
"""A Kubernetes object as plain data, in the shape of its YAML."""

GROUP = "agentfleet.dev"
VERSION = "v1alpha1"
FIELD_MANAGER = "agentfleet"

MANAGED_BY = "app.kubernetes.io/managed-by"
"""Label on every child; its value is FIELD_MANAGER. Watches select by it, on the server's side."""

MODEL_SERVER_LABEL = "agentfleet.dev/modelserver"
"""Label on every child of a ModelServer, engine pods included; its value is the ModelServer's name."""

AGENT_ROUTE_LABEL = "agentfleet.dev/agentroute"
"""Label on every child of an AgentRoute, gateway pods included; its value is the AgentRoute's name."""

AGENT_LABEL = "agentfleet.dev/agent"
"""Label on every child of an Agent, its pods included; its value is the Agent's name."""

LOADER_LABEL = "agentfleet.dev/loader-for"
"""Label on pods of a ModelServer's Jobs, instead of MODEL_SERVER_LABEL: Services, status.selector and counts must never
take them for engine pods. Its value is the ModelServer's name."""

DEMAND_SOURCE_LABEL = "agentfleet.dev/demand-source"
"""Label on gateway pods that count requests for ModelServers of their namespace; its value is the port of /metrics."""


APPROVE_ANNOTATION = "agentfleet.dev/approve"
"""Annotation by which a user approves a scaling decision; its value is the decision's id."""

REJECT_ANNOTATION = "agentfleet.dev/reject"
"""The same to reject it."""

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation of pods by which a ReplicaSet chooses who goes first; absent is 0."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One API resource that the operator watches, reads or writes."""

    name: str
    group: str
    version: str
    plural: str
    namespaced: bool = True
    managed_only: bool = False
    """True where only objects with our MANAGED_BY label are watched."""
    optional: bool = False
    """True where its CRD may be absent: it is watched only while it is served (optional.py)."""
    watched: bool = True
    """False for what is only ever made, and never seen."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("ModelServer", GROUP, VERSION, "modelservers"),
        Kind("AgentRoute", GROUP, VERSION, "agentroutes"),
        Kind("Agent", GROUP, VERSION, "agents", optional=True),
        Kind("Deployment", "apps", "v1", "deployments", managed_only=True),
        Kind("DaemonSet", "apps", "v1", "daemonsets", managed_only=True),
        Kind("StatefulSet", "apps", "v1", "statefulsets", managed_only=True),
        Kind("LeaderWorkerSet", "leaderworkerset.x-k8s.io", "v1", "leaderworkersets", managed_only=True, optional=True),
        Kind("Job", "batch", "v1", "jobs", managed_only=True),
        Kind("Service", "", "v1", "services", managed_only=True),
        Kind("ConfigMap", "", "v1", "configmaps", managed_only=True),
        Kind("ServiceAccount", "", "v1", "serviceaccounts", managed_only=True),
        Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", managed_only=True),
        Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", managed_only=True),
        Kind("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes", managed_only=True, optional=True),
        Kind("InferencePool", "inference.networking.k8s.io", "v1", "inferencepools", managed_only=True, optional=True),
        Kind("Pod", "", "v1", "pods", managed_only=True),
        Kind("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims"),
        Kind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers"),
        Kind("ScaledObject", "keda.sh", "v1alpha1", "scaledobjects", optional=True),
        Kind("Node", "", "v1", "nodes", namespaced=False),
        Kind("Namespace", "", "v1", "namespaces", namespaced=False),
        Kind("Secret", "", "v1", "secrets", watched=False),
    )
}
"""Everything that is watched or made, by kind. The first are what users write; the rest is what reconcile looks at."""

PARENTS = ("ModelServer", "Agent", "AgentRoute")
"""The kinds that reconcile works on."""

PARENT_LABELS = {
    MODEL_SERVER_LABEL: "ModelServer",
    LOADER_LABEL: "ModelServer",
    AGENT_LABEL: "Agent",
    AGENT_ROUTE_LABEL: "AgentRoute",
}
"""Label on children → the kind of the parent that it names."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one object. `namespace` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


def key_of(manifest: Manifest) -> Key:
    """The key of an object that carries its kind."""
    metadata = manifest["metadata"]
    return Key(manifest["kind"], metadata.get("namespace", ""), metadata["name"])


DEMAND_LABELS = {"ModelServer": "model_server", "Agent": "agent"}
"""Kind whose demand gateways count → the label that names the object (monitor/demand.py)."""

AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")
"""Kinds that write the replicas of others."""

_OUR_WORKLOAD = re.compile(r"(.+?)(-model)?-[0-9a-f]{8}")
"""Names of workloads of a ModelServer, as far as they tell its name (manifests/names.py)."""


_AGENT_WORKLOAD = "-agent"
"""The same of Agents (manifests/agent_names.py)."""


def parent_of(manifest: Manifest) -> Key | None:
    """The agentfleet object that an object belongs to: by owner reference, else (pods, kept claims) by label; that an
    autoscaler is about, itself or by one of its workloads."""
    metadata = manifest["metadata"]
    namespace = metadata.get("namespace", "")
    if manifest["kind"] in AUTOSCALERS:
        return _scaled_by(manifest, namespace)
    for owner in metadata.get("ownerReferences", ()):
        if owner.get("kind") in PARENTS and owner.get("apiVersion", "").startswith(GROUP + "/"):
            return Key(owner["kind"], namespace, owner["name"])
    labels = metadata.get("labels", {})
    named = (Key(kind, namespace, labels[label]) for label, kind in PARENT_LABELS.items() if labels.get(label))
    return next(named, None)


def _scaled_by(autoscaler: Manifest, namespace: str) -> Key | None:
    """The ModelServer or Agent whose replicas an autoscaler seems to write; reconcile looks whether it really does."""
    target = autoscaler.get("spec", {}).get("scaleTargetRef", {})
    name = target.get("name", "")
    if target.get("kind") in PARENTS:
        return Key(target["kind"], namespace, name) if target.get("apiVersion", "").startswith(GROUP + "/") else None
    if workload := _OUR_WORKLOAD.fullmatch(name):
        return Key("ModelServer", namespace, workload.group(1))
    agent = name.removesuffix(_AGENT_WORKLOAD)
    return Key("Agent", namespace, agent) if agent not in ("", name) else None
