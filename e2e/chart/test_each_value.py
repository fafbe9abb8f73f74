"""What each value of the chart does: one line per value, and none without a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentfleet import __version__
from agentfleet.resources.profile import Profile
from agentfleet.settings import Settings
from e2e.chart.rendering import Rendered, Values, defaults, leaves, nested, render

Look = Callable[[Rendered], Any]


def at(kind: str, path: str) -> Look:
    """Looks at the field `a.b.0.c` of the only object of a kind; None where it is absent."""

    def look(rendered: Rendered) -> Any:
        found: Any = rendered.one(kind)
        for part in path.split("."):
            found = found[int(part)] if isinstance(found, list) else (found or {}).get(part)
        return found

    return look


def deployment(path: str) -> Look:
    return at("Deployment", path)


def pod(path: str) -> Look:
    return at("Deployment", f"spec.template.spec.{path}")


def container(path: str) -> Look:
    return pod(f"containers.0.{path}")


def env(name: str) -> Look:
    return lambda rendered: rendered.environment[f"AGENTFLEET_{name}"]


def count(*kinds: str) -> Look:
    return lambda rendered: sum(len(rendered.all(kind)) for kind in kinds)


def exporter(path: str) -> Look:
    return at("DaemonSet", f"spec.template.spec.{path}")


def matched(rendered: Rendered) -> Any:
    return rendered.one("Deployment")["spec"]["selector"]["matchLabels"]


def kept(rendered: Rendered) -> int:
    crds = rendered.all("CustomResourceDefinition")
    return sum("helm.sh/resource-policy" in crd["metadata"]["annotations"] for crd in crds)


def profiles(rendered: Rendered) -> Any:
    """The profiles as the operator reads them."""
    return Settings.from_environment(rendered.environment).profiles


def budgets(rendered: Rendered) -> Any:
    """The budgets as the operator reads them."""
    return dict(Settings.from_environment(rendered.environment).gpu_budgets)


SELECTOR = {
    "app.kubernetes.io/name": "agentfleet",
    "app.kubernetes.io/instance": "agentfleet",
    "app.kubernetes.io/component": "operator",
}
DIGEST = "sha256:" + "0a" * 32
IMAGE = "example/operator"
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
RANGE = "192.0.2.1/32"
PROFILES: Values = {
    "l4": {"gpu": {"count": 2, "memory": "22Gi", "products": ["NVIDIA-L4"]}, "vllm": {"maxModelLen": 1000000}},
    "cpu": {"engine": "LlamaCpp", "env": {"A": "1"}, "gpu": {"count": 0}, "memory": 8},
}
TAINT = {"key": "gpu", "operator": "Exists"}
PEER = {"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}

VALUES: list[tuple[str, Any, Look, Any]] = [
    ("nameOverride", "af", matched, SELECTOR | {"app.kubernetes.io/name": "af"}),
    ("nameOverride", "af", deployment("metadata.name"), "agentfleet-af"),
    ("fullnameOverride", "models", deployment("metadata.name"), "models"),
    ("fullnameOverride", "models", env("LEASE_NAME"), "models"),
    ("replicas", 2, deployment("spec.replicas"), 2),
    ("replicas", 2, at("PodDisruptionBudget", "spec.maxUnavailable"), 1),
    ("replicas", 2, pod("topologySpreadConstraints.0.labelSelector.matchLabels"), SELECTOR),
    ("replicas", 1, count("PodDisruptionBudget"), 0),
    ("replicas", 0, deployment("spec.replicas"), 0),
    ("image.repository", IMAGE, container("image"), f"{IMAGE}:{__version__}"),
    ("image.tag", "edge", container("image"), "agentfleet/operator:edge"),
    ("image.tag", "edge", env("SIDECAR_IMAGE"), "agentfleet/operator:edge"),
    ("image.digest", DIGEST, container("image"), f"agentfleet/operator@{DIGEST}"),
    ("image.pullPolicy", "Always", container("imagePullPolicy"), "Always"),
    ("image.pullPolicy", "Always", env("SIDECAR_IMAGE_PULL_POLICY"), "Always"),
    ("imagePullSecrets", [{"name": "key"}], pod("imagePullSecrets"), [{"name": "key"}]),
    ("crds.enabled", False, count("CustomResourceDefinition"), 0),
    ("crds.keep", False, kept, 0),
    ("watch.namespaces", ["a", "b"], env("WATCH_NAMESPACES"), "a,b"),
    ("watch.nodes", False, env("WATCH_NODES"), "false"),
    ("rbac.create", False, count("Role", "RoleBinding", "ClusterRoleBinding"), 0),
    ("rbac.create", False, count("ClusterRole"), 3),
    ("rbac.aggregateRoles", False, count("ClusterRole"), 3),
    ("serviceAccount.create", False, count("ServiceAccount"), 0),
    ("serviceAccount.create", False, pod("serviceAccountName"), "default"),
    ("serviceAccount.name", "own", pod("serviceAccountName"), "own"),
    ("serviceAccount.annotations", {"a": "b"}, at("ServiceAccount", "metadata.annotations"), {"a": "b"}),
    ("engines.vllmImage", IMAGE, env("VLLM_IMAGE"), IMAGE),
    ("engines.llamaCppImage", IMAGE, env("LLAMA_CPP_IMAGE"), IMAGE),
    ("engines.llamaCppGpuImage", IMAGE, env("LLAMA_CPP_GPU_IMAGE"), IMAGE),
    ("engines.llamaCppRocmImage", IMAGE, env("LLAMA_CPP_ROCM_IMAGE"), IMAGE),
    ("engines.ollamaImage", IMAGE, env("OLLAMA_IMAGE"), IMAGE),
    ("gateway.haproxyImage", IMAGE, env("HAPROXY_IMAGE"), IMAGE),
    ("engines.sidecarImage", IMAGE, env("SIDECAR_IMAGE"), IMAGE),
    ("engines.sidecarImagePullPolicy", "Never", env("SIDECAR_IMAGE_PULL_POLICY"), "Never"),
    ("image.tag", "edge", env("RUNTIME_IMAGE"), "agentfleet/runtime:edge"),
    ("agents.runtimeImage", IMAGE, env("RUNTIME_IMAGE"), IMAGE),
    ("image.pullPolicy", "Always", env("RUNTIME_IMAGE_PULL_POLICY"), "Always"),
    ("agents.runtimeImagePullPolicy", "Never", env("RUNTIME_IMAGE_PULL_POLICY"), "Never"),
    ("agents.maxPerNode", 3, env("AGENTS_PER_NODE"), "3"),
    ("agents.directCallers", False, env("AGENTS_DIRECT_CALLERS"), "false"),
    ("agents.directCallers", False, count("ClusterRole"), 5),
    ("agents.apiServerCIDRs", [RANGE], env("AGENTS_API_SERVER_CIDRS"), RANGE),
    ("agents.dnsCIDRs", [RANGE], env("AGENTS_DNS_CIDRS"), RANGE),
    ("policy.hostPathRoot", "/var/lib/models", env("HOST_PATH_ROOT"), "/var/lib/models"),
    ("policy.allowedServiceAccounts", ["a", "b"], env("ALLOWED_SERVICE_ACCOUNTS"), "a,b"),
    ("policy.networkPolicies", False, env("NETWORK_POLICIES"), "false"),
    ("policy.monitoringNamespaces", ["a", "b"], env("MONITORING_NAMESPACES"), "a,b"),
    ("policy.deniedCIDRs", [RANGE, "fd00::/8"], env("DENIED_CIDRS"), f"{RANGE},fd00::/8"),
    ("profiles", PROFILES, profiles, {name: Profile.model_validate(fields) for name, fields in PROFILES.items()}),
    ("cluster.domain", "edge.example", env("CLUSTER_DOMAIN"), "edge.example"),
    ("cluster.siteLabel", "example.com/site", env("SITE_LABEL"), "example.com/site"),
    ("cluster.dnsDelay", "5s", env("DNS_DELAY"), "5s"),
    ("operator.logLevel", "DEBUG", env("LOG_LEVEL"), "DEBUG"),
    ("operator.workers", 16, env("WORKERS"), "16"),
    ("operator.stuckAfter", "1m30s", env("STUCK_AFTER"), "1m30s"),
    ("operator.resyncInterval", "1h", env("RESYNC_INTERVAL"), "1h"),
    ("scaling.interval", "10s", env("SCALING_INTERVAL"), "10s"),
    ("scaling.gpuBudgets", {"*": 8, "research": 32}, budgets, {"*": 8, "research": 32}),
    ("operator.profileDwell", "1m", env("PROFILE_DWELL"), "1m"),
    ("operator.statusInterval", "10m", env("STATUS_INTERVAL"), "10m"),
    ("leaderElection.leaseDuration", "60s", env("LEASE_DURATION"), "60s"),
    ("leaderElection.renewDeadline", "12s", env("RENEW_DEADLINE"), "12s"),
    ("leaderElection.renewInterval", "500ms", env("RENEW_INTERVAL"), "500ms"),
    ("gpuExporter.enabled", True, count("DaemonSet"), 1),
    ("monitoring.serviceMonitor.enabled", True, count("ServiceMonitor"), 1),
    ("monitoring.prometheusRule.enabled", True, count("PrometheusRule"), 1),
    ("monitoring.prometheusRule.enabled", "Auto", count("PrometheusRule"), 0),
    ("monitoring.dashboard.enabled", True, count("ConfigMap"), 1),
    ("networkPolicy.enabled", True, count("NetworkPolicy"), 1),
    ("resources.requests.cpu", "1", container("resources.requests.cpu"), "1"),
    ("resources.requests.memory", "1Gi", container("resources.requests.memory"), "1Gi"),
    ("resources.limits.memory", "1Gi", container("resources.limits.memory"), "1Gi"),
    ("runAsUser", 1000, pod("securityContext.runAsUser"), 1000),
    ("runAsUser", None, pod("securityContext.runAsUser"), None),
    ("priorityClassName", "high", pod("priorityClassName"), "high"),
    ("nodeSelector", {"a": "b"}, pod("nodeSelector"), {"a": "b"}),
    ("tolerations", [{"operator": "Exists"}], pod("tolerations"), [{"operator": "Exists"}]),
    ("affinity", {"podAntiAffinity": {}}, pod("affinity"), {"podAntiAffinity": {}}),
    ("topologySpreadConstraints", [SPREAD], pod("topologySpreadConstraints"), [SPREAD]),
    ("podAnnotations", {"a": "b"}, deployment("spec.template.metadata.annotations"), {"a": "b"}),
    ("podLabels", {"a": "b"}, deployment("spec.template.metadata.labels"), {"a": "b"} | SELECTOR),
    ("podLabels", {"app.kubernetes.io/name": "x"}, deployment("spec.template.metadata.labels"), SELECTOR),
    ("terminationGracePeriodSeconds", 60, pod("terminationGracePeriodSeconds"), 60),
]
"""Path of a value, what it is set to, what then to look at, and what has to be there."""

GUARDED: list[tuple[str, str, Any, Look, Any]] = [
    ("monitoring.serviceMonitor", "interval", "5s", at("ServiceMonitor", "spec.endpoints.0.interval"), "5s"),
    ("monitoring.serviceMonitor", "labels", {"a": "b"}, at("ServiceMonitor", "metadata.labels.a"), "b"),
    ("monitoring.prometheusRule", "labels", {"a": "b"}, at("PrometheusRule", "metadata.labels.a"), "b"),
    ("monitoring.dashboard", "labels", {"a": "b"}, at("ConfigMap", "metadata.labels.a"), "b"),
    ("gpuExporter", "interval", "15s", exporter("containers.0.args.1"), "--interval=15s"),
    ("gpuExporter", "dcgmUrl", "http://x:1/m", exporter("containers.0.args.3"), "--dcgm-url=http://x:1/m"),
    ("gpuExporter", "runtimeClassName", "gpu", exporter("runtimeClassName"), "gpu"),
    ("gpuExporter", "runtimeClassName", "", exporter("runtimeClassName"), None),
    ("gpuExporter", "kubeletDir", "/k", exporter("volumes.0.hostPath.path"), "/k/pod-resources"),
    ("gpuExporter", "networkPolicy", True, count("NetworkPolicy"), 1),
    ("gpuExporter", "networkPolicy", False, count("NetworkPolicy"), 0),
    ("gpuExporter", "nodeSelector", {}, exporter("nodeSelector"), {"nvidia.com/gpu.present": "true"}),
    ("gpuExporter", "nodeSelector", {"a": "b"}, exporter("nodeSelector"), {"a": "b"}),
    ("gpuExporter", "tolerations", [TAINT], exporter("tolerations"), [TAINT]),
    ("gpuExporter", "priorityClassName", "high", exporter("priorityClassName"), "high"),
    ("gpuExporter", "resources.requests.cpu", "1", exporter("containers.0.resources.requests.cpu"), "1"),
    ("gpuExporter", "resources.requests.memory", "1Gi", exporter("containers.0.resources.requests.memory"), "1Gi"),
    ("gpuExporter", "resources.limits.memory", "1Gi", exporter("containers.0.resources.limits.memory"), "1Gi"),
    ("networkPolicy", "metricsFrom", [PEER], at("NetworkPolicy", "spec.ingress.0.from"), [PEER]),
    (
        "networkPolicy",
        "apiServerPorts",
        [16443],
        at("NetworkPolicy", "spec.egress.1.ports"),
        [{"port": 16443, "protocol": "TCP"}],
    ),
    (
        "networkPolicy",
        "apiServerCIDRs",
        [RANGE],
        at("NetworkPolicy", "spec.egress.1.to"),
        [{"ipBlock": {"cidr": RANGE}}],
    ),
]
"""The same for values that do something only where `enabled` beside them is true."""


@pytest.mark.parametrize(
    ("path", "value", "look", "expected"), VALUES, ids=[f"{case[0]}={case[1]}"[:80] for case in VALUES]
)
def test_value(path: str, value: Any, look: Look, expected: Any) -> None:
    assert look(render(nested(path, value))) == expected


@pytest.mark.parametrize(("parent", "name", "value", "look", "expected"), GUARDED, ids=[case[1] for case in GUARDED])
def test_value_of_something_optional(parent: str, name: str, value: Any, look: Look, expected: Any) -> None:
    assert look(render(nested(parent, {"enabled": True, **nested(name, value)}))) == expected


def test_every_value_is_tested() -> None:
    tested = {case[0] for case in VALUES} | {f"{case[0]}.{case[1]}" for case in GUARDED}
    assert {path for path, _ in leaves(defaults())} == tested
