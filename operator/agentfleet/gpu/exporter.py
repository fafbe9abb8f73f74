"""Looks at the GPUs again and again, and keeps the last look: a scrape waits for no driver."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from agentfleet.gpu.holders import Assignment, KubeletSilent, holders
from agentfleet.gpu.page import View, page
from agentfleet.gpu.readings import Device, GpuSource, Holder, Look

log = logging.getLogger(__name__)

TRUSTED_FOR = 3
"""Intervals after which a look counts as none; 15 s at least."""

NEW_CONTAINER_AFTER = 600.0
"""Seconds of a failure that only a new container can end, after which /healthz fails so that the kubelet makes one.
Long: on a node where nothing helps, such as one without a driver, a restart now and then is all that this costs."""

Assignments = Callable[[], Awaitable[tuple[Assignment, ...]]]
"""Asks the kubelet; KubeletSilent where it does not answer."""


class Exporter:
    """The last look, and what went wrong since the process began."""

    def __init__(
        self,
        source: GpuSource,
        assignments: Assignments,
        *,
        interval: float,
        node: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._assignments = assignments
        self._interval = interval
        self._node = node
        self._clock = clock
        self._began = clock()
        self._look: Look | None = None
        self._assigned: tuple[Assignment, ...] | None = None
        self._kubelet_problem: str | None = None
        self._errors: Counter[tuple[str, str]] = Counter()
        self._lost_since: float | None = None
        self._told: tuple[str, ...] = ()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval)

    async def look(self) -> None:
        """One look at GPUs and kubelet."""
        look, _ = await asyncio.gather(self._source.look(), self._ask_kubelet())
        self._look = look
        self._errors.update((failure.call, failure.error) for failure in look.failures)
        if not look.needs_new_container:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = look.at
        self._tell()

    async def _ask_kubelet(self) -> None:
        try:
            self._assigned, self._kubelet_problem = await self._assignments(), None
        except KubeletSilent as error:
            self._assigned, self._kubelet_problem = None, str(error)
            self._errors["pod-resources", "no answer"] += 1

    def page(self) -> bytes:
        """The page of metrics; of a look that is too old only its age."""
        look, age = self._look, self._age()
        fresh = look is not None and age is not None and age <= self._trusted
        readings = look.readings if look is not None and fresh else ()
        return page(
            View(
                node=self._node,
                source=look.source if look else "nvml",
                up=fresh and look is not None and look.answered,
                age=age,
                driver=look.driver if look else "",
                readings=readings,
                holders=self._holders(look) if look else {},
                pod_resources_up=self._assigned is not None,
                errors=self._errors,
                xids=look.xids if look else {},
            )
        )

    def problems(self) -> list[str]:
        """What is wrong now, for humans."""
        found = list(self._look.problems) if self._look else []
        if (silent := self._silent()) > self._trusted:
            found.insert(0, f"the driver has not answered for {silent:.0f} s")
        if self._kubelet_problem is not None:
            found.append(f"which pod holds which GPU is not known: {self._kubelet_problem}")
        return found

    def alive(self) -> bool:
        """False where only a container made anew can help."""
        lost = 0.0 if self._lost_since is None else self._clock() - self._lost_since
        return max(lost, self._silent()) < NEW_CONTAINER_AFTER

    @property
    def _trusted(self) -> float:
        return max(15.0, TRUSTED_FOR * self._interval)

    def _age(self) -> float | None:
        return None if self._look is None else max(0.0, self._clock() - self._look.at)

    def _silent(self) -> float:
        """Seconds since a look came back, whatever it said."""
        age = self._age()
        return self._clock() - self._began if age is None else age

    def _holders(self, look: Look) -> Mapping[Device, tuple[Holder, ...]]:
        """By the kubelet's word, which is new; by DCGM's where it is the only one.

        DCGM names a MIG device by its GPU and instance, the kubelet by a UUID that DCGM does not tell.
        """
        told = {reading.device: reading.holders for reading in look.readings if reading.holders}
        if self._assigned is None:
            return told
        asked = holders((reading.device for reading in look.readings), self._assigned)
        if look.source == "nvml":
            return asked
        return dict(asked) | {device: held for device, held in told.items() if device.profile}

    def _tell(self) -> None:
        """Into the log goes what changed."""
        problems = tuple(self.problems())
        for problem in problems:
            if problem not in self._told:
                log.warning("%s", problem)
        if self._told and not problems:
            log.info("all is well again")
        self._told = problems
