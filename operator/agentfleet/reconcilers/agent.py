"""What reconcile does for an Agent: look its references up, configure its pods, make them, assess them.

    references (cache; Services of others: asked for) ─▶ uses ─┬▶ plan ─▶ children ─▶ status
    the scaling loop's advice ─▶ replicas ─────────────────────┘

Whatever is wrong with a spec is found before anything is applied, so that a bad change leaves the running pods alone.
It decides nothing itself.
"""

import logging
from dataclasses import replace

from agentfleet.errors import InvalidSpec
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.objects import Key, Manifest
from agentfleet.planning.agent_answers import pods_to_ask, said_by
from agentfleet.planning.agent_health import agent_stalled, alerting, assess_agent
from agentfleet.planning.agent_observed import AgentObserved, gather_agent, revision_of
from agentfleet.planning.agent_plan import AgentPlan, plan_agent, workload_key
from agentfleet.planning.agent_renewal import renewed
from agentfleet.planning.agent_scaling import SettledAgent, agent_standing, settle_agent
from agentfleet.planning.agent_uses import agent_references, agent_uses, foreign_services, wants_own_namespace
from agentfleet.planning.failures import is_ready
from agentfleet.planning.route_cycles import Lookup
from agentfleet.planning.victims import victims
from agentfleet.reconcilers.base import KindReconciler, Surroundings, mount_failures, parsed, sooner
from agentfleet.reconcilers.identities import Identities
from agentfleet.resources.agent import Agent
from agentfleet.resources.agent_status import AgentStatus
from agentfleet.sidecars import AgentPods
from agentfleet.status import agent_decisions

logger = logging.getLogger(__name__)

_WHILE_STARTING = 10.0
"""Seconds between looks while a pod is not ready: what keeps a volume from it raises no watch event."""

_UNSEEN = 60.0
"""Seconds between looks at what no watch shows: whether model and tools still answer pods that serve, Services of
others, and Python functions, which pods read anew."""


class Agents(KindReconciler[AgentStatus]):
    """See KindReconciler."""

    def __init__(self, around: Surroundings, pods: AgentPods, loop: ScalingLoop) -> None:
        super().__init__(around, AgentStatus, agent_decisions)
        self._cache = around.cache
        self._settings = around.settings
        self._pods = pods
        self._loop = loop
        self._identities = Identities(around)
        self._outdated: dict[Key, str] = {}  # revision whose pods began with variables that have changed since

    async def work(self, key: Key, parent: Manifest, before: AgentStatus) -> float | None:
        """One pass."""
        agent = parsed(Agent.from_manifest, parent)
        self._around.references.set(key, self._references(agent))
        foreign = foreign_services(agent, self._settings)
        labels = self._cache.namespace_labels(agent.namespace)
        uses = agent_uses(agent, await self._lookup(foreign), self._settings, labels)
        observed = self._observe(key, parent)
        advice = self._loop.advice(key, agent.uid)
        settled = settle_agent(agent, before, observed, advice, self._around.now())
        renewal = renewed(observed.child(workload_key(agent)), self._outdated.get(key), self._around.now())
        wanted = plan_agent(agent, uses, observed, settled.replicas, self._settings, renewal)
        await self._children.check_ghost(key, agent.uid, before.observed_generation, wanted.apply)
        if not self._serves(observed, wanted):
            await self._identities.ensure(agent.namespace)
        before = await self._note(parent, before, settled)
        self._loop.settled(key, agent.uid, settled.replicas, settled.decided_at)
        await self._children.make(wanted.apply, ())
        await self._scale(key, wanted, observed)
        await self._children.make((), wanted.delete)
        made = await self._asked(self._observe(key, parent), wanted.revision)
        now = self._around.now()
        seen = before.model_copy(update={"scaling": settled.scaling})
        beside = settled.conditions | alerting(agent, before, advice)
        status = assess_agent(agent, seen, uses, wanted, made, self._settings, now, beside)
        self._loop.stands(key, agent_standing(agent, settled, wanted, made, status))
        due = await self.status.write(parent, before, status, now)
        if self._is_outdated(key, made, wanted):
            return 0.0
        starting = None if self._serves(made, wanted) else _WHILE_STARTING
        return sooner(due, starting, _UNSEEN)

    def stalled(self, key: Key, parent: Manifest, before: AgentStatus, error: InvalidSpec) -> AgentStatus:
        """Pods of the former spec go on serving, as many as there are."""
        self._loop.stalls(key)
        generation = parent["metadata"]["generation"]
        return agent_stalled(before, self._observe(key, parent), error, generation, self._around.now())

    def forget(self, key: Key) -> None:
        """Nor is it scaled any more."""
        super().forget(key)
        self._loop.forget(key)
        self._outdated.pop(key, None)

    async def _note(self, parent: Manifest, before: AgentStatus, settled: SettledAgent) -> AgentStatus:
        """A decision is in status before it is acted on, so that whoever leads next follows the same one."""
        if settled.scaling is None or before.scaling is None or settled.scaling.desired == before.scaling.desired:
            return before
        after = before.model_copy(update={"scaling": settled.scaling})
        await self.status.write(parent, before, after, self._around.now())
        return after

    async def _scale(self, key: Key, wanted: AgentPlan, observed: AgentObserved) -> None:
        """Where replicas go, those that do least go first, and finish what they do."""
        for pod, cost in victims(observed, wanted.workload, wanted.replicas, self._loop.in_flight(key)):
            await self._children.applier.mark(pod, cost)
        await self._children.applier.scale(wanted.workload, wanted.replicas)

    def _observe(self, key: Key, parent: Manifest) -> AgentObserved:
        return gather_agent(lambda kind: self._cache.children(key, kind), parent["metadata"]["uid"])

    def _references(self, agent: Agent) -> set[Key]:
        found = set(agent_references(agent, self._cache.get, self._settings))
        if wants_own_namespace(agent, self._cache.get, self._settings):
            found.add(Key("Namespace", "", agent.namespace))
        return found

    async def _lookup(self, foreign: frozenset[Key]) -> Lookup:
        """What the cache has, and Services that it does not hold."""
        asked = {key: await self._around.cluster.get(key) for key in sorted(foreign) if self._cache.get(key) is None}
        return lambda key: self._cache.get(key) or asked.get(key)

    def _is_outdated(self, key: Key, made: AgentObserved, wanted: AgentPlan) -> bool:
        """Whether pods of the newest revision have just told of changed variables: the next pass replaces them."""
        if not made.said.changed or self._outdated.get(key) == wanted.revision:
            return False
        self._outdated[key] = wanted.revision
        names = ", ".join(made.said.changed)
        logger.info("variables that pods began with have changed: %s", names, extra={"key": str(key)})
        return True

    async def _asked(self, made: AgentObserved, revision: str) -> AgentObserved:
        """With what only Events and pods tell."""
        newest = [pod for pod in made.pods if revision_of(pod) == revision]
        answers = await self._pods.readiness(pods_to_ask(newest))
        failures = await mount_failures(self._around, made.pods)
        return replace(made, mount_failures=failures, said=said_by(answers))

    def _serves(self, observed: AgentObserved, wanted: AgentPlan) -> bool:
        return len(observed.pods) >= wanted.replicas and all(map(is_ready, observed.pods))
