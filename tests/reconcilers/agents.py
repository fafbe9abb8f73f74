"""An operator without its edges for tests of Agents: a cluster in memory, and a small controller of Deployments.

ModelServers and routes are put there as their own reconcile would leave them.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from agentfleet.objects import AGENT_LABEL, Key, Manifest, key_of
from agentfleet.reconcilers.agent import Agents
from agentfleet.reconcilers.base import KindReconciler, Surroundings
from tests.agents import agent_manifest, phi
from tests.builders import NAMESPACE
from tests.world import World, meta

AGENT = Key("Agent", NAMESPACE, "helper")
DEPLOYMENT = Key("Deployment", NAMESPACE, "helper-agent")
SECRET = Key("Secret", NAMESPACE, "agentfleet-identity")


class AgentWorld(World):
    """The operator, and what tests do to its Agents."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for each in phi():
            self.cluster.put(each)

    def kinds(self, around: Surroundings) -> dict[str, KindReconciler[Any]]:
        return {"Agent": Agents(around, self, self.loop)}

    async def readiness(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Pods say what tests put into `answers`."""
        return {name: self.answers[name] for name in addresses if name in self.answers}

    def agent(self, name: str = "helper", **spec: Any) -> None:
        """The user's apply."""
        made = agent_manifest(name, **spec)
        for given in ("generation", "resourceVersion"):
            del made["metadata"][given]
        self.cluster.put(made)

    async def once(self) -> float | None:
        """One pass."""
        return await self.reconcile(AGENT)

    async def settle(self) -> None:
        """Reconcile, and let a small controller of Deployments answer, until nothing changes any more."""
        for _ in range(50):
            before = dict(self.cluster.objects)
            await self.once()
            self.run_deployment()
            if before == self.cluster.objects:
                return
        raise AssertionError("did not settle")

    def run_deployment(self, *, ready: bool = True, **container: Any) -> None:
        """The Deployment gets its pods of the newest template; `container` is what kubelet says of the agent's own."""
        found = self.cluster.objects.get(DEPLOYMENT)
        if found is None:
            return
        wanted = found["spec"]["replicas"]
        for index in range(5):
            key = Key("Pod", NAMESPACE, f"helper-agent-{index}")
            if index < wanted:
                self._run_pod(key, found, ready=ready, container=container)
            else:
                self.cluster.remove(key)
        counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": wanted if ready else 0}
        status = counts | {"observedGeneration": found["metadata"]["generation"]}
        if found.get("status") != status:
            self.cluster.patch_status(DEPLOYMENT, status)

    def _run_pod(self, key: Key, owner: Manifest, *, ready: bool, container: Manifest) -> None:
        labels = owner["spec"]["template"]["metadata"]["labels"]
        conditions = [{"type": "Ready", "status": str(ready)}, {"type": "PodScheduled", "status": "True"}]
        statuses = [{"name": "agent", "ready": ready, "started": True} | container]
        status = {"conditions": conditions, "phase": "Running", "containerStatuses": statuses, "podIP": "10.0.0.1"}
        metadata = meta(key.name) | {"labels": labels, "creationTimestamp": "2026-11-21T10:00:00Z"}
        self.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status})

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.objects[AGENT].get("status", {})
        return status

    def names(self, kind: str) -> set[str]:
        """Names of the objects of a kind that are the Agent's."""
        mine = (each for key, each in self.cluster.objects.items() if key.kind == kind)
        return {key_of(each).name for each in mine if each["metadata"].get("labels", {}).get(AGENT_LABEL) == "helper"}

    def template(self) -> dict[str, Any]:
        """What pods are told to be."""
        template: dict[str, Any] = self.cluster.objects[DEPLOYMENT]["spec"]["template"]
        return template
