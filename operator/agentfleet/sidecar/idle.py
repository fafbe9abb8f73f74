"""Lets models go from an Ollama engine's memory: unused for long, or to make room. Ollama itself cuts no request.

What counts as use, soundly and without a counter: the `expires_at` of /api/ps moves when a request ends (and all the
time while a model's first request runs), and a request in progress shows as traffic of the model's runner. Where the
kernel does not tell traffic, an unload may meet a request: Ollama then unloads after its answer. Ollama's own
keep-alive does not count, so clients that send one of their own hold nothing longer. A model that went stays Ready: it
is present, and the next request loads it. The end of use shows QUIET seconds late: a model may stay that much longer.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.engines.base import EngineUnavailable
from agentfleet.sidecar.engines.ollama import Ollama
from agentfleet.sidecar.models import LoadedModel
from agentfleet.sidecar.network import Network
from agentfleet.sidecar.traffic import QUIET, Traffic

log = logging.getLogger(__name__)

INTERVAL = 2.0
GOING = 60.0
"""Seconds until a model that was told to go is told again: it may be answering one more request."""

MEMINFO = Path("/proc/meminfo")
"""Also in a container it tells of the whole node."""

IDLE, NODE_MEMORY, MAX_MEMORY = "Idle", "NodeMemory", "MaxMemory"


@dataclass(frozen=True, slots=True)
class IdleOptions:
    """When a model has to go; None switches a rule off."""

    unload_after: float | None = None
    memory_percent: int | None = None
    max_memory: int | None = None

    def __bool__(self) -> bool:
        return (self.unload_after, self.memory_percent, self.max_memory) != (None, None, None)


@dataclass(slots=True)
class Uses:
    """When each model in memory was last used. Pure: the time of an observation is an argument."""

    last: dict[str, float] = field(default_factory=dict)
    _expiry: dict[str, str] = field(default_factory=dict)
    _runners: dict[str, int] = field(default_factory=dict)

    def observe(self, loaded: Sequence[LoadedModel], traffic: Traffic | None, now: float) -> None:
        """Takes one look; `traffic` is None where the kernel does not tell it."""
        names = {model.name for model in loaded}
        for book in (self.last, self._expiry, self._runners):
            for gone in set(book) - names:
                del book[gone]
        if traffic is not None:
            self._match(names, traffic)
        for model in loaded:
            moved = self._expiry.get(model.name) != model.expires_at
            self._expiry[model.name] = model.expires_at
            if moved or (traffic is not None and self._works(model.name, traffic)):
                self.last[model.name] = now

    def _match(self, names: set[str], traffic: Traffic) -> None:
        """Finds out whose runner is whose: nothing tells, but what appears at one time belongs together."""
        for name in [name for name, port in self._runners.items() if port not in traffic.runners]:
            del self._runners[name]
        models = names - self._runners.keys()
        ports = traffic.runners.keys() - self._runners.values()
        if len(models) == len(ports) == 1:
            self._runners[models.pop()] = ports.pop()

    def _works(self, name: str, traffic: Traffic) -> bool:
        """True while the model's runner works; where it is not known, while any unmatched runner does."""
        if name in self._runners:
            return traffic.runners[self._runners[name]]
        matched = set(self._runners.values())
        return any(works for port, works in traffic.runners.items() if port not in matched)


def choose(
    loaded: Sequence[LoadedModel],
    last: dict[str, float],
    now: float,
    options: IdleOptions,
    memory_percent: float | None,
) -> list[tuple[str, str]]:
    """Who has to go, and why: all that are unused for too long, else the least recently used one where room is short.

    One at a time for room: what it gives back shows only later. Nobody who was just in use goes for room.
    """
    by_use = sorted(loaded, key=lambda model: last[model.name])
    if options.unload_after is not None:
        expired = [model.name for model in by_use if now - last[model.name] >= options.unload_after]
        if expired:
            return [(name, IDLE) for name in expired]
    reason = _shortage(loaded, options, memory_percent)
    idle = [model.name for model in by_use if now - last[model.name] >= QUIET]
    return [(idle[0], reason)] if reason and idle else []


def _shortage(loaded: Sequence[LoadedModel], options: IdleOptions, memory_percent: float | None) -> str | None:
    if options.max_memory is not None and sum(model.size for model in loaded) > options.max_memory:
        return MAX_MEMORY
    if None not in (options.memory_percent, memory_percent) and memory_percent > options.memory_percent:  # type: ignore[operator]
        return NODE_MEMORY
    return None


def used_percent(meminfo: str) -> float:
    """The node's memory in use: all that programs could not get without swapping. ValueError for another text."""
    amounts = {line.split(":")[0]: line.split()[1] for line in meminfo.splitlines() if len(line.split()) > 1}
    try:
        return 100 - 100 * int(amounts["MemAvailable"]) / int(amounts["MemTotal"])
    except (KeyError, ZeroDivisionError) as error:
        raise ValueError("no MemTotal and MemAvailable in meminfo") from error


class IdleUnloader(Companion):
    """Applies the rules to one engine."""

    def __init__(
        self,
        engine: Ollama,
        network: Network,
        options: IdleOptions,
        unloaded: Callable[[str], None],
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        meminfo: Path = MEMINFO,
    ) -> None:
        self._engine = engine
        self._network = network
        self._options = options
        self._unloaded = unloaded
        self._interval = interval
        self._clock = clock
        self._meminfo = meminfo
        self._uses = Uses()
        self._going: dict[str, tuple[str, float]] = {}

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            try:
                await self.round()
            except EngineUnavailable as error:
                log.debug("idle models: %s", error)
            except Exception:
                # A bug. The process must outlive it: a drain in progress would end with it, and requests be cut.
                log.exception("idle models")
            await asyncio.sleep(self._interval)

    async def round(self) -> None:
        """One look at what is in memory."""
        loaded = await self._engine.loaded()
        now = self._clock()
        self._uses.observe(loaded, await self._network.traffic(), now)
        self._count_gone({model.name for model in loaded}, now)
        staying = [model for model in loaded if model.name not in self._going]
        for name, reason in choose(staying, self._uses.last, now, self._options, self._memory_percent()):
            log.info("unloading %s: %s", name, reason)
            await self._engine.unload(name)
            self._going[name] = (reason, now)

    def _count_gone(self, loaded: set[str], now: float) -> None:
        """Counts what really went."""
        for name, (reason, since) in list(self._going.items()):
            if name not in loaded:
                self._unloaded(reason)
            if name not in loaded or now - since >= GOING:
                del self._going[name]

    def _memory_percent(self) -> float | None:
        if self._options.memory_percent is None:
            return None
        return used_percent(self._meminfo.read_text(encoding="ascii"))
