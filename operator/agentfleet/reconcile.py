"""reconcile(key): read the cache → validate → plan → apply → status. The one path for every change.

Level-based: it never asks which event happened, and running it twice writes nothing the second time. It decides
nothing itself: planning/ says what shall be, cluster.py carries it out.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from agentfleet.apply import Applier
from agentfleet.cache import Cache
from agentfleet.capacity import Capacity
from agentfleet.cluster import Cluster
from agentfleet.errors import AgentfleetError, InvalidSpec, NotReady
from agentfleet.metrics import Metrics
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.health import assess, blocked, internal_error, stalled, status_of, waiting
from agentfleet.planning.observed import Observed, gather
from agentfleet.planning.plan import Plan, asks_for_nodes, plan, scaled_meanwhile
from agentfleet.planning.preparation import Preparation, needs_nodes, prepare
from agentfleet.planning.questions import loaders_to_ask, mount_failure, sidecars_to_ask, stuck_before_start
from agentfleet.planning.scaling import Settled, settle, with_scaling
from agentfleet.planning.scaling_types import Wanted
from agentfleet.planning.standing import standing
from agentfleet.planning.victims import victims
from agentfleet.references import ANY_NODE, References
from agentfleet.resources.conditions import THRESHOLD_EXCEEDED
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.settings import Settings
from agentfleet.sidecars import Sidecars
from agentfleet.status import StatusWriter

logger = logging.getLogger(__name__)

_WHILE_LOADING = 3.0
"""Seconds between looks while Jobs load: their progress raises no watch event."""

_AFTER_FAILURE = 60.0
"""The same once one has failed: its further tries do raise events."""


class Reconciler:
    """Brings the children and the status of one object to what its spec says."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: Cache,
        references: References,
        sidecars: Sidecars,
        settings: Settings,
        metrics: Metrics,
        loop: ScalingLoop,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._references = references
        self._sidecars = sidecars
        self._settings = settings
        self._loop = loop
        self._now = now
        self._metrics = metrics
        self._applier = Applier(cluster, cache, metrics)
        # Where not all namespaces are watched, pods of others may not be listed either.
        self._capacity = Capacity(cluster, cache, known=settings.watch_nodes and not settings.watch_namespaces)
        self._status = StatusWriter(cluster, cache, settings.status_interval)

    async def __call__(self, key: Key) -> float | None:
        """One pass over `key`; returns the seconds after which to look again, None where the watches suffice."""
        parent = self._cache.get(key)
        if parent is None or "deletionTimestamp" in parent["metadata"]:
            # Children go by garbage collection: they carry an owner reference, and no finalizer holds the parent.
            self._forget(key)
            return None
        before = status_of(parent)
        try:
            return await self._reconcile(key, parent, before)
        except InvalidSpec as error:
            self._loop.stalls(key)
            before = self._last_status(key, parent)
            after = stalled(before, self._observe(key, parent), error, parent["metadata"]["generation"], self._now())
            due = await self._status.write(parent, before, after, self._now())
            return _sooner(error.after, due)
        except NotReady as error:
            before = self._last_status(key, parent)
            after = waiting(before, error, parent["metadata"]["generation"], self._now())
            await self._status.write(parent, before, after, self._now())
            raise
        except AgentfleetError:
            raise
        except Exception as error:
            generation = parent["metadata"]["generation"]
            before = self._last_status(key, parent)
            await self._status.write(
                parent, before, internal_error(before, generation, error, self._now()), self._now()
            )
            raise

    async def _reconcile(self, key: Key, parent: Manifest, before: ModelServerStatus) -> float | None:
        asked = _parse(parent)
        self._references.set(key, _references(asked))
        await self._check_claims(asked)
        observed = self._observe(key, parent)
        advice = self._loop.advice(key, asked.uid)
        settled = settle(asked, before, observed, advice, self._now())
        # From here on budgets count what was decided, before anything is waited for.
        self._loop.settled(key, asked.uid, settled.server.replicas, settled.decided_at)
        seen = with_scaling(before, settled, advice)
        if needs_nodes(asked):
            observed = replace(observed, nodes=await self._capacity.nodes())
        ready = prepare(settled.server, self._with_reports(key, seen), observed, self._settings, self._now())
        if await self._is_ghost(key, asked, before, ready.apply):
            self._drop_ghost(key)
            return None
        await self._status.tell(parent, self._loop.observations.news(key), self._now())
        await self._make(ready.apply, ready.delete)
        if ready.blocked:
            return _sooner(settled.after, await self._wait(parent, before, settled, observed, ready))
        return _sooner(ready.after, settled.after, await self._roll(key, parent, before, settled, ready, observed))

    async def _roll(
        self,
        key: Key,
        parent: Manifest,
        before: ModelServerStatus,
        settled: Settled,
        ready: Preparation,
        observed: Observed,
    ) -> float | None:
        """The model is where it has to be: bring pods to what they shall be."""
        server = ready.server
        if observed.nodes is None and asks_for_nodes(server, observed, self._settings):
            observed = replace(observed, nodes=await self._capacity.nodes())
        wanted = plan(server, observed, self._settings)
        if await self._is_ghost(key, server, before, wanted.apply):
            self._drop_ghost(key)
            return None
        before = await self._note(parent, before, settled)
        await self._execute(key, wanted, observed)
        now = replace(self._observe(key, parent), nodes=observed.nodes)
        details = await self._ask_pods(server, now, wanted.revision, ready.status)
        conditions = settled.conditions | self._thresholds(key, before)
        assessment = assess(server, ready.status, details, wanted, self._settings, self._now(), conditions)
        self._loop.stands(key, standing(settled, server, wanted, details, assessment.status, self._settings))
        due = await self._status.write(parent, before, assessment.status, self._now())
        return _sooner(assessment.after, due)

    async def _note(self, parent: Manifest, before: ModelServerStatus, settled: Settled) -> ModelServerStatus:
        """A decision is in status before it is acted on, so that whoever leads next follows the same one."""
        if settled.scaling is None or before.scaling is None or settled.scaling.desired == before.scaling.desired:
            return before
        after = before.model_copy(update={"scaling": settled.scaling})
        await self._status.write(parent, before, after, self._now())
        return after

    def _with_reports(self, key: Key, status: ModelServerStatus) -> ModelServerStatus:
        seen = self._loop.observations
        return status.model_copy(
            update={"gpu": seen.gpu(key, status.gpu), "report": seen.report(key, status.report)},
        )

    def _thresholds(self, key: Key, before: ModelServerStatus) -> Wanted:
        former = next((c for c in before.conditions if c.type == THRESHOLD_EXCEEDED), None)
        condition = self._loop.observations.threshold(key, former)
        return {THRESHOLD_EXCEEDED: condition} if condition else {}

    async def _wait(
        self,
        parent: Manifest,
        before: ModelServerStatus,
        settled: Settled,
        observed: Observed,
        ready: Preparation,
    ) -> float | None:
        """New pods have to wait for a Job: say how far it is, and look again. Former ones are scaled on."""
        before = await self._note(parent, before, settled)
        for workload, replicas in scaled_meanwhile(observed, settled.server.replicas).items():
            await self._applier.scale(workload, replicas)
        sidecars = await self._sidecars.statuses(loaders_to_ask(observed.loader_pods))
        told = replace(observed, sidecars=sidecars)
        after = blocked(ready.status, told, ready, parent["metadata"]["generation"], self._now())
        due = await self._status.write(parent, before, after, self._now())
        return _sooner(_AFTER_FAILURE if ready.failure else _WHILE_LOADING, ready.after, due)

    def _last_status(self, key: Key, parent: Manifest) -> ModelServerStatus:
        """Status after what was written in a pass that did not come to its end."""
        return status_of(self._cache.get(key) or parent)

    def _forget(self, key: Key) -> None:
        self._references.set(key, ())
        self._status.forget(key)
        self._loop.forget(key)

    def _drop_ghost(self, key: Key) -> None:
        logger.info("dropped: it was deleted while the watch was away", extra={"key": str(key)})
        self._metrics.ghosts_dropped.labels(key.kind).inc()
        self._cache.drop(key)
        self._forget(key)

    async def _is_ghost(
        self, key: Key, server: ModelServer, before: ModelServerStatus, children: Sequence[Manifest]
    ) -> bool:
        """True where children are missing because their parent is: an outage may have hidden its deletion from us.

        Children of a ghost would be made and garbage-collected in turns until a listing tells. An object that has never
        been worked on has no children yet, so creating one costs no look.
        """
        if before.observed_generation in (None, -1) or all(self._cache.get(key_of(child)) for child in children):
            return False
        live = await self._cluster.get(key)
        return live is None or live["metadata"]["uid"] != server.uid

    def _observe(self, key: Key, parent: Manifest) -> Observed:
        return gather(lambda kind: self._cache.children(key, kind), parent["metadata"]["uid"], self._cache.served)

    async def _execute(self, key: Key, wanted: Plan, observed: Observed) -> None:
        await self._make(wanted.apply, ())
        for workload, replicas in wanted.scale.items():
            for pod, cost in victims(observed, workload, replicas, self._loop.in_flight(key)):
                await self._applier.mark(pod, cost)
            await self._applier.scale(workload, replicas)
        await self._make((), wanted.delete)

    async def _make(self, apply: Sequence[Manifest], delete: Sequence[tuple[Key, str]]) -> None:
        for manifest in apply:
            await self._applier.apply(manifest)
        for key, uid in delete:
            await self._cluster.delete(key, uid)

    async def _ask_pods(
        self, server: ModelServer, observed: Observed, revision: str, before: ModelServerStatus
    ) -> Observed:
        sidecars = await self._sidecars.statuses(sidecars_to_ask(server, observed.pods, revision, before))
        failures = {}
        for pod in stuck_before_start(observed.pods, self._now()):
            metadata = pod["metadata"]
            message = mount_failure(await self._cluster.pod_events(metadata["namespace"], metadata["uid"]))
            if message:
                failures[metadata["name"]] = message
        return replace(observed, sidecars=sidecars, mount_failures=failures, sites=self._sites())

    def _sites(self) -> frozenset[str] | None:
        if not self._settings.watch_nodes:
            return None
        nodes = (self._cache.get(key) for key in self._cache.keys("Node"))
        labels = (node["metadata"].get("labels", {}) for node in nodes if node is not None)
        return frozenset(values[self._settings.site_label] for values in labels if self._settings.site_label in values)

    async def _check_claims(self, server: ModelServer) -> None:
        for key in sorted(_references(server)):
            if key.kind != "PersistentVolumeClaim" or self._cache.get(key) is not None:
                continue
            # Watches are independent: a claim that was applied together with its ModelServer may not be seen yet.
            if await self._cluster.get(key) is None:
                raise InvalidSpec(
                    "ClaimNotFound", f"PersistentVolumeClaim {key.name} is not in namespace {key.namespace}."
                )


def _parse(parent: Manifest) -> ModelServer:
    try:
        return ModelServer.from_manifest(parent)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec("InvalidSpec", f"{where}: {first['input']!r}: {first['msg']}.") from error
    except ValueError as error:
        raise InvalidSpec("InvalidSpec", f"{error}.") from error


def _references(server: ModelServer) -> set[Key]:
    found = {Key("PersistentVolumeClaim", server.namespace, name) for name in server.claims}
    if needs_nodes(server) or (server.spec.placement and server.spec.placement.sites):
        found.add(ANY_NODE)
    return found


def _sooner(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
