"""A local port that leads to a pod, by `kubectl port-forward`.

The tunnel goes through API server and kubelet into the pod's own network, so neither a route to the pods nor a hole in
a NetworkPolicy is needed. A plugin of kubectl may count on kubectl.
"""

import asyncio
import re
from asyncio import StreamReader
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from agentfleet.errors import AgentfleetError

_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")
_PATIENCE = 20.0


class NoTunnel(AgentfleetError):
    """kubectl is absent, or could not reach the pod."""


@asynccontextmanager
async def forwarded(
    namespace: str, pod: str, port: int, *, kubeconfig: str | None, context: str | None
) -> AsyncIterator[str]:
    """`host:port` on this machine for the time of the block."""
    argv = ["kubectl", "port-forward", "--address=127.0.0.1", f"--namespace={namespace}"]
    argv += [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    argv += [f"--context={context}"] if context else []
    try:
        process = await asyncio.create_subprocess_exec(*argv, f"pod/{pod}", f":{port}", stdout=PIPE, stderr=STDOUT)
    except FileNotFoundError as error:
        raise NoTunnel("kubectl is not in PATH; install it, or name an address with --url") from error
    # it says a line for each connection: somebody has to read them, or it would block
    saying: asyncio.Task[object] | None = None
    try:
        local_port = await _local_port(process, pod)
        saying = asyncio.create_task(process.communicate())
        yield f"127.0.0.1:{local_port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await (saying or process.communicate())


async def _local_port(process: Process, pod: str) -> str:
    said = ""
    try:
        async with asyncio.timeout(_PATIENCE):
            async for line in cast(StreamReader, process.stdout):
                found = _FORWARDING.match(line)
                if found:
                    return found[1].decode()
                said = line.decode(errors="replace").strip() or said
    except TimeoutError as error:
        raise NoTunnel(f"kubectl port-forward to {pod} does not get through within {_PATIENCE:.0f} s") from error
    raise NoTunnel(f"kubectl port-forward to {pod} fails: {said}")
