"""An operator without its edges, for tests of reconcile: a cluster in memory, its cache, a clock that tests move."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from agentfleet.autoscale.controller import Controller
from agentfleet.cache import Cache
from agentfleet.metrics import Metrics
from agentfleet.monitor.demand import Guests
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.monitor.scrape import Look, Target
from agentfleet.monitor.watched import MakeController
from agentfleet.objects import Key, Manifest
from agentfleet.reconcile import Reconciler
from agentfleet.reconcilers.base import KindReconciler, Surroundings
from agentfleet.reconcilers.modelserver import ModelServers
from agentfleet.references import References
from agentfleet.settings import Settings
from tests.builders import NAMESPACE, UID, manifest
from tests.fakes import FakeCluster

KEY = Key("ModelServer", NAMESPACE, "phi")
SERVICE = Key("Service", NAMESPACE, "phi-model")
CLAIM = Key("PersistentVolumeClaim", NAMESPACE, "models")


class World:
    """An operator without its edges: cluster, cache, reconciler and a clock that tests move."""

    def __init__(self, **settings: Any) -> None:
        self.now = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
        self.cluster = FakeCluster()
        self.cache = Cache()
        self.references = References()
        self.answers: dict[str, Mapping[str, Any]] = {}
        self.looks: dict[Key, Look] = {}
        self.make_controller: MakeController = Controller
        self.settings = Settings(**settings)
        self.cluster.on_change = lambda seen, deleted: self.cache.observe(seen, deleted=deleted)
        self.start()
        self.cluster.put({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("models")})

    def start(self) -> None:
        """A new operator process over the same cluster; its watches have listed everything."""
        self.metrics = Metrics()
        self.cluster.writes.clear()
        self.enqueued: list[Key] = []
        self.due: dict[Key, datetime] = {}
        self.loop = ScalingLoop(
            cache=self.cache,
            scraper=self,
            enqueue=lambda key, _: self.enqueued.append(key),
            metrics=self.metrics,
            interval=5.0,
            budgets=self.settings.gpu_budgets,
            make_controller=self.make_controller,
            clock=self.seconds,
        )
        around = Surroundings(
            self.cluster, self.cache, self.references, self.settings, self.metrics, now=lambda: self.now
        )
        self.reconcile = Reconciler(around, self.kinds(around))

    def kinds(self, around: Surroundings) -> dict[str, KindReconciler[Any]]:
        """The kinds that this operator knows."""
        return {"ModelServer": ModelServers(around, self, self.loop)}

    def seconds(self) -> float:
        return self.now.timestamp()

    def set_demand_sources(self, sources: Mapping[str, str], guests: Guests) -> None:
        """Gateways are what tests put into `demand`."""

    async def look(self, targets: Sequence[Target], now: float) -> dict[Key, Look]:
        return {target.key: self.looks.get(target.key, ({}, None, 0)) for target in targets}

    async def tick(self, seconds: float = 5.0) -> None:
        """One look of the scaling loop, and what reconcile makes of it; it also comes when it asked to."""
        self.now += timedelta(seconds=seconds)
        self.enqueued.clear()
        await self.loop.tick()
        due = {key for key, time in self.due.items() if time <= self.now}
        for key in sorted({*self.enqueued, *due}):
            self.due.pop(key, None)
            after = await self.reconcile(key)
            if after is not None:
                self.due[key] = self.now + timedelta(seconds=after)

    async def statuses(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        return {name: self.answers[name] for name in addresses if name in self.answers}

    def apply(self, engine: str = "LlamaCpp", **spec: Any) -> None:
        self.cluster.put(without_status(manifest(engine, **spec)))

    async def settle(self) -> None:
        """Reconcile, and let a small kubelet and Deployment controller answer, until nothing changes any more."""
        for _ in range(50):
            before = dict(self.cluster.objects)
            await self.reconcile(KEY)
            self.run_pods()
            if before == self.cluster.objects:
                return
        raise AssertionError("did not settle")

    def run_pods(self) -> None:
        """Every Deployment gets its pods, and every pod is Ready at once."""
        for key, deployment in list(self.cluster.objects.items()):
            if key.kind != "Deployment":
                continue
            wanted = deployment["spec"].get("replicas", 1)
            for index in range(20):
                pod = Key("Pod", NAMESPACE, f"{key.name}-{index}")
                if index < wanted and pod not in self.cluster.objects:
                    self.cluster.put(self.pod(deployment, pod.name))
                elif index >= wanted and pod in self.cluster.objects:
                    self.cluster.remove(pod)
            status = {"replicas": wanted, "readyReplicas": wanted}
            if deployment.get("status") != status:
                self.cluster.patch_status(key, status)

    def pod(self, deployment: Manifest, name: str, **status: Any) -> Manifest:
        self.answers[name] = {"engineVersion": "b1", "models": [{"name": "phi", "state": "Ready"}]}
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"}
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        metadata = {**meta(name), "labels": labels, "creationTimestamp": "2026-11-21T10:00:00Z"}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status or ready}

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.objects[KEY]["status"]
        return status

    def condition(self, kind: str) -> tuple[str, str] | None:
        for condition in self.status.get("conditions", ()):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return None

    def message(self, kind: str) -> str:
        """The message of a condition."""
        [found] = [each["message"] for each in self.status["conditions"] if each["type"] == kind]
        return str(found)

    def deployments(self) -> dict[str, int]:
        return {key.name: o["spec"]["replicas"] for key, o in self.cluster.objects.items() if key.kind == "Deployment"}


def meta(name: str) -> Manifest:
    return {"name": name, "namespace": NAMESPACE}


def without_status(given: Manifest) -> Manifest:
    metadata = {name: given["metadata"][name] for name in ("name", "namespace")} | {"uid": UID}
    return {name: value for name, value in given.items() if name != "status"} | {"metadata": metadata}
