"""The InferencePool of a ModelServer: its pods, for Gateways with the Inference Extension. Pure.

It names the endpoint picker that the extension's chart makes for a pool of this name: releases 1.0 to 1.5 want one
named. Where none is there Gateways choose among the pods themselves.
"""

from agentfleet.manifests.names import SERVING_LABEL, child, service_name
from agentfleet.objects import KINDS, MODEL_SERVER_LABEL, Manifest
from agentfleet.resources.modelserver import ModelServer

KIND = "InferencePool"


_PICKER_PORT = 9002


def wants_pool(server: ModelServer) -> bool:
    """Whether spec.expose.inferencePool asks for one, and there are pods that it could list."""
    return bool(server.spec.expose and server.spec.expose.inference_pool) and not server.is_external


def inference_pool(server: ModelServer, engine_port: int) -> Manifest:
    """The InferencePool NAME-model."""
    spec = {
        "selector": {"matchLabels": {MODEL_SERVER_LABEL: server.name, SERVING_LABEL: "true"}},
        "targetPorts": [{"number": engine_port}],
        "endpointPickerRef": {
            "group": "",
            "kind": "Service",
            "name": f"{service_name(server)}-epp",
            "port": {"number": _PICKER_PORT},
            "failureMode": "FailOpen",
        },
    }
    return child(server, KINDS[KIND].api_version, KIND, service_name(server), spec=spec)
