"""The composition root of `agentfleet operator`: builds every part and runs them together. No logic.

    server ─ Lease gate ─ lead: kopf ─▶ Observer ─▶ Cache + WorkQueue ─▶ Reconciler ─▶ KubeCluster
                                ├▶ Resync (warm-up gate, repair), OptionalWatch (kinds whose CRD may be absent)
                                ├▶ ScalingLoop ─▶ Scraper (pods, gateways); its advice goes to Reconciler
                                └▶ Spending, PublicKeys ─▶ Scraper (gateways): what was used of budgets, changed keys

A part that fails takes the process down with a non-zero exit code, and kubelet starts it anew. SIGTERM ends it
cleanly: keys in work are finished, the Lease is handed on, exit code 0.
"""

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import httpx

from agentfleet import logs
from agentfleet.cache import Cache
from agentfleet.errors import AgentfleetError
from agentfleet.gateway.haproxy import render
from agentfleet.handlers import build_registry, kopf_settings, watch
from agentfleet.kubecluster import KubeCluster, connect
from agentfleet.leader import LeaseGate, Terms
from agentfleet.metrics import Metrics
from agentfleet.monitor import samples_api
from agentfleet.monitor.gpus import Gpus
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.monitor.metrics import ObservationsCollector
from agentfleet.monitor.scaling_metrics import ScalingCollector
from agentfleet.monitor.scrape import Scraper
from agentfleet.monitor.usage import Usage
from agentfleet.objects import KINDS, Key, Kind
from agentfleet.observe import Observer
from agentfleet.optional import OptionalWatch
from agentfleet.reconcile import Reconciler
from agentfleet.reconcilers.agent import Agents
from agentfleet.reconcilers.agentroute import AgentRoutes
from agentfleet.reconcilers.base import KindReconciler, Surroundings
from agentfleet.reconcilers.modelserver import ModelServers
from agentfleet.reconcilers.public_keys import PublicKeys
from agentfleet.reconcilers.spending import Spending
from agentfleet.references import References
from agentfleet.resync import Resync
from agentfleet.server import Health, LoopLag, Readiness, application, ended, serve, stuck_key
from agentfleet.settings import Settings
from agentfleet.sidecars import HttpSidecars
from agentfleet.workqueue import WorkQueue

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_DRAIN_TIMEOUT = 5.0
_SPARE_CONNECTIONS = 4  # beside one for each worker: the Lease, listings


def main(argv: list[str]) -> int:
    """Run the operator. Everything is set by AGENTFLEET_* environment variables (settings.py)."""
    argparse.ArgumentParser(prog="agentfleet operator", description=main.__doc__).parse_args(argv)
    logs.configure("INFO")
    try:
        settings = Settings.from_environment(os.environ)
        logs.configure(settings.log_level)
        asyncio.run(run(settings))
    except Exception as error:
        for cause in _leaves(error):
            # a traceback only for bugs: the others say all there is to say
            known = isinstance(cause, AgentfleetError)
            logger.error("stopped: %s: %s", type(cause).__name__, cause, exc_info=None if known else cause)
        return 1
    return 0


