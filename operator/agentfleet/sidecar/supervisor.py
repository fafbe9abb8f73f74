"""The sidecar's own loop: looks at the engine every two seconds and says whether the pod may serve."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from agentfleet.errors import Transient
from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.engines.base import Engine, Health
from agentfleet.sidecar.models import LoadedModel, ModelState, ModelStatus
from agentfleet.sidecar.network import Network

log = logging.getLogger(__name__)

INTERVAL = 2.0
STALLED_AFTER = 30.0
"""A loop that has not come round for this long is dead. One round takes at most the timeouts of three requests."""


class Models(Protocol):
    """What an engine serves: weights.Weights or library.Library."""

    def statuses(self) -> list[ModelStatus]:
        """Every model, as known now."""

    async def tick(self, health: Health) -> None:
        """Called with the engine's health on every round."""

    def engine_restarted(self) -> None:
        """Another process serves now: what the last one had in memory is gone."""

    async def run(self) -> None:
        """Work of its own beside the rounds; may return at once."""

    async def loaded(self) -> list[LoadedModel] | None:
        """The models in the engine's memory; None where the engine has no such list or does not answer."""


@dataclass(frozen=True, slots=True)
class Status:
    """The engine and its models at one moment."""

    engine: str
    version: str | None
    health: Health
    models: tuple[ModelStatus, ...]

    @property
    def ready(self) -> bool:
        """True when the engine serves, the first model (model.uri) is in place, and the others are or have failed.

        One that cannot be had must not keep the pod from serving the others.
        """
        if self.health is not Health.SERVING or self.models[0].state is not ModelState.READY:
            return False
        return all(model.settled for model in self.models)

    def as_json(self, in_flight: int | None) -> dict[str, Any]:
        """The contract of /status."""
        return {
            "engine": self.engine,
            "engineVersion": self.version,
            "ready": self.ready,
            "models": [model.as_json() for model in self.models],
            "inFlight": in_flight,
        }


class Supervisor:
    """Follows one engine."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        models: Models,
        network: Network,
        companions: Sequence[Companion] = (),
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._engine = engine
        self._models = models
        self._network = network
        self._companions = companions
        self._interval = interval
        self._clock = clock
        self._health = Health.UNREACHABLE
        self._incarnation: frozenset[int] = frozenset()
        self._version: str | None = None
        self._last_round = clock()

    def status(self) -> Status:
        """As of the last round; the models as of now."""
        models = self._models.statuses()
        for companion in self._companions:
            models = companion.overlay(models)
        return Status(self._name, self._version, self._health, tuple(models))

    def alive(self) -> bool:
        """False when the loop hangs: only a restart helps then."""
        return self._clock() - self._last_round < STALLED_AFTER

    async def run(self) -> None:
        """Rounds until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._models.run())
            for companion in self._companions:
                tasks.create_task(companion.run())
            while True:
                await self.round()
                await asyncio.sleep(self._interval)

    async def round(self) -> None:
        """One look at the engine."""
        health = await self._engine.health()
        if health is not self._health:
            log.info("engine is %s, was %s", health, self._health)
        restarted = health is Health.SERVING and await self._is_another_process()
        if restarted:
            self._models.engine_restarted()
            for companion in self._companions:
                companion.engine_restarted()
        if restarted or (health is Health.SERVING and self._health is not Health.SERVING):
            # Another process may be another version: a new image comes with a new pod, but a wrapper may update.
            self._version = await self._read_version()
        self._health = health
        await self._models.tick(health)
        statuses = self._models.statuses()
        for companion in self._companions:
            companion.tick(health, statuses)
        self._last_round = self._clock()

    async def _is_another_process(self) -> bool:
        """True when the engine was restarted, also where it was never seen down."""
        try:
            incarnation = await self._network.incarnation()
        except (OSError, ValueError) as error:
            log.warning("cannot tell whether the engine was restarted: %s", error)
            return False
        if not incarnation or incarnation == self._incarnation:
            return False
        known, self._incarnation = bool(self._incarnation), incarnation
        if known:
            log.warning("the engine was restarted")
        return known

    async def _read_version(self) -> str | None:
        try:
            return await self._engine.version()
        except (Transient, httpx.HTTPError, OSError, ValueError) as error:
            log.warning("the engine does not tell its version: %s", error)
            return None
