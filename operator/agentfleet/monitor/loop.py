"""The scaling loop: every few seconds a look at all ModelServers and Agents, and a word to reconcile where something is
to do.

    cache (pods) ─▶ Scraper.look ─▶ Tick ─▶ Controller.observe, .decide ─▶ Advice ─▶ reconcile, by its queue
                       GPUs, usage ──┘  └─▶ Observations of ModelServers (history, reports, thresholds)

It writes nothing: reconcile is the one that sets replicas and status, and what an advice becomes is decided in
planning/scaling.py. It keeps nothing that a restart may not lose. It runs on the leader, in one task; servers are gone
through in small batches, so that the rest of the process is never held up.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from agentfleet.autoscale.controller import Controller
from agentfleet.autoscale.samples import GpuSample, Tick, UsageSample
from agentfleet.cache import Cache
from agentfleet.metrics import Metrics
from agentfleet.monitor.budgets import Budgets
from agentfleet.monitor.demand import Guests, guests, sources_of
from agentfleet.monitor.observations import Observations
from agentfleet.monitor.scrape import Look, Target
from agentfleet.monitor.watched import MakeController, Watched
from agentfleet.objects import Key
from agentfleet.planning.scaling_types import Advice, Standing
from agentfleet.planning.situation import situation
from agentfleet.resources.modelserver import ModelServerSpec

logger = logging.getLogger(__name__)

_BATCH = 20
"""Servers gone through without letting others run."""

_FIRST_WORDS_A_SECOND = 50
"""After a start every server has something to say: reconcile is told of so many a second."""

_ZERO_INTERVAL = 1.0
"""Seconds between looks at the demand for servers without pods: a request is being held meanwhile."""

_GPU_INTERVAL = 10.0
_USAGE_INTERVAL = 30.0
"""metrics-server has nothing newer before."""

Place = tuple[str, str]
"""Namespace and name of a pod."""

_Sample = TypeVar("_Sample", GpuSample, UsageSample)


class Looker(Protocol):
    """What the loop asks of the Scraper."""

    def set_demand_sources(self, sources: Mapping[str, str], guests: Guests) -> None:
        """host:port → namespace; and whose gateways may speak for objects of other namespaces."""

    async def look(self, targets: Sequence[Target], now: float) -> dict[Key, Look]:
        """Asks everybody at once."""


class ScalingLoop:
    """`advice`, `settled`, `stands`, `stalls` and `forget` are reconcile's side; `run` is the loop."""

    def __init__(
        self,
        *,
        cache: Cache,
        scraper: Looker,
        enqueue: Callable[[Key, float], None],
        metrics: Metrics,
        interval: float,
        budgets: Mapping[str, int],
        observations: Observations | None = None,
        make_controller: MakeController = Controller,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`enqueue(key, seconds)` has a key reconciled after so many seconds."""
        self._cache = cache
        self._scraper = scraper
        self._enqueue = enqueue
        self._metrics = metrics
        self._interval = interval
        self._budgets = Budgets(cache, budgets)
        self._make = make_controller
        self._clock = clock
        self._watched: dict[Key, Watched] = {}
        self._stalled: set[Key] = set()
        self._gpus: Mapping[Place, GpuSample] = {}
        self._usage: Mapping[Place, UsageSample] = {}
        self.observations = observations or Observations()

    # --- reconcile's side ----------------------------------------------------------------------------------------

    def advice(self, key: Key, uid: str) -> Advice | None:
        """What was last thought about this very object; None before the first tick."""
        watched = self._watched.get(key)
        return watched.advice if watched and watched.standing.uid == uid else None

    def settled(self, key: Key, uid: str, wanted: int, decided_at: str | None) -> None:
        """Reconcile is about to act on `wanted` replicas, by the decision of that time: budgets count them from now
        on."""
        watched = self._watched.get(key)
        if watched and watched.standing.uid == uid:
            watched.settled(wanted, decided_at)

    def stands(self, key: Key, standing: Standing) -> None:
        """A reconcile came to its end."""
        self._stalled.discard(key)
        watched = self._watched.get(key)
        if watched and watched.standing.uid == standing.uid:
            watched.stands(standing)
        else:
            self.observations.forget(key)
            self._watched[key] = Watched(key, standing, self._make)

    def stalls(self, key: Key) -> None:
        """The spec cannot be acted on: what runs is watched on, and nothing is proposed."""
        self._stalled.add(key)
        if key in self._watched:
            self._watched[key].stalled = True

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._stalled.discard(key)
        self._watched.pop(key, None)
        self.observations.forget(key)

    def in_flight(self, key: Key) -> Mapping[str, float]:
        """Pod → requests that it has, by the last look; pods that did not answer are absent."""
        watched = self._watched.get(key)
        return watched.in_flight(self._clock()) if watched else {}

    @property
    def watched(self) -> Iterable[Watched]:
        """All servers, for metrics."""
        return self._watched.values()

    # --- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tick until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._metrics.scaling_tick_lateness.set(max(0.0, loop.time() - due))
            with self._metrics.scaling_tick_seconds.time():
                await self.tick()
            # A tick that took too long is followed by one at once, and never by a burst.
            due = max(due + self._interval, loop.time())
            await self._rest(due)

    async def follow_gpus(self, read: Callable[[], Awaitable[Mapping[Place, GpuSample]]]) -> None:
        """Keep what is known of GPUs, until cancelled."""
        while True:
            self._gpus = await _or_nothing(read)
            await asyncio.sleep(_GPU_INTERVAL)

    async def follow_usage(self, read: Callable[[], Awaitable[Mapping[Place, UsageSample]]]) -> None:
        """Keep what is known of CPU and memory, until cancelled."""
        while True:
            self._usage = await _or_nothing(read)
            await asyncio.sleep(_USAGE_INTERVAL)

    async def tick(self) -> None:
        """Look at everything once, and wake reconcile where there is news."""
        watched = [each for each in self._watched.values() if not each.standing.spec.external]
        async for each in _in_batches(watched):
            spec = each.standing.spec
            each.pods.refresh(self._cache, each.key, spec.engine, each.standing.revision)
        sources = sources_of(self._cache.demand_sources())
        self._scraper.set_demand_sources(sources, self._guests(watched, frozenset(sources.values())))
        looks = await self._scraper.look([each.target() for each in watched], self._clock())
        now = self._clock()
        self._budgets.count(self._watched, self._stalled)
        spoken = 0
        async for each in _in_batches(watched):
            if self._watched.get(each.key) is each:
                first = each.is_new
                if self._think(each, looks[each.key], now):
                    may_wait = first and not each.is_urgent
                    spoken += may_wait
                    self._enqueue(each.key, spoken / _FIRST_WORDS_A_SECOND if may_wait else 0.0)

    def _guests(self, watched: Iterable[Watched], namespaces: frozenset[str]) -> dict[Key, frozenset[str]]:
        allowed = ((each.key, each.standing.spec.allowed_namespaces) for each in watched)
        found = ((key, guests(spec, namespaces, self._cache.namespace_labels)) for key, spec in allowed)
        return {key: names for key, names in found if names}

    async def _rest(self, due: float) -> None:
        """Sleep until `due`, looking every second whether somebody asks for a server that has no pods."""
        loop = asyncio.get_running_loop()
        while (left := due - loop.time()) > 0:
            await asyncio.sleep(min(left, _ZERO_INTERVAL))
            if due - loop.time() > _ZERO_INTERVAL / 2:
                await self.look_at_zero()

    async def look_at_zero(self) -> None:
        """Look at the demand for servers without pods, and decide where somebody asks."""
        watched = self._watched.values()
        asleep = [each for each in watched if each.wanted == 0 and each.tick and each.tick.demand_sources]
        if not asleep:
            return
        looks = await self._scraper.look([each.target() for each in asleep], self._clock())
        now = self._clock()
        for each in asleep:
            look = looks[each.key]
            if _stirs(each.tick, look) and self._watched.get(each.key) is each and self._think(each, look, now):
                self._enqueue(each.key, 0.0)

    def _think(self, watched: Watched, look: Look, now: float) -> bool:
        """Take one look in; True where reconcile has to hear of it."""
        try:
            tick = self._tick_of(watched, look, now)
            watched.take(tick)
            spec = watched.standing.spec
            told = isinstance(spec, ModelServerSpec) and self.observations.record(watched.key, spec, tick)
            with self._budgets.granting(watched) as granted:
                around = situation(watched.standing, watched.wanted, watched.gateway, granted.affordable, now)
                watched.decide(around, granted, now)
        except Exception:
            # What one server shows must not end the loop for all others.
            logger.exception("a bug in the scaling loop: it begins anew here", extra={"key": str(watched.key)})
            self._metrics.scaling_errors.inc()
            watched.begin_anew()
            return False
        return watched.has_news() or told

    def _tick_of(self, watched: Watched, look: Look, now: float) -> Tick:
        engines, demand, sources = look
        replicas = watched.replicas(now)
        places = {replica.name: (watched.key.namespace, replica.name) for replica in replicas}
        return Tick(
            now=now,
            replicas=replicas,
            engines=engines,
            demand=demand,
            demand_sources=sources,
            gpus={name: self._gpus[place] for name, place in places.items() if place in self._gpus},
            usage={name: self._usage[place] for name, place in places.items() if place in self._usage},
        )


async def _or_nothing(read: Callable[[], Awaitable[Mapping[Place, _Sample]]]) -> Mapping[Place, _Sample]:
    """What can be read; nothing where reading fails on a bug: reports do without, and no decision needs it."""
    try:
        return await read()
    except Exception:
        logger.exception("a bug in reading GPUs or usage")
        return {}


def _stirs(before: Tick | None, look: Look) -> bool:
    """Whether somebody has asked since."""
    demand = look[1]
    if demand is None:
        return False
    last = before.demand if before else None
    return demand.waiting > 0 or (last is not None and demand.arrived > last.arrived)


async def _in_batches(watched: Sequence[Watched]) -> AsyncIterator[Watched]:
    for number, each in enumerate(watched, start=1):
        yield each
        if number % _BATCH == 0:
            await asyncio.sleep(0)
