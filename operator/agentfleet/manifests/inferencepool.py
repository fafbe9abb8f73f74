"""The InferencePool of a ModelServer: its pods, for Gateways with the Inference Extension. Pure.

It names no endpoint picker: which one there is, and whether, is for whoever runs the Gateway.
"""

from agentfleet.manifests.names import SERVING_LABEL, child, service_name
from agentfleet.objects import KINDS, MODEL_SERVER_LABEL, Manifest
from agentfleet.resources.modelserver import ModelServer

KIND = "InferencePool"


def wants_pool(server: ModelServer) -> bool:
    """Whether spec.expose.inferencePool asks for one, and there are pods that it could list."""
    return bool(server.spec.expose and server.spec.expose.inference_pool) and not server.is_external


def inference_pool(server: ModelServer, engine_port: int) -> Manifest:
    """The InferencePool NAME-model."""
    spec = {
        "selector": {"matchLabels": {MODEL_SERVER_LABEL: server.name, SERVING_LABEL: "true"}},
        "targetPorts": [{"number": engine_port}],
    }
    return child(server, KINDS[KIND].api_version, KIND, service_name(server), spec=spec)
