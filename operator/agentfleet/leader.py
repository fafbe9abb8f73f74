"""The Lease gate: of several replicas one works, and it stops before another can start.

Every change of the Lease is a write with the resourceVersion that was read, so two replicas cannot both win. A
follower judges a leader by its own monotonic clock: how long has the Lease not changed? Wall-clock times are written
for humans only. Losing the Lease ends the work and the process; nothing is resumed after a doubt.
"""

import asyncio
import logging
import math
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from agentfleet.errors import AgentfleetError, Conflict, InvalidSpec, Transient
from agentfleet.objects import Manifest

logger = logging.getLogger(__name__)

_RELEASE_TIMEOUT = 3.0
_SHORTEST_PAUSE = 0.5


class LeadershipLost(AgentfleetError):
    """Another replica leads, or may by now: stop at once."""


class LeaseClient(Protocol):
    """The two calls that the gate needs; errors as in cluster.Cluster."""

    async def read_lease(self, namespace: str, name: str) -> Manifest | None:
        """The Lease, None where absent."""

    async def write_lease(self, lease: Manifest) -> Manifest:
        """Create it, or replace the one with its resourceVersion; Conflict where somebody was faster."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Where the Lease is and its times in seconds: interval < renew_deadline < duration."""

    namespace: str
    name: str
    duration: float
    renew_deadline: float
    interval: float

    def __post_init__(self) -> None:
        if not 0 < self.interval < self.renew_deadline < self.duration:
            raise InvalidSpec(
                "InvalidSettings",
                f"renew_interval={self.interval} < renew_deadline={self.renew_deadline} < "
                f"lease_duration={self.duration} must hold; change the AGENTFLEET_ variables of these names",
            )


