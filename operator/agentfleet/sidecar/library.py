"""Keeps an Ollama engine's models in place: pulled, verified, named, loaded. No model waits for another.

Level-based: each round asks Ollama what it has and does the step that is missing (models.next_step), so a model that
is deleted by hand or lost with its volume comes back, and a restarted engine gets its models into memory again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agentfleet.sidecar.engines.base import EngineUnavailable, Health
from agentfleet.sidecar.engines.ollama import Ollama
from agentfleet.sidecar.failures import INTERNAL_ERROR, PULL_FAILED, ModelFailed, retry_delay
from agentfleet.sidecar.models import LoadedModel, ModelState, ModelStatus, Step, full_name, next_step
from agentfleet.sidecar.pull import PullProgress
from agentfleet.sidecar.updates import FAILED, UNCHANGED, UPDATED, pull_again, utc_now
from agentfleet.sidecar.weights import ENGINE_STARTING

log = logging.getLogger(__name__)

RECHECK = 15.0
"""Seconds between two looks at a model that is in place."""


@dataclass(frozen=True, slots=True)
class Served:
    """One `--serve SOURCE=ALIAS`: what to pull, and under which id the OpenAI API serves it."""

    source: str
    alias: str
    category: str | None = None
    """Reported as it is given."""


@dataclass(frozen=True, slots=True)
class LibraryOptions:
    """How models are pulled and held."""

    preload: bool = False
    keep_alive: str | int = "5m"
    insecure_registry: bool = False
    recheck: float = RECHECK


class Library:
    """All models of one Ollama engine."""

    def __init__(
        self,
        engine: Ollama,
        served: Sequence[Served],
        options: LibraryOptions,
        pulled: Callable[[str, int], None],
        updated: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._keepers = [Keeper(engine, one, options, pulled, updated) for one in served]

    @property
    def keepers(self) -> Sequence["Keeper"]:
        """One for each model."""
        return self._keepers

    def statuses(self) -> list[ModelStatus]:
        """The models as they are now."""
        return [keeper.status for keeper in self._keepers]

    async def tick(self, health: Health) -> None:
        """Notices a lost engine at once: the next recheck is too far away."""
        if health is not Health.SERVING:
            for keeper in self._keepers:
                keeper.engine_lost()

    def engine_restarted(self) -> None:
        """Brings everything back into memory."""
        for keeper in self._keepers:
            keeper.engine_restarted()

    async def loaded(self) -> list[LoadedModel] | None:
        """The models in Ollama's memory; None while it does not answer."""
        try:
            return await self._engine.loaded()
        except EngineUnavailable:
            return None

    async def run(self) -> None:
        """Keeps all models until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for keeper in self._keepers:
                tasks.create_task(keeper.run())


class Keeper:
    """Keeps one model in place."""

    def __init__(
        self,
        engine: Ollama,
        served: Served,
        options: LibraryOptions,
        pulled: Callable[[str, int], None],
        updated: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._served = served
        self._options = options
        self._pulled = pulled
        self._updated = updated
        self._wake = asyncio.Event()
        self._verified: str | None = None
        self._preloaded = False
        self._failures = 0
        self._update_due = False
        self._notice: str | None = None
        self.status = ModelStatus(served.alias, reason=ENGINE_STARTING, category=served.category)

    def request_update(self) -> None:
        """Looks for a newer model of the same name, once this one is in place."""
        self._update_due = True
        self._wake.set()

    def engine_lost(self) -> None:
        """A model is not ready where nobody serves it; looks again at once, and then until the engine is back."""
        if self.status.state is ModelState.READY:
            self.status = self.status.to(ModelState.PENDING, reason="EngineUnavailable")
            self._wake.set()

    def engine_restarted(self) -> None:
        """Whatever was in memory is not any more."""
        self._preloaded = False
        if self.status.state is ModelState.READY and self._options.preload:
            self.status = self.status.to(ModelState.LOADING, reason="EngineRestarted")
        self._wake.set()

    async def run(self) -> None:
        """Brings the model into place, and again whenever it is not."""
        while True:
            delay = await self._round()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay)
            self._wake.clear()

    async def _round(self) -> float:
        """One attempt; returns the seconds until the next."""
        try:
            await self._converge()
            if self._update_due:
                self._update_due = False
                await self._update()
        except EngineUnavailable as error:
            # The engine's own failure: kubelet restarts it, and nothing is wrong with the model.
            self.status = self.status.to(
                ModelState.PENDING,
                progress_percent=self.status.progress_percent,
                reason="EngineUnavailable",
                message=str(error),
            )
            return retry_delay("EngineUnavailable", 1)
        except ModelFailed as failure:
            self._failures += 1
            delay = retry_delay(failure.reason, self._failures)
            self.status = self.status.failed(failure)
            log.warning("model %s: %s; next try in %.0f s", self._served.source, failure, delay)
            return delay
        except Exception:
            # A bug. The process must outlive it: a drain in progress would end with it, and requests be cut.
            log.exception("model %s", self._served.source)
            self.status = self.status.failed(ModelFailed(INTERNAL_ERROR, "see the sidecar's log; this is a bug"))
            return retry_delay(INTERNAL_ERROR, 6)
        self._failures = 0
        return self._options.recheck

    async def _converge(self) -> None:
        """Steps until none is missing. Each step is checked by looking again, not by trusting its answer."""
        done: set[Step] = set()
        while (step := await self._missing()) is not Step.NOTHING:
            if step in done:
                raise ModelFailed(PULL_FAILED, f"{step} succeeded, but Ollama does not show its result in /api/tags")
            done.add(step)
            await self._take(step)
        if self.status.state is not ModelState.READY:
            log.info("model %s is ready as %s, digest %s", self._served.source, self._served.alias, self._verified)
        self.status = self.status.to(ModelState.READY, message=self._notice)

    async def _update(self) -> None:
        """Ready all the while: the model that is there serves, and when this fails it goes on to."""
        try:
            moved = await pull_again(
                self._engine,
                self._served.source,
                self._served.alias,
                insecure=self._options.insecure_registry,
                pulled=self._pulled,
            )
        except (ModelFailed, EngineUnavailable) as error:
            self._notice = f"the last update failed, the earlier model serves: {error}"
            log.warning("model %s: %s", self._served.source, self._notice)
            self._updated(FAILED)
        else:
            self._notice = None
            self._updated(UPDATED if moved else UNCHANGED)
            if moved:
                await self._moved()
        self.status = replace(self.status, message=self._notice)

    async def _moved(self) -> None:
        self._preloaded = False
        await self._missing()
        updated_at = utc_now().isoformat(timespec="seconds").replace("+00:00", "Z")
        self.status = replace(self.status, updated_at=updated_at)
        log.info("model %s is updated to digest %s", self._served.source, self._verified)
        if self._options.preload:
            await self._engine.preload(self._served.alias, self._options.keep_alive)
            self._preloaded = True

    async def _missing(self) -> Step:
        tags = await self._engine.tags()
        source, alias = full_name(self._served.source), full_name(self._served.alias)
        digests = {name: digest for name, (digest, _) in tags.items()}
        step = next_step(
            digests,
            source=source,
            alias=alias,
            verified=self._verified,
            preload=self._options.preload,
            preloaded=self._preloaded,
        )
        if step is not Step.PULL and (found := tags.get(source) or tags.get(alias)):
            self._verified = found[0]
            self.status = replace(self.status, reason=None, message=None, digest=found[0], size=found[1])
        return step

    async def _take(self, step: Step) -> None:
        match step:
            case Step.PULL:
                await self._pull()
            case Step.COPY:
                self.status = self.status.to(ModelState.VERIFYING, progress_percent=100)
                await self._engine.copy(full_name(self._served.source), self._served.alias)
            case Step.PRELOAD:
                self.status = self.status.to(ModelState.LOADING, progress_percent=100)
                await self._engine.preload(self._served.alias, self._options.keep_alive)
                self._preloaded = True

    async def _pull(self) -> None:
        progress = PullProgress()
        self.status = self.status.to(ModelState.DOWNLOADING, progress_percent=0)
        async for event in self._engine.pull(self._served.source, insecure=self._options.insecure_registry):
            self._pulled(self._served.alias, progress.feed(event))
            state = ModelState.VERIFYING if progress.verifying else ModelState.DOWNLOADING
            self.status = self.status.to(state, progress_percent=progress.percent)
        self._preloaded = False
        if not progress.succeeded:
            raise ModelFailed(PULL_FAILED, f"the pull of {self._served.source} ended without success")
