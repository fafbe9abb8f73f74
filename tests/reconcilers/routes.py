"""An operator without its edges for tests of AgentRoutes: real rendering, a cluster in memory, a small controller of
StatefulSets and Deployments. ModelServers are put there as reconcile would leave them."""

from datetime import timedelta
from typing import Any

from agentfleet.gateway.haproxy import render
from agentfleet.objects import AGENT_ROUTE_LABEL, Key, Manifest, key_of
from agentfleet.reconcilers.agentroute import AgentRoutes
from agentfleet.reconcilers.base import KindReconciler, Surroundings
from tests.builders import NAMESPACE, manifest
from tests.fakes import FakeCluster
from tests.world import World, meta

ROUTE = Key("AgentRoute", NAMESPACE, "chat")
SET = Key("StatefulSet", NAMESPACE, "chat-route")
ALONE = Key("Deployment", NAMESPACE, "chat-route")
SECRET = Key("Secret", NAMESPACE, "agentfleet-identity")
UID = "22222222-3333-4444-5555-666666666666"

PHI: Manifest = {"name": "phi", "modelServerRef": {"name": "phi"}}


class AddressedCluster(FakeCluster):
    """Gives Services their addresses, in the answer to the apply that makes them."""

    async def apply(self, manifest: Manifest, *, force: bool) -> Manifest:
        answer = await super().apply(manifest, force=force)
        if answer["kind"] != "Service" or "clusterIP" in answer["spec"]:
            return answer
        number = sum(key.kind == "Service" for key in self.objects)
        return self.put(answer | {"spec": answer["spec"] | {"clusterIP": f"10.96.0.{number}"}})


class RouteWorld(World):
    """The operator, and what tests do to its routes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.owners: dict[str, Key] = {}
        self.cluster = AddressedCluster()
        self.cluster.on_change = lambda seen, deleted: self.cache.observe(seen, deleted=deleted)
        self.start()

    def kinds(self, around: Surroundings) -> dict[str, KindReconciler[Any]]:
        return {"AgentRoute": AgentRoutes(around, render)}

    def node(self, name: str, site: str) -> None:
        """A node of a site."""
        labels = {"topology.kubernetes.io/zone": site}
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        metadata = {"name": name, "labels": labels}
        self.cluster.put({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status})

    def model_server(
        self,
        name: str = "phi",
        *,
        namespace: str = NAMESPACE,
        ready: str = "True",
        reason: str = "Serving",
        **spec: Any,
    ) -> None:
        """A ModelServer as it stands after its own reconcile."""
        condition = {"type": "Ready", "status": ready, "reason": reason, "message": ""}
        stamps = {"lastTransitionTime": "2026-11-21T10:00:00Z", "observedGeneration": 1}
        status = {"url": f"http://{name}-model.{namespace}.svc.cluster.local/v1", "conditions": [condition | stamps]}
        made = manifest(name=name, **spec)
        place = {"namespace": namespace}
        self.cluster.put({**made, "metadata": {"name": name, "uid": f"uid-{name}"} | place, "status": status})
        pods = {"clusterIP": "None", "ports": [{"name": "http", "port": 8080}]}
        for service, body in ((f"{name}-model", {"clusterIP": "10.96.1.1"}), (f"{name}-model-pods", pods)):
            metadata = {"name": service} | place
            self.cluster.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": body})

    def route(self, *, made: str = "2026-11-20T10:00:00Z", **spec: Any) -> None:
        """The user's apply."""
        body = {"targets": [PHI], **spec}
        metadata = {"name": ROUTE.name, "namespace": NAMESPACE, "uid": UID, "creationTimestamp": made}
        self.cluster.put(
            {"apiVersion": "agentfleet.dev/v1alpha1", "kind": "AgentRoute", "metadata": metadata, "spec": body}
        )

    async def once(self) -> float | None:
        """One pass."""
        return await self.reconcile(ROUTE)

    async def settle(self) -> None:
        """Reconcile, and let a small controller of workloads answer, until nothing changes any more."""
        for _ in range(50):
            before = dict(self.cluster.objects)
            await self.once()
            self.run_gateways()
            if before == self.cluster.objects:
                return
        raise AssertionError("did not settle")

    def run_gateways(self, *, ready: bool = True) -> None:
        """Every workload gets its pods of the newest template."""
        for key, found in list(self.cluster.objects.items()):
            if key.kind not in ("StatefulSet", "Deployment"):
                continue
            wanted = found["spec"]["replicas"]
            for index in range(10):
                pod = Key("Pod", NAMESPACE, f"{key.name}-{'' if key.kind == 'StatefulSet' else 'x'}{index}")
                if index < wanted:
                    self._run_pod(pod, found, ready=ready)
                else:
                    self.cluster.remove(pod)
            counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": wanted if ready else 0}
            status = counts | {"observedGeneration": found["metadata"]["generation"]}
            if found.get("status") != status:
                self.cluster.patch_status(key, status)
        self._collect()

    def _collect(self) -> None:
        """Pods of workloads that are gone go, too."""
        for key in list(self.cluster.objects):
            if key.kind == "Pod" and self.owners.get(key.name) not in self.cluster.objects:
                self.cluster.remove(key)

    def _run_pod(self, key: Key, owner: Manifest, *, ready: bool) -> None:
        labels = owner["spec"]["template"]["metadata"]["labels"]
        assert labels[AGENT_ROUTE_LABEL] == ROUTE.name
        conditions = [{"type": "Ready", "status": str(ready)}, {"type": "PodScheduled", "status": "True"}]
        status = {
            "conditions": conditions,
            "podIP": f"10.0.0.{key.name[-1]}",
            "phase": "Running" if ready else "Pending",
        }
        self.owners[key.name] = key_of(owner)
        metadata = meta(key.name) | {"labels": labels, "creationTimestamp": "2026-11-21T10:00:00Z"}
        self.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status})

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.objects[ROUTE]["status"]
        return status

    def names(self, kind: str) -> set[str]:
        """Names of the objects of a kind that are the route's."""
        found = (o["metadata"] for key, o in self.cluster.objects.items() if key.kind == kind)
        return {each["name"] for each in found if each.get("labels", {}).get(AGENT_ROUTE_LABEL) == ROUTE.name}

    def config(self) -> dict[str, str]:
        """The files that the gateways are told to have."""
        template = self.cluster.objects[SET]["spec"]["template"]
        used = [v["configMap"]["name"] for v in template["spec"]["volumes"] if "configMap" in v]
        [name] = [each for each in used if each != "chat-route-budgets"]
        files: dict[str, str] = self.cluster.objects[Key("ConfigMap", NAMESPACE, name)]["data"]
        return files
