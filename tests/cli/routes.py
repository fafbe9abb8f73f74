"""AgentRoutes as the command line finds them, with what they refer to."""

from typing import Any

from agentfleet.objects import Manifest
from tests.cli.servers import READY, FakeApi, condition, listing, model_server

ROUTES = "/apis/agentfleet.dev/v1alpha1/namespaces/prod/agentroutes"
GROUP = "/apis/agentfleet.dev/v1alpha1"

SPEC: Manifest = {
    "targets": [
        {"name": "light", "modelServerRef": {"name": "phi"}, "tier": "Lightweight", "maxConcurrent": 10},
        {"name": "balanced", "modelServerRef": {"name": "qwen"}, "maxConcurrent": 10},
        {
            "name": "cloud",
            "external": {"url": "https://api.example.com/v1", "model": "big"},
            "tier": "Capable",
            "capabilities": ["Tools"],
        },
    ],
    "classify": {"intents": [{"name": "code", "keywords": ["debug"]}]},
    "rules": [
        {"name": "vip", "match": {"headers": [{"name": "X-Team", "value": "blue"}]}, "targets": ["cloud"]},
        {"name": "code", "match": {"intents": ["code"]}, "targets": ["balanced"], "fallback": {"targets": ["cloud"]}},
    ],
    "privacy": {"denyCloudFor": ["Confidential"]},
    "auth": {"apiKeys": {"secretName": "keys"}},
}


def agent_route(name: str = "assistant", *, spec: Manifest | None = None, **status: Any) -> Manifest:
    """An AgentRoute of namespace prod, with two gateways that serve unless status says otherwise."""
    usual = {
        "replicas": 2,
        "readyReplicas": 2,
        "url": f"http://{name}-route.prod.svc.cluster.local/v1",
        "targets": [{"name": "light", "ready": True, "reason": "Serving"}],
        "conditions": [READY],
    }
    return {
        "kind": "AgentRoute",
        "metadata": {"name": name, "namespace": "prod", "uid": "u", "generation": 1},
        "spec": SPEC | (spec or {}),
        "status": usual | status,
    }


def serve_routes(api: FakeApi, *routes: Manifest) -> None:
    """Let these be the AgentRoutes of namespace prod."""
    api.answers[ROUTES] = listing(*routes)
    api.answers |= {f"{ROUTES}/{each['metadata']['name']}": each for each in routes}


def serve_targets(api: FakeApi) -> None:
    """Let there be what SPEC refers to: phi with two replicas, qwen asleep."""
    phi = model_server("phi")
    qwen = model_server("qwen", replicas=0, readyReplicas=0, conditions=[condition("Ready", "True", "ScaledToZero")])
    for each in (phi, qwen):
        each["metadata"] |= {"uid": "u", "generation": 1}
        service = f"/api/v1/namespaces/prod/services/{each['metadata']['name']}-model-pods"
        api.answers[service] = {"spec": {"ports": [{"port": 8000}]}}
    qwen["spec"]["scaling"] = {"mode": "Apply", "minReplicas": 0, "maxReplicas": 2}
    api.serve(phi, qwen)
    api.answers[GROUP] = {"resources": [{"name": "modelservers", "kind": "ModelServer"}]}
