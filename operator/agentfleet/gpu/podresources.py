"""Asks the kubelet which container was given which device: the pod-resources API, gRPC over a unix socket.

Of the API's messages only the parts that are read are declared; protobuf passes over the rest, so that a newer kubelet
is understood as well. Source: k8s.io/kubelet/pkg/apis/podresources/v1/api.proto.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from agentfleet.gpu.holders import Assignment, KubeletSilent
from agentfleet.gpu.messages import Fields, classes

TIMEOUT = 5.0
METHOD = "/v1.PodResourcesLister/List"

_MESSAGES: Mapping[str, Fields] = {
    "ListPodResourcesRequest": [],
    "ListPodResourcesResponse": [(1, "pod_resources", "PodResources", True)],
    "PodResources": [(1, "name", "", False), (2, "namespace", "", False), (3, "containers", "Container", True)],
    "Container": [(1, "name", "", False), (2, "devices", "Devices", True), (5, "dynamic_resources", "Claim", True)],
    "Devices": [(1, "resource_name", "", False), (2, "device_ids", "", True)],
    "Claim": [(4, "claim_resources", "ClaimDevice", True)],
    "ClaimDevice": [(2, "driver_name", "", False), (4, "device_name", "", False)],
}
MESSAGES = classes("v1", _MESSAGES)
_REQUEST, _RESPONSE = MESSAGES["ListPodResourcesRequest"], MESSAGES["ListPodResourcesResponse"]


async def assignments(socket: Path, timeout: float = TIMEOUT) -> tuple[Assignment, ...]:
    """All devices of all containers on this node; KubeletSilent where the kubelet does not tell."""
    try:
        # A connection for each question: nothing is left behind by a kubelet that restarts.
        async with Channel(path=str(socket)) as channel:
            method = UnaryUnaryMethod(channel, METHOD, _REQUEST, _RESPONSE)
            response = await method(_REQUEST(), timeout=timeout)
    except TimeoutError as error:
        raise KubeletSilent(f"the kubelet did not answer within {timeout:g} s at {socket}") from error
    except (OSError, GRPCError, ProtocolError, StreamTerminatedError) as error:
        raise KubeletSilent(f"cannot ask the kubelet at {socket}: {error}") from error
    return tuple(_assignments(response))


def _assignments(response: Any) -> Iterator[Assignment]:
    for pod in response.pod_resources:
        for container in pod.containers:
            holder = (pod.namespace, pod.name, container.name)
            for devices in container.devices:
                for device_id in devices.device_ids:
                    yield Assignment(*holder, devices.resource_name, device_id)
            for claim in container.dynamic_resources:
                for device in claim.claim_resources:
                    yield Assignment(*holder, device.driver_name, device.device_name)
