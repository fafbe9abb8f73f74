"""Agents as tests want them, and a fleet of what they refer to."""

from collections.abc import Callable
from typing import Any

from agentfleet.objects import Key, Manifest, key_of
from agentfleet.resources.agent import Agent
from tests.builders import NAMESPACE

UID = "33333333-4444-5555-6666-777777777777"
BY_SERVER: Manifest = {"modelServerRef": {"name": "phi"}}
MCP: Manifest = {"name": "crm", "mcp": {"url": "http://crm.support.svc:8080/mcp"}}


def agent_manifest(name: str = "helper", namespace: str = NAMESPACE, **spec: Any) -> Manifest:
    """An Agent as the API server stores it; `spec` is laid over the least that is legal."""
    return {
        "apiVersion": "agentfleet.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": UID if name == "helper" else f"uid-{name}",
            "generation": 1,
            "resourceVersion": "1",
        },
        "spec": {"model": BY_SERVER} | spec,
    }


def agent(name: str = "helper", **spec: Any) -> Agent:
    """The same, validated."""
    return Agent.from_manifest(agent_manifest(name, **spec))


def served(kind: str, name: str, namespace: str = NAMESPACE, ready: str = "True", **spec: Any) -> Manifest:
    """An agentfleet object as its own reconcile leaves it."""
    condition = {"type": "Ready", "status": ready, "reason": "Serving" if ready == "True" else "LoadingModel"}
    stamps = {"message": "", "lastTransitionTime": "2026-11-21T10:00:00Z", "observedGeneration": 1}
    least = {"engine": "LlamaCpp", "model": {"uri": "pvc://models/tiny.gguf"}} if kind == "ModelServer" else {}
    body = {key: value for key, value in (least | spec).items() if value is not None}
    return {
        "apiVersion": "agentfleet.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 1},
        "spec": body,
        "status": {"conditions": [condition | stamps]},
    }


def service(name: str, namespace: str = NAMESPACE, *ports: int, **spec: Any) -> Manifest:
    """A Service; its pods listen on 9000 and up."""
    listed = [{"name": f"p{port}", "port": port, "targetPort": 9000 + index} for index, port in enumerate(ports)]
    body = {"selector": {"app": name}, "ports": listed} | spec
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in body.items() if value is not None},
    }


def phi(**spec: Any) -> list[Manifest]:
    """The model that agents have where a test says nothing."""
    headless = service("phi-model-pods", NAMESPACE, 8000)
    return [served("ModelServer", "phi", **spec), headless]


def lookup(*objects: Manifest) -> Callable[[Key], Manifest | None]:
    """A cache of these."""
    known = {key_of(each): each for each in objects}
    return known.get
