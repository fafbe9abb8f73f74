"""The operator as a user would run it from a shell: one process with a kubeconfig, of this very working tree."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from agentfleet.settings import PREFIX
from e2e.bench.control_plane import ControlPlane
from e2e.bench.process import Process, running
from e2e.bench.waiting import until
from e2e.cluster.errors import ClusterError
from e2e.support.ports import free_ports

OPERATOR = "system:serviceaccount:agentfleet-system:agentfleet"
"""Its user name, as in a cluster."""

NAMESPACE = "agentfleet-system"


class Operator:
    """A running operator."""

    def __init__(self, process: Process, port: int, session: aiohttp.ClientSession) -> None:
        self.process = process
        self._address = f"http://127.0.0.1:{port}"
        self._session = session

    async def wait_warm(self) -> None:
        """Wait until it leads and its cache holds what exists."""
        await until(self._warm, "the operator leads with a warm cache", timeout=90, interval=0.1)

    async def wait_idle(self) -> None:
        """Wait until nothing that is due waits for a worker."""
        await until(self._idle, "the operator's queue is empty", timeout=120, interval=0.25)

    async def wait_reconciled(self, count: int) -> None:
        """Wait until it has done at least ``count`` reconciles, and none waits."""

        async def done() -> bool:
            return sum((await self._samples("agentfleet_reconciles_total")).values()) >= count

        await until(done, f"the operator has looked at {count} objects", timeout=120, interval=0.1)
        await self.wait_idle()

    async def _idle(self) -> bool:
        depth = await self._samples("agentfleet_queue_depth")
        return not any(depth.values())

    async def _warm(self) -> bool:
        self.process.expect_running()
        try:
            async with self._session.get(self._address + "/readyz") as response:
                state = await response.json()
        except aiohttp.ClientConnectorError:
            return False
        return response.status == 200 and state["role"] == "leader"

    async def _samples(self, name: str) -> dict[str, float]:
        self.process.expect_running()
        async with self._session.get(self._address + "/metrics") as response:
            text = await response.text()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {str(sample.labels): sample.value for sample in samples if sample.name == name}


@asynccontextmanager
async def operator(plane: ControlPlane, namespace: str) -> AsyncIterator[Operator]:
    """Run an operator that serves ``namespace``, and wait until it is warm."""
    (port,) = free_ports(1)
    # Settings of the shell around must not change what is measured.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {
        "KUBECONFIG": str(plane.kubeconfig(OPERATOR)),
        "AGENTFLEET_NAMESPACE": NAMESPACE,
        "AGENTFLEET_POD_NAME": "bench",  # the next process of this name takes the Lease at once, as in a pod
        "AGENTFLEET_WATCH_NAMESPACES": namespace,
        "AGENTFLEET_HTTP_PORT": str(port),
    }
    argv = [sys.executable, "-m", "agentfleet", "operator"]
    with running("operator", argv, plane.folder, environment) as process:
        async with aiohttp.ClientSession(trust_env=False) as session:
            found = Operator(process, port, session)
            try:
                await found.wait_warm()
                yield found
            except ClusterError as error:
                raise ClusterError(f"{error}. The operator's log ends: {process.log_tail()}") from error