def _leaves(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        return [leaf for nested in error.exceptions for leaf in _leaves(nested)]
    return [error]


async def run(settings: Settings) -> None:
    """Serve, wait for the Lease, and work until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    _take_signals(stop)
    metrics = Metrics()
    # pods are reached directly, never through a proxy of the environment
    async with (
        await connect(connections=settings.workers + _SPARE_CONNECTIONS) as client,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        cluster = KubeCluster(client, namespaces=settings.watch_namespaces, metrics=metrics)
        operator = Operator(settings, cluster, HttpSidecars(http), metrics, stop)
        app = application(operator.health, operator.readiness, metrics, operator.routes)
        async with serve(app, settings.http_port) as port:
            logger.info("serving /healthz, /readyz, /metrics and samples on port %d", port)
            await operator.run()


def _take_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)


class Operator:
    """The parts of one replica, and how they stand to each other."""

    def __init__(
        self, settings: Settings, cluster: KubeCluster, pods: HttpSidecars, metrics: Metrics, stop: asyncio.Event
    ) -> None:
        self._settings = settings
        self._stop = stop
        self.health = Health()
        self._kinds = tuple(
            kind
            for kind in KINDS.values()
            if kind.watched and not kind.optional and (kind.namespaced or settings.watch_nodes)
        )
        cache = Cache()
        references = References()
        self._cache = cache
        self._scraper = Scraper()
        self._gpus = Gpus(settings.gpu_exporter)
        self._usage = Usage(cluster, cache, namespaces=settings.watch_namespaces, nodes=settings.watch_nodes)
        self._loop = ScalingLoop(
            cache=cache,
            scraper=self._scraper,
            enqueue=self._reconcile_after,
            metrics=metrics,
            interval=settings.scaling_interval,
            budgets=settings.gpu_budgets,
        )
        around = Surroundings(cluster, cache, references, settings, metrics, now=lambda: datetime.now(UTC))
        self._public_keys = PublicKeys(cache, self._scraper, self._reconcile_after)
        kinds: dict[str, KindReconciler[Any]] = {
            "ModelServer": ModelServers(around, pods, self._loop),
            "Agent": Agents(around, pods, self._loop),
            "AgentRoute": AgentRoutes(around, render, self._public_keys.wanted, self._public_keys.lacking),
        }
        reconciler = Reconciler(around, kinds)
        self._spending = Spending(around, self._scraper)
        self._queue = WorkQueue(reconciler, workers=settings.workers, metrics=metrics)
        self._observer = Observer(cache=cache, references=references, enqueue=self._queue.add, metrics=metrics)
        self._resync = Resync(
            cluster=cluster,
            cache=cache,
            kinds=[kind.name for kind in self._kinds],
            gone=self._observer.gone,
            interval=settings.resync_interval,
            metrics=metrics,
        )
        self._observer.subscribe(self._resync.seen)
        self._optional = [
            OptionalWatch(
                kind,
                cluster=cluster,
                cache=cache,
                gone=self._observer.gone,
                changed=self._observer.served,
                watch=lambda kind: self._watch_kinds([kind]),
                interval=settings.resync_interval,
                metrics=metrics,
            )
            for kind in KINDS.values()
            if kind.optional
        ]
        for optional in self._optional:
            self._observer.subscribe(optional.seen)
        self._gate = LeaseGate(
            cluster,
            Terms(
                namespace=settings.namespace,
                name=settings.lease_name,
                duration=settings.lease_duration,
                renew_deadline=settings.renew_deadline,
                interval=settings.renew_interval,
            ),
            pod_name=settings.pod_name,
            stop=stop,
            on_change=metrics.leader.set,
        )
        self._leading = False
        metrics.watch_cache((kind.name for kind in KINDS.values() if kind.watched), cache.count)
        metrics.registry.register(ScalingCollector(self._loop))
        metrics.registry.register(ObservationsCollector(self._loop.observations, cache))
        self.routes = samples_api.routes(self._loop.observations, lambda: self._leading, self._learnt)

    def readiness(self) -> Readiness:
        """A leader is ready with a warm cache; a standby as long as it can ask for the Lease."""
        if not self._leading:
            problem = self._gate.problem
            return Readiness(problem is None, "standby", problem or "another replica leads")
        if self._resync.warm:
            return Readiness(True, "leader", "the cache is warm")
        waiting = self._resync.problem or f"waiting for {self._resync.awaited} objects to arrive in the cache"
        return Readiness(False, "leader", waiting)

    async def run(self) -> None:
        """Lead when it is this replica's turn, until `stop`."""
        if self._settings.leader_election:
            await self._gate.run(self._lead)
        else:
            await self._lead()

    async def _lead(self) -> None:
        self._leading = True
        self.health.add(stuck_key(self._queue.oldest_running, self._settings.stuck_after))
        lag = LoopLag()
        self.health.add(lag.check)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(part(), name=name)
                for name, part in (
                    ("watch", self._watch),
                    ("work", self._work),
                    ("resync", self._resync.run),
                    ("scaling loop", self._scale),
                    ("loop monitor", lag.run),
                    *((f"watch of {optional.kind.plural}", optional.run) for optional in self._optional),
                )
            ]
            for task in tasks:
                self.health.add(ended(task))
            await self._stop.wait()
            await self._drain(tasks[1])
            for task in tasks:
                task.cancel()

    async def _watch(self) -> None:
        await self._resync.expect()
        await self._watch_kinds(self._kinds)

    async def _watch_kinds(self, kinds: Collection[Kind]) -> None:
        await watch(
            build_registry(kinds, self._observer),
            kopf_settings(kinds),
            namespaces=self._settings.watch_namespaces,
            identity=self._settings.pod_name,
            take_signals=lambda: _take_signals(self._stop),
        )

    async def _work(self) -> None:
        await self._resync.warm_up()
        for optional in self._optional:
            await optional.settle()
        await self._queue.run()

    def _reconcile_after(self, key: Key, seconds: float) -> None:
        self._queue.add_after(key, seconds)

    async def _scale(self) -> None:
        async with self._scraper, self._gpus, asyncio.TaskGroup() as group:
            group.create_task(self._loop.run())
            group.create_task(self._loop.follow_gpus(self._gpus.read))
            group.create_task(self._loop.follow_usage(self._usage.read))
            group.create_task(self._spending.run())
            group.create_task(self._public_keys.run())

    def _learnt(self, key: Key) -> dict[str, Any] | None:
        capacity: dict[str, Any] | None = (self._cache.get(key) or {}).get("status", {}).get("capacity")
        return capacity

    async def _drain(self, work: asyncio.Task[None]) -> None:
        """Let the keys in work finish, while the Lease is still renewed."""
        self._queue.stop()
        if self._resync.warm:
            await asyncio.wait((work,), timeout=_DRAIN_TIMEOUT)
        oldest = self._queue.oldest_running()
        if oldest is not None:
            logger.warning("stopping in the middle of work", extra={"key": str(oldest[0])})
