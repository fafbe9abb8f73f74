"""A device plugin, as NVIDIA's is one to the kubelet: offers devices by their ids, which are all that there is of them.

    python device_plugin.py nvidia.com/mig-1g.10gb=MIG-8a2e… nvidia.com/gpu.shared=GPU-6c1f…::0,GPU-6c1f…::1

It runs in a pod with the kubelet's folder device-plugins mounted, and registers again when the kubelet is restarted.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.server import Server

from agentfleet.gpu.messages import Fields, classes

FOLDER = Path("/var/lib/kubelet/device-plugins")
KUBELET = FOLDER / "kubelet.sock"

# k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto
_MESSAGES: Mapping[str, Fields] = {
    "Empty": [],
    "Options": [],
    "RegisterRequest": [(1, "version", "", False), (2, "endpoint", "", False), (3, "resource_name", "", False)],
    "Device": [(1, "id", "", False), (2, "health", "", False)],
    "ListAndWatchResponse": [(1, "devices", "Device", True)],
    "ContainerRequest": [(1, "device_ids", "", True)],
    "AllocateRequest": [(1, "container_requests", "ContainerRequest", True)],
    "ContainerResponse": [],
    "AllocateResponse": [(1, "container_responses", "ContainerResponse", True)],
}
MESSAGES = classes("v1beta1", _MESSAGES)


class DevicePlugin:
    """The service that the kubelet calls."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids

    def __mapping__(self) -> dict[str, Handler]:
        service, unary = "/v1beta1.DevicePlugin/", Cardinality.UNARY_UNARY
        return {
            f"{service}GetDevicePluginOptions": Handler(self._options, unary, MESSAGES["Empty"], MESSAGES["Options"]),
            f"{service}ListAndWatch": Handler(
                self._list, Cardinality.UNARY_STREAM, MESSAGES["Empty"], MESSAGES["ListAndWatchResponse"]
            ),
            f"{service}Allocate": Handler(
                self._allocate, unary, MESSAGES["AllocateRequest"], MESSAGES["AllocateResponse"]
            ),
        }

    async def _options(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(MESSAGES["Options"]())

    async def _list(self, stream: Any) -> None:
        await stream.recv_message()
        devices = [MESSAGES["Device"](id=each, health="Healthy") for each in self._ids]
        await stream.send_message(MESSAGES["ListAndWatchResponse"](devices=devices))
        await asyncio.Event().wait()  # the kubelet takes the end of the stream for the end of the plugin

    async def _allocate(self, stream: Any) -> None:
        request = await stream.recv_message()
        response = MESSAGES["AllocateResponse"]()
        for _ in request.container_requests:
            response.container_responses.add()
        await stream.send_message(response)


async def offer(resource: str, ids: Sequence[str]) -> None:
    """Serve and stay registered until cancelled."""
    endpoint = FOLDER / (resource.replace("/", "-") + ".sock")
    registered = None
    try:
        while True:
            current = KUBELET.stat().st_ino if KUBELET.exists() else None
            if current not in (None, registered):
                # A kubelet that starts removes all sockets from the folder.
                endpoint.unlink(missing_ok=True)
                server = Server([DevicePlugin(ids)])
                await server.start(path=str(endpoint))
                await _register(endpoint.name, resource)
                registered = current
            await asyncio.sleep(0.5)
    finally:
        endpoint.unlink(missing_ok=True)


async def _register(endpoint: str, resource: str) -> None:
    async with Channel(path=str(KUBELET)) as channel:
        register = UnaryUnaryMethod(
            channel, "/v1beta1.Registration/Register", MESSAGES["RegisterRequest"], MESSAGES["Empty"]
        )
        request = MESSAGES["RegisterRequest"](version="v1beta1", endpoint=endpoint, resource_name=resource)
        await register(request, timeout=10)


async def main() -> None:
    """Offer what the arguments name, `RESOURCE=ID,ID …`, until SIGTERM."""
    offers = [argument.partition("=") for argument in sys.argv[1:]]
    work = asyncio.gather(*(offer(resource, ids.split(",")) for resource, _, ids in offers))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    await asyncio.wait({work})
    if not work.cancelled():
        work.result()


if __name__ == "__main__":
    asyncio.run(main())
