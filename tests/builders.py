"""ModelServers and children as tests want them: small, with only what the test is about spelt out."""

from typing import Any

from agentfleet.objects import Manifest
from agentfleet.resources.modelserver import ModelServer

NAMESPACE = "demo"
UID = "11111111-2222-3333-4444-555555555555"

MODELS = {
    "VLLM": "hf://acme/chat-7b@main",
    "LlamaCpp": "pvc://models/tiny.gguf",
    "Ollama": "ollama://qwen2.5:0.5b",
}


def manifest(engine: str = "LlamaCpp", name: str = "phi", **spec: Any) -> Manifest:
    """A ModelServer as the API server stores it; `spec` is laid over the least that is legal."""
    return {
        "apiVersion": "agentfleet.dev/v1alpha1",
        "kind": "ModelServer",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-11-21T10:00:00Z",
        },
        "spec": {"engine": engine, "model": {"uri": MODELS[engine]}} | spec,
        "status": {"observedGeneration": -1},
    }


def server(engine: str = "LlamaCpp", name: str = "phi", **spec: Any) -> ModelServer:
    """The same, validated."""
    return ModelServer.from_manifest(manifest(engine, name, **spec))
