"""Every pod that the operator makes meets the Pod Security Standard `restricted`, but for what its spec asks for."""

from __future__ import annotations

from typing import Any

import pytest

from agentfleet.manifests.kinds import Extent, workload_manifest
from agentfleet.manifests.loader import inspect_job, load_job
from agentfleet.manifests.workload import workload
from agentfleet.resources.modelserver import ModelServer
from agentfleet.settings import Settings
from e2e.chart.pod_security import violations

Spec = dict[str, Any]
IMAGE = "agentfleet/operator:dev"
SETTINGS = Settings(host_path_root="/srv", sidecar_image=IMAGE)

HUB = {
    "uri": "hf://acme/chat",
    "auth": {"secretName": "hub", "endpoint": "https://hub.example", "caBundle": {"configMapName": "roots"}},
}
GGUF = {"uri": "hf://acme/chat/a.gguf"}
CLAIM = {"type": "PersistentVolume", "size": "1Gi"}

ADMITTED: dict[str, Spec] = {
    "VLLM": {"engine": "VLLM", "model": HUB},
    "VLLM with everything": {
        "engine": "VLLM",
        "model": HUB,
        "cache": CLAIM,
        "adapters": [{"name": "a", "uri": "hf://acme/a"}],
        "expose": {"apiKeySecretName": "keys"},
        "files": [{"path": "/etc/chat/template", "content": "x"}],
    },
    "VLLM on AMD": {"engine": "VLLM", "model": HUB, "gpu": {"resource": "amd.com/gpu"}},
    "VLLM on MIG": {"engine": "VLLM", "model": HUB, "gpu": {"resource": "nvidia.com/mig-1g.10gb", "count": 1}},
    "VLLM over nodes": {"engine": "VLLM", "model": HUB, "parallelism": {"pipeline": 2, "nodes": 2}},
    "LlamaCpp": {"engine": "LlamaCpp", "model": GGUF},
    "LlamaCpp on a GPU": {"engine": "LlamaCpp", "model": GGUF, "gpu": {"count": 1, "runtimeClassName": "nvidia"}},
    "LlamaCpp from a claim": {"engine": "LlamaCpp", "model": {"uri": "pvc://models/a.gguf"}},
    "LlamaCpp on each node": {"engine": "LlamaCpp", "model": GGUF, "placement": {"mode": "PerNode"}},
    "Ollama": {"engine": "Ollama", "model": {"uri": "ollama://tiny"}},
    "External": {"engine": "External", "external": {"url": "https://api.example/v1", "auth": {"secretName": "key"}}},
    "FoundryLocal": {
        "engine": "FoundryLocal",
        "model": {"uri": "foundry://phi"},
        "external": {"url": "http://10.0.3.7:5273/v1"},
    },
}

REFUSED: dict[str, tuple[Spec, str]] = {
    "a folder of the node": ({"engine": "LlamaCpp", "model": {"uri": "file:///srv/a.gguf"}}, "hostPath"),
    "a cache on the node": (
        {"engine": "LlamaCpp", "model": GGUF, "cache": {"type": "HostPath", "path": "/srv/cache"}},
        "hostPath",
    ),
}


def _server(spec: Spec) -> ModelServer:
    metadata = {"name": "phi", "namespace": "demo", "uid": "uid", "generation": 1}
    return ModelServer.from_manifest({"metadata": metadata, "spec": spec})


def _pods(spec: Spec) -> dict[str, Spec]:
    """The specs of all pods that come of a ModelServer's spec, by what they are."""
    server = _server(spec)
    made = workload_manifest(server, workload(server, SETTINGS), IMAGE, Extent())["spec"]
    templates = made.get("leaderWorkerTemplate") or {"template": made["template"]}
    pods = {name: part["spec"] for name, part in templates.items() if name.lower().endswith("template")}
    if not server.is_external and not server.model.uri.startswith("ollama://"):
        for job in (load_job(server, SETTINGS), inspect_job(server, SETTINGS)):
            pods[job["metadata"]["name"]] = job["spec"]["template"]["spec"]
    return pods


@pytest.mark.parametrize("spec", ADMITTED.values(), ids=ADMITTED)
def test_admitted_at_restricted(spec: Spec) -> None:
    for name, pod in _pods(spec).items():
        assert list(violations(pod)) == [], name


@pytest.mark.parametrize(("spec", "kind"), REFUSED.values(), ids=REFUSED)
def test_folders_of_nodes_are_all_that_is_not_admitted(spec: Spec, kind: str) -> None:
    found = [line for pod in _pods(spec).values() for line in violations(pod)]
    assert set(found) == {f"volume models is of type {kind}"}


@pytest.mark.parametrize("spec", ADMITTED.values(), ids=ADMITTED)
def test_no_pod_has_a_token_service_links_or_a_writable_root(spec: Spec) -> None:
    for name, pod in _pods(spec).items():
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False), name
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
