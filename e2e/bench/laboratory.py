"""What ``reconcile.py`` measures with: a namespace, a fleet in it, and the moment at which all of it is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agentfleet.kubecluster import path_of
from agentfleet.objects import KINDS
from agentfleet.resources.crd import DEFINITIONS, crd
from e2e.bench import client as bare
from e2e.bench.audit import AuditLog, Write
from e2e.bench.client import Client
from e2e.bench.control_plane import ControlPlane
from e2e.bench.fleet import Member, Request, Target, fleet
from e2e.bench.meter import Meter
from e2e.bench.operator_process import OPERATOR, Operator
from e2e.bench.waiting import until
from e2e.cluster.errors import ClusterError

BARE = "bench"
"""User name of the bare client, which also creates the operator's ModelServers."""

_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_WRITTEN_KINDS = ("ModelServer", "Deployment", "NetworkPolicy", "Service")
_QUIET_WRITES = 4
"""Writes to etcd in a second that are no more than Leases."""

_QUIET_CPU = 0.15
"""CPU seconds in a second that are no more than housekeeping."""


@dataclass(frozen=True)
class Converged:
    """How long it took until N ModelServers had their children and status, and what it cost."""

    seconds: float
    meter: Meter

    @property
    def cpu(self) -> float:
        """CPU seconds of all that took part."""
        return self.meter.writer_cpu + self.meter.plane_cpu


@dataclass(frozen=True)
class Snapshot:
    """A namespace at one moment."""

    namespace: str
    writes: int
    """How often the operator had written in it."""
    versions: dict[Target, str]
    """The resourceVersion of each ModelServer and child."""


