"""What reconcile does for a ModelServer: settle its replicas, prepare its model, roll its pods, assess them.

It decides nothing itself: planning/ says what shall be, cluster.py carries it out.
"""

from dataclasses import replace
from datetime import datetime

from agentfleet.capacity import Capacity
from agentfleet.errors import InvalidSpec
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.objects import Key, Manifest
from agentfleet.planning.health import assess, blocked, stalled
from agentfleet.planning.observed import Observed, gather
from agentfleet.planning.plan import Plan, asks_for_nodes, plan, scaled_meanwhile
from agentfleet.planning.preparation import Preparation, needs_nodes, prepare
from agentfleet.planning.questions import loaders_to_ask, sidecars_to_ask
from agentfleet.planning.scaling import Settled, settle, with_scaling
from agentfleet.planning.scaling_types import Wanted
from agentfleet.planning.standing import standing
from agentfleet.planning.victims import victims
from agentfleet.reconcilers.base import KindReconciler, Surroundings, mount_failures, parsed, sites, sooner
from agentfleet.references import ANY_NODE, served_key
from agentfleet.resources.conditions import THRESHOLD_EXCEEDED
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.sidecars import Sidecars
from agentfleet.status import model_server_decisions

_WHILE_LOADING = 3.0
"""Seconds between looks while Jobs load: their progress raises no watch event."""

_AFTER_FAILURE = 60.0
"""The same once one has failed: its further tries do raise events."""


class ModelServers(KindReconciler[ModelServerStatus]):
    """See KindReconciler."""

    def __init__(self, around: Surroundings, sidecars: Sidecars, loop: ScalingLoop) -> None:
        super().__init__(around, ModelServerStatus, model_server_decisions)
        self._cluster = around.cluster
        self._cache = around.cache
        self._references = around.references
        self._settings = settings = around.settings
        self._sidecars = sidecars
        self._loop = loop
        # Where not all namespaces are watched, pods of others may not be listed either.
        known = settings.watch_nodes and not settings.watch_namespaces
        self._capacity = Capacity(around.cluster, around.cache, known=known)

    async def work(self, key: Key, parent: Manifest, before: ModelServerStatus) -> float | None:
        """One pass."""
        asked = parsed(ModelServer.from_manifest, parent)
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
        await self._children.check_ghost(key, asked.uid, before.observed_generation, ready.apply)
        await self.status.tell(parent, self._loop.observations.news(key), self._now())
        await self._children.make(ready.apply, ready.delete)
        if ready.blocked:
            return sooner(settled.after, await self._wait(parent, before, settled, observed, ready))
        return sooner(ready.after, settled.after, await self._roll(key, parent, before, settled, ready, observed))

    def stalled(self, key: Key, parent: Manifest, before: ModelServerStatus, error: InvalidSpec) -> ModelServerStatus:
        """What served before goes on serving, and is watched on."""
        self._loop.stalls(key)
        return stalled(before, self._observe(key, parent), error, parent["metadata"]["generation"], self._now())

    def forget(self, key: Key) -> None:
        """Nor is it scaled any more."""
        super().forget(key)
        self._loop.forget(key)

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
        await self._children.check_ghost(key, server.uid, before.observed_generation, wanted.apply)
        before = await self._note(parent, before, settled)
        await self._execute(key, wanted, observed)
        now = replace(self._observe(key, parent), nodes=observed.nodes)
        details = await self._ask_pods(server, now, wanted.revision, ready.status)
        conditions = settled.conditions | self._thresholds(key, before)
        assessment = assess(server, ready.status, details, wanted, self._settings, self._now(), conditions)
        self._loop.stands(key, standing(settled, server, wanted, details, assessment.status, self._settings))
        due = await self.status.write(parent, before, assessment.status, self._now())
        return sooner(assessment.after, due)

    async def _note(self, parent: Manifest, before: ModelServerStatus, settled: Settled) -> ModelServerStatus:
        """A decision is in status before it is acted on, so that whoever leads next follows the same one."""
        if settled.scaling is None or before.scaling is None or settled.scaling.desired == before.scaling.desired:
            return before
        after = before.model_copy(update={"scaling": settled.scaling})
        await self.status.write(parent, before, after, self._now())
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
            await self._children.applier.scale(workload, replicas)
        sidecars = await self._sidecars.statuses(loaders_to_ask(observed.loader_pods))
        told = replace(observed, sidecars=sidecars)
        after = blocked(ready.status, told, ready, parent["metadata"]["generation"], self._now())
        due = await self.status.write(parent, before, after, self._now())
        return sooner(_AFTER_FAILURE if ready.failure else _WHILE_LOADING, ready.after, due)

    def _observe(self, key: Key, parent: Manifest) -> Observed:
        return gather(lambda kind: self._cache.children(key, kind), parent["metadata"]["uid"], self._cache.served)

    async def _execute(self, key: Key, wanted: Plan, observed: Observed) -> None:
        await self._children.make(wanted.apply, ())
        for workload, replicas in wanted.scale.items():
            for pod, cost in victims(observed, workload, replicas, self._loop.in_flight(key)):
                await self._children.applier.mark(pod, cost)
            await self._children.applier.scale(workload, replicas)
        await self._children.make((), wanted.delete)

    async def _ask_pods(
        self, server: ModelServer, observed: Observed, revision: str, before: ModelServerStatus
    ) -> Observed:
        sidecars = await self._sidecars.statuses(sidecars_to_ask(server, observed.pods, revision, before))
        failures = await mount_failures(self._around, observed.pods)
        return replace(observed, sidecars=sidecars, mount_failures=failures, sites=sites(self._around))

    async def _check_claims(self, server: ModelServer) -> None:
        for key in sorted(_references(server)):
            if key.kind != "PersistentVolumeClaim" or self._cache.get(key) is not None:
                continue
            # Watches are independent: a claim that was applied together with its ModelServer may not be seen yet.
            if await self._cluster.get(key) is None:
                raise InvalidSpec(
                    "ClaimNotFound", f"PersistentVolumeClaim {key.name} is not in namespace {key.namespace}."
                )

    def _now(self) -> datetime:
        return self._around.now()


def _references(server: ModelServer) -> set[Key]:
    found = {Key("PersistentVolumeClaim", server.namespace, name) for name in server.claims}
    if needs_nodes(server) or (server.spec.placement and server.spec.placement.sites):
        found.add(ANY_NODE)
    if server.spec.expose and server.spec.expose.inference_pool:
        found.add(served_key("InferencePool"))
    return found
