"""AgentRoutes and what they refer to, as tests want them: small, with only what the test is about spelt out."""

from typing import Any

from agentfleet.gateway.resolved import Resolution
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.route_targets import resolve
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.settings import Settings
from tests.builders import NAMESPACE

ROUTE_UID = "99999999-2222-3333-4444-555555555555"
SETTINGS = Settings(namespace="ops", monitoring_namespaces=("watch",))
CLOUD = {"url": "https://api.example.com/v1", "model": "large", "auth": {"secretName": "cloud-key"}}
AUTH = {"apiKeys": {"secretName": "keys"}}


def to(name: str, **more: Any) -> dict[str, Any]:
    """A target that is the ModelServer of its name."""
    return {"name": name, "modelServerRef": {"name": name}} | more


def cloud(name: str = "cloud", **more: Any) -> dict[str, Any]:
    """A target in a cloud."""
    return {"name": name, "external": CLOUD} | more


def route_manifest(*targets: dict[str, Any], name: str = "front", **spec: Any) -> Manifest:
    """An AgentRoute as the API server stores it."""
    return {
        "apiVersion": "agentfleet.dev/v1alpha1",
        "kind": "AgentRoute",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": ROUTE_UID, "generation": 1},
        "spec": {"targets": list(targets or (to("phi"),))} | spec,
    }


def route(*targets: dict[str, Any], name: str = "front", **spec: Any) -> AgentRoute:
    """The same, validated."""
    return AgentRoute.from_manifest(route_manifest(*targets, name=name, **spec))


class Held:
    """What the cache holds."""

    def __init__(self, *manifests: Manifest) -> None:
        self.objects = {key_of(manifest): manifest for manifest in manifests}

    def __call__(self, key: Key) -> Manifest | None:
        return self.objects.get(key)

    def server(self, name: str = "phi", namespace: str = NAMESPACE, ready: str = "Serving", **spec: Any) -> "Held":
        """A ModelServer with its headless Service; `ready` is the reason of its condition Ready."""
        metadata = {"name": name, "namespace": namespace, "uid": f"uid of {name}", "generation": 1}
        status = "True" if ready in ("Serving", "ScaledToZero") else "False"
        self.add(
            {
                "apiVersion": "agentfleet.dev/v1alpha1",
                "kind": "ModelServer",
                "metadata": metadata,
                "spec": {"engine": "LlamaCpp", "model": {"uri": "pvc://models/tiny.gguf"}} | spec,
                "status": {"conditions": [{"type": "Ready", "status": status, "reason": ready}]},
            }
        )
        return self.service(f"{name}-model-pods", namespace, 8080)

    def agent(self, name: str, model: dict[str, Any], namespace: str = NAMESPACE, **spec: Any) -> "Held":
        """An Agent with its headless Service."""
        self.add(
            {
                "apiVersion": "agentfleet.dev/v1alpha1",
                "kind": "Agent",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"model": model} | spec,
                "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Serving"}]},
            }
        )
        return self.service(f"{name}-agent-pods", namespace, 8000)

    def service(self, name: str, namespace: str, port: int) -> "Held":
        """A headless Service."""
        metadata = {"name": name, "namespace": namespace}
        spec = {"clusterIP": "None", "ports": [{"port": port}]}
        return self.add({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})

    def add(self, manifest: Manifest) -> "Held":
        """Any object."""
        self.objects[key_of(manifest)] = manifest
        return self


def resolved(asked: AgentRoute, held: Held | None = None, served: tuple[str, ...] = ("Agent",)) -> Resolution:
    """What the references of a route are; ModelServer phi is there where nothing else is said."""
    return resolve(asked, held or Held().server(), frozenset(served), SETTINGS)