class Laboratory:
    """One control plane, and who writes to it."""

    def __init__(self, plane: ControlPlane, client: Client) -> None:
        self.plane = plane
        self.client = client
        self.audit = AuditLog(plane.audit_log)

    async def install_crds(self) -> None:
        """Create the CRDs, and wait until they are served."""
        for definition in DEFINITIONS:
            body = crd(definition)
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            await self.client.create(Request(path, json.dumps(body).encode(), ("customresourcedefinitions", "")))
            name = body["metadata"]["name"]

            async def established(path: str = f"{path}/{name}") -> bool:
                conditions = (await self.client.get(path))["status"]["conditions"] or ()
                return any((c["type"], c["status"]) == ("Established", "True") for c in conditions)

            await until(established, f"CRD {name} is established", timeout=30, interval=0.1)

    async def namespace(self, name: str) -> str:
        """Create a namespace."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.client.create(Request("/api/v1/namespaces", json.dumps(body).encode(), ("namespaces", name)))
        return name

    async def by_bare_client(self, name: str, count: int) -> Converged:
        """Create ``count`` ModelServers in a new namespace, and all that belongs to them; then clear it away."""
        namespace = await self.namespace(name)
        await bare.converge(self.client, fleet(namespace, 1, _now(), prefix="warm-up"))
        members = fleet(namespace, count, _now())
        meter = Meter(self.plane, None)
        await bare.converge(self.client, members)
        meter.stop()
        result = await self._converged(namespace, BARE, members, meter)
        await self.clear(namespace)
        return result

    async def by_operator(self, operator: Operator, namespace: str, count: int) -> Converged:
        """Create ``count`` ModelServers in the namespace that ``operator`` serves, and wait for all of them."""
        await self.create_one(namespace, "warm-up")
        members = fleet(namespace, count, _now())
        meter = Meter(self.plane, operator.process)
        await bare.create(self.client, members)
        await self.wait_written(namespace, members)
        meter.stop()
        return await self._converged(namespace, OPERATOR, members, meter)

    async def clear(self, namespace: str) -> None:
        """Delete all that was written in ``namespace``, so that what comes next finds an empty API server."""
        for kind in _WRITTEN_KINDS:
            await self.client.delete(path_of(KINDS[kind], namespace))

    async def create_one(self, namespace: str, prefix: str) -> float:
        """Create one ModelServer, wait for all of it; seconds from the arrival of the create to its Deployment."""
        (member,) = members = fleet(namespace, 1, _now(), prefix)
        await bare.create(self.client, members)
        await self.wait_written(namespace, members, interval=0.01)
        created = self.audit.first(BARE, namespace)[member.create.target]
        written = self.audit.first(OPERATOR, namespace)
        deployment = next(written[target] for target in _targets(members) if target[0] == "deployments")
        return deployment.completed - created.received

    async def wait_written(self, namespace: str, members: Sequence[Member], interval: float = 0.2) -> None:
        """Wait until the operator has written each child and each status of ``members``."""
        missing = _targets(members)
        what = f"{len(missing)} children and status in {namespace} are written"

        async def written() -> bool:
            self.plane.expect_running()
            done = self.audit.first(OPERATOR, namespace)
            missing.difference_update([target for target in missing if target in done])
            return not missing

        def first_missing() -> str:
            # Another revision in its place: the operator's code has changed since this process was started.
            return f"; {len(missing)} are missing, such as {' '.join(min(missing))}"

        await until(written, what, timeout=60 + len(members) / 5, interval=interval, hint=first_missing)

    async def wait_quiet(self) -> None:
        """Wait until the control plane has caught up: it writes hardly anything any more, and computes little."""
        state = await self._activity()

        async def quiet() -> bool:
            nonlocal state
            await asyncio.sleep(1)
            (revision, cpu), state = state, await self._activity()
            return state[0] - revision <= _QUIET_WRITES and state[1] - cpu <= _QUIET_CPU

        await until(quiet, "the control plane is quiet", timeout=300, interval=0)

    async def snapshot(self, namespace: str) -> Snapshot:
        """What there is now, to be compared with what there is later."""
        return Snapshot(namespace, len(self.writes(namespace)), await self._versions(namespace))

    async def since(self, before: Snapshot) -> tuple[int, int]:
        """The operator's writes since ``before``, and at most how many of them changed nothing."""
        after = await self._versions(before.namespace)
        writes = len(self.writes(before.namespace)) - before.writes
        changed = sum(before.versions.get(target) != version for target, version in after.items())
        return writes, max(0, writes - changed)

    def writes(self, namespace: str) -> list[Write]:
        """The operator's writes in ``namespace`` so far; its Lease is elsewhere."""
        return self.audit.writes(OPERATOR, namespace)

    async def _versions(self, namespace: str) -> dict[Target, str]:
        found = {}
        for kind in (KINDS[name] for name in _WRITTEN_KINDS):
            for item in (await self.client.get(path_of(kind, namespace), _METADATA))["items"]:
                found[kind.plural, item["metadata"]["name"]] = item["metadata"]["resourceVersion"]
        return found

    async def _converged(self, namespace: str, writer: str, members: Sequence[Member], meter: Meter) -> Converged:
        await self._check(namespace, members)
        creates = self.audit.first(BARE, namespace)
        writes = self.audit.first(writer, namespace)
        end = max(writes[target].completed for target in _targets(members))
        start = min(creates[member.create.target].received for member in members)
        return Converged(end - start, meter)

    async def _check(self, namespace: str, members: Sequence[Member]) -> None:
        """Look at the objects themselves: all children are there, and each ModelServer says that it is converged."""
        there = (await self._versions(namespace)).keys()
        missing = {target for target in _targets(members) if "/" not in target[0]} - there
        names = {member.name for member in members}
        servers = (await self.client.get(path_of(KINDS["ModelServer"], namespace)))["items"]
        behind = {item["metadata"]["name"] for item in servers if item["status"].get("observedGeneration") != 1} & names
        if missing or behind:
            raise ClusterError(
                f"{namespace} is not what the writes promised: {len(missing)} children are missing, "
                f"{len(behind)} status are out of date, such as {min(missing, default=None) or min(behind)}"
            )

    async def _activity(self) -> tuple[int, float]:
        """Writes to etcd by anybody, and CPU seconds of the control plane, so far."""
        answer = await self.client.get("/api/v1/namespaces?limit=1")
        return int(answer["metadata"]["resourceVersion"]), self.plane.cpu_seconds


def _targets(members: Sequence[Member]) -> set[Target]:
    return {request.target for member in members for request in member.applies}


def _now() -> datetime:
    return datetime.now(UTC)
