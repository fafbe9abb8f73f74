"""Asks the models in an idle Ollama engine for a few tokens, every half minute: the only way to see its speed.

It must be in nobody's way. Nothing is asked while a request is in flight, nor of a model that was used within the last
interval: Ollama serves one request at a time by default, and keeps the prompt of the last conversation, which a probe
pushes out. Nothing is loaded for a probe. A model that has to go when it is idle is asked once after each use, since
every answer puts off its end.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.engines.base import EngineUnavailable, Sampler
from agentfleet.sidecar.engines.ollama import Generation, Ollama

log = logging.getLogger(__name__)

INTERVAL = 30.0
KEPT = 100
TOKENS = 8
TIMEOUT = 10.0
"""Seconds; then the request is dropped, which ends it: somebody else may want the engine."""


@dataclass(slots=True)
class Probes:
    """The last probes of one model."""

    last: deque[Generation | None] = field(default_factory=lambda: deque(maxlen=KEPT))
    """None for one that failed."""
    succeeded_at: float | None = None
    """When the last one succeeded, in seconds since 1970."""

    @property
    def current(self) -> Generation | None:
        """What the very last one found: an older one is no news."""
        return self.last[-1] if self.last else None


@dataclass(slots=True)
class _Use:
    """What Ollama said about one model in memory: its end moves with every use."""

    expires_at: str
    ours: bool = False
    """The last use was a probe."""


class SpeedProbe(Companion):
    """Probes one engine. `once` where models have to go when they are idle."""

    def __init__(
        self,
        engine: Ollama,
        sampler: Sampler,
        *,
        once: bool,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._sampler = sampler
        self._once = once
        self._interval = interval
        self._clock = clock
        self._uses: dict[str, _Use] = {}
        self._probes: dict[str, Probes] = {}
        self._mute: set[str] = set()
        """Models that generate nothing: embeddings."""

    @property
    def probes(self) -> Mapping[str, Probes]:
        """Of each model in memory that was probed, by full name."""
        return self._probes

    def engine_restarted(self) -> None:
        """What the last process did says nothing about this one."""
        self._uses.clear()
        self._probes.clear()
        self._mute.clear()

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.round()
            except EngineUnavailable as error:
                log.debug("speed: %s", error)
            except Exception:
                # A bug. The process must outlive it: a drain in progress would end with it, and requests be cut.
                log.exception("speed")

    async def round(self) -> None:
        """One look at what is in memory, and a probe of what nobody uses."""
        loaded = {model.name: model.expires_at for model in await self._engine.loaded()}
        self._probes = {name: probes for name, probes in self._probes.items() if name in loaded}
        resting = list(self._resting(loaded))
        for name in resting:
            if (await self._sampler.read()).in_flight != 0:
                break
            await self._probe(name)
        if resting:
            after = {model.name: model.expires_at for model in await self._engine.loaded()}
            self._uses |= {name: _Use(after[name], ours=True) for name in resting if name in after}

    def _resting(self, loaded: Mapping[str, str]) -> Iterator[str]:
        """Models that nobody has used since the last round."""
        before, self._uses = self._uses, {}
        for name, expires_at in loaded.items():
            last = before.get(name)
            rests = last is not None and last.expires_at == expires_at
            self._uses[name] = last if last is not None and rests else _Use(expires_at)
            if rests and name not in self._mute and not (self._once and self._uses[name].ours):
                yield name

    async def _probe(self, name: str) -> None:
        try:
            generation = await self._engine.generate(name, TOKENS, TIMEOUT)
        except EngineUnavailable as error:
            log.warning("probe of %s: %s", name, error)
            self._probes.setdefault(name, Probes()).last.append(None)
            return
        if generation is None:
            self._mute.add(name)
            return
        probes = self._probes.setdefault(name, Probes())
        probes.last.append(generation)
        probes.succeeded_at = self._clock()