class LeaseGate:
    """`run` waits for the Lease, holds it while the work runs, and hands it on at a clean end."""

    def __init__(
        self,
        client: LeaseClient,
        terms: Terms,
        *,
        pod_name: str,
        stop: asyncio.Event,
        clock: Callable[[], float] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_change: Callable[[bool], object] = lambda leading: None,
    ) -> None:
        """`stop` ends the waiting of a follower; the work of a leader has to end by itself."""
        self._client = client
        self._terms = terms
        self._pod_name = pod_name
        # two processes by the same name, such as two runs from a shell, must still not both lead
        self._identity = f"{pod_name}_{secrets.token_hex(4)}"
        self._stop = stop
        self._clock = clock or asyncio.get_running_loop().time
        self._now = now
        self._on_change = on_change
        self._lease: Manifest = {}
        self._renewed = 0.0
        self._seen: Manifest | None = None
        self._seen_at = 0.0
        self.problem: str | None = None
        """Why the last attempt to ask for the Lease failed; None where it is held by somebody, or by us."""

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` as the only one; LeadershipLost where the Lease went meanwhile.

        What `work` raises is raised at once. Returns without having worked where `stop` is set first.
        """
        while not self._stop.is_set():
            if await self._acquire():
                await self._lead(work)
                return
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._terms.interval):
                await self._stop.wait()
        except TimeoutError:
            return

    # --- following -----------------------------------------------------------------------------------------------

    async def _acquire(self) -> bool:
        """Take the Lease where it is free; False where it is held, or nobody can say."""
        started = self._clock()
        problem, self.problem = self.problem, None
        try:
            async with asyncio.timeout(self._terms.renew_deadline):
                lease = await self._client.read_lease(self._terms.namespace, self._terms.name)
                if lease is not None and not self._is_free(lease.get("spec") or {}):
                    return False
                self._lease = await self._client.write_lease(self._taken(lease))
        except Conflict:
            return False
        except (Transient, TimeoutError) as error:
            self.problem = f"cannot ask for the Lease {self._terms.name}: {str(error) or 'timed out'}"
            if self.problem != problem:
                logger.warning("%s; trying again", self.problem)
            return False
        self._renewed = started
        return True

    def _is_free(self, spec: Manifest) -> bool:
        if spec != self._seen:
            if self._holder(spec) != self._holder(self._seen or {}):
                logger.info("the Lease %s is held by %s", self._terms.name, self._holder(spec) or "nobody")
            self._seen, self._seen_at = spec, self._clock()
        holder = self._holder(spec)
        # a container of the same pod that came before this one is dead: kubelet starts the next only then
        if not holder or holder.rpartition("_")[0] == self._pod_name:
            return True
        duration = float(spec.get("leaseDurationSeconds") or self._terms.duration)
        return self._clock() - self._seen_at >= duration

    @staticmethod
    def _holder(spec: Manifest) -> str:
        return spec.get("holderIdentity") or ""

    def _taken(self, lease: Manifest | None) -> Manifest:
        old: dict[str, Any] = (lease.get("spec") if lease else None) or {}
        now = _micro_time(self._now())
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._terms.duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": (old.get("leaseTransitions") or 0) + 1 if lease else 0,
        }
        return self._with_spec(lease, {**old, **spec})

    def _with_spec(self, lease: Manifest | None, spec: Manifest) -> Manifest:
        metadata = lease["metadata"] if lease else {"namespace": self._terms.namespace, "name": self._terms.name}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}

    # --- leading -------------------------------------------------------------------------------------------------

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        logger.info("leading as %s", self._identity)
        self._on_change(True)
        working = asyncio.ensure_future(work())
        renewing = asyncio.create_task(self._renew(), name="lease")
        try:
            await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # first the work ends, then the Lease: never the other way round
            await _cancel(working)
            await _cancel(renewing)
            self._on_change(False)
            if not _lost(renewing):
                await self._release()
        if _lost(renewing):
            renewing.result()
        if working.cancelled():
            raise LeadershipLost("the work or the renewal was cancelled from outside")
        working.result()

    async def _renew(self) -> None:
        """Renew for ever; LeadershipLost at the deadline, or once another holder is seen."""
        pause = self._terms.interval
        while True:
            await asyncio.sleep(min(pause, max(0.0, self._remaining())))
            remaining = self._remaining()
            if remaining <= 0:
                raise LeadershipLost(
                    f"the Lease {self._terms.name} could not be renewed for {self._terms.renew_deadline:.0f} s"
                )
            started = self._clock()
            try:
                # half of what remains, so that a request which hangs leaves time for another one
                async with asyncio.timeout(max(remaining / 2, 0.1)):
                    await self._renew_once()
            except (Transient, InvalidSpec, TimeoutError) as error:
                # the closer the deadline, the more often
                pause = min(self._terms.interval, max(self._remaining() / 2, _SHORTEST_PAUSE))
                # InvalidSpec: an API server that has just started denies what it will grant in a second
                logger.warning("the Lease is not renewed, %.1f s left: %s", remaining, str(error) or "timed out")
            else:
                self._renewed = started
                pause = self._terms.interval

    def _remaining(self) -> float:
        return self._renewed + self._terms.renew_deadline - self._clock()

    async def _renew_once(self) -> None:
        spec = {**self._lease["spec"], "renewTime": _micro_time(self._now())}
        try:
            self._lease = await self._client.write_lease(self._with_spec(self._lease, spec))
        except Conflict:
            # somebody else's write, or our own whose answer was lost; a lost answer is no reason to stop
            lease = await self._client.read_lease(self._terms.namespace, self._terms.name)
            holder = self._holder(lease["spec"]) if lease else ""
            if lease is None or holder != self._identity:
                raise LeadershipLost(f"the Lease {self._terms.name} is held by {holder or 'nobody'}") from None
            self._lease = lease
            raise

    async def _release(self) -> None:
        """Let the next replica start at once; where that fails it starts after the lease duration."""
        try:
            async with asyncio.timeout(_RELEASE_TIMEOUT):
                try:
                    await self._write_release()
                except Conflict:
                    # a renewal that the end cut off may have been written all the same
                    lease = await self._client.read_lease(self._terms.namespace, self._terms.name)
                    if lease is None or self._holder(lease["spec"]) != self._identity:
                        logger.info("the Lease %s is another's already", self._terms.name)
                        return
                    self._lease = lease
                    await self._write_release()
        except (Transient, InvalidSpec, TimeoutError) as error:
            logger.warning("the Lease is not released: %s", str(error) or "timed out")
        else:
            logger.info("released the Lease %s", self._terms.name)

    async def _write_release(self) -> None:
        spec = {
            **self._lease["spec"],
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "renewTime": _micro_time(self._now()),
        }
        await self._client.write_lease(self._with_spec(self._lease, spec))


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _lost(task: asyncio.Future[None]) -> bool:
    return not task.cancelled() and task.exception() is not None


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
