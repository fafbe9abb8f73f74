"""reconcile with all three kinds of workload: what a user sees of pods on every node, and of groups over nodes."""

import asyncio
from typing import Any

from agentfleet.objects import Key, Manifest
from tests.builders import NAMESPACE
from tests.world import KEY, World

GROUP = {"parallelism": {"tensor": 2, "pipeline": 2, "nodes": 2}}
INDEX = "leaderworkerset.sigs.k8s.io/worker-index"


class Fleet(World):
    """A world whose small controllers also know DaemonSets, with `nodes` nodes, and LeaderWorkerSets."""

    def __init__(self, nodes: int = 3, **settings: Any) -> None:
        self.nodes = nodes
        super().__init__(**settings)
        self.cache.serve("LeaderWorkerSet")

    def run_pods(self) -> None:
        super().run_pods()
        for key, workload in list(self.cluster.objects.items()):
            if key.kind == "DaemonSet":
                self._run_on_every_node(key, workload)
            elif key.kind == "LeaderWorkerSet":
                self._run_groups(key, workload)

    def _run_on_every_node(self, key: Key, workload: Manifest) -> None:
        """One pod is replaced at a time, as its controller does it with maxUnavailable 1."""
        revision = workload["spec"]["template"]["metadata"]["labels"]["agentfleet.dev/revision"]
        replaced = 0
        for index in range(self.nodes):
            pod = Key("Pod", NAMESPACE, f"{key.name}-{index}")
            live = self.cluster.objects.get(pod)
            old = live is not None and live["metadata"]["labels"]["agentfleet.dev/revision"] != revision
            if old and not replaced:
                self.cluster.remove(pod)
                replaced += 1
            if pod not in self.cluster.objects:
                self.cluster.put(self.pod(workload, pod.name))
        self._tell(
            key,
            {
                "observedGeneration": workload["metadata"]["generation"],
                "desiredNumberScheduled": self.nodes,
                "currentNumberScheduled": self.nodes,
                "numberReady": self.nodes,
            },
        )

    def _run_groups(self, key: Key, workload: Manifest) -> None:
        template, wanted = workload["spec"]["leaderWorkerTemplate"], workload["spec"]["replicas"]
        for index in range(20):
            for worker, rank in enumerate(("leaderTemplate", "workerTemplate")):
                pod = Key("Pod", NAMESPACE, f"{key.name}-{index}-{worker}")
                if index < wanted and pod not in self.cluster.objects:
                    made = self.pod({"spec": {"template": template[rank]}}, pod.name)
                    made["metadata"]["labels"] = made["metadata"]["labels"] | {INDEX: str(worker)}
                    self.cluster.put(made)
                elif index >= wanted and pod in self.cluster.objects:
                    self.cluster.remove(pod)
        self._tell(key, {"replicas": wanted, "readyReplicas": wanted})

    def _tell(self, key: Key, status: Manifest) -> None:
        if self.cluster.objects[key].get("status") != status:
            self.cluster.patch_status(key, status)

    def run(self, engine: str = "LlamaCpp", **spec: Any) -> None:
        self.apply(engine, **spec)
        asyncio.run(self.settle())

    def workloads(self) -> list[str]:
        kinds = ("DaemonSet", "Deployment", "LeaderWorkerSet")
        return sorted(key.kind for key in self.cluster.objects if key.kind in kinds)

    def counts(self) -> tuple[int, int, int]:
        return tuple(self.status[name] for name in ("replicas", "readyReplicas", "updatedReplicas"))  # type: ignore[return-value]


def test_a_pod_on_every_node_whatever_replicas_say() -> None:
    fleet = Fleet(nodes=5)
    fleet.run(placement={"mode": "PerNode"}, replicas=2)
    assert (fleet.workloads(), fleet.counts()) == (["DaemonSet"], (5, 5, 5))
    assert fleet.condition("Ready") == ("True", "Serving")
    assert fleet.condition("Reconciling") is None


def test_a_changed_spec_goes_from_node_to_node() -> None:
    fleet = Fleet()
    fleet.run(placement={"mode": "PerNode"}, image="a")
    revision = fleet.status["revision"]
    fleet.run(placement={"mode": "PerNode"}, image="b")
    assert (fleet.workloads(), fleet.counts()) == (["DaemonSet"], (3, 3, 3))
    assert fleet.status["revision"] != revision


def test_modes_replace_each_other() -> None:
    fleet = Fleet()
    for placement, kind in (("Spread", "Deployment"), ("PerNode", "DaemonSet"), ("Pack", "Deployment")):
        fleet.run(placement={"mode": placement}, replicas=2)
        assert fleet.workloads() == [kind]
        assert fleet.condition("Ready") == ("True", "Serving")


def test_a_group_is_one_replica() -> None:
    fleet = Fleet()
    fleet.run("VLLM", replicas=2, **GROUP)
    assert (fleet.workloads(), fleet.counts()) == (["LeaderWorkerSet"], (2, 2, 2))
    assert fleet.status["selector"] == f"agentfleet.dev/modelserver=phi,{INDEX}=0"
    fleet.run("VLLM", replicas=3, **GROUP)
    assert fleet.counts() == (3, 3, 3)
    fleet.run("VLLM", replicas=3, image="vllm/vllm-openai:v0.32.0", **GROUP)
    assert (fleet.workloads(), fleet.counts()) == (["LeaderWorkerSet"], (3, 3, 3))


def test_nothing_is_written_twice() -> None:
    for spec in ({"placement": {"mode": "PerNode"}}, {"engine": "VLLM", **GROUP}):
        fleet = Fleet()
        fleet.run(**spec)
        fleet.start()
        asyncio.run(fleet.reconcile(KEY))  # type: ignore[arg-type]  # a coroutine
        assert fleet.cluster.writes == []


def test_without_its_crd_only_groups_are_held_up() -> None:
    fleet = Fleet()
    fleet.cache.withdraw("LeaderWorkerSet")
    fleet.apply("VLLM", **GROUP)
    assert asyncio.run(fleet.reconcile(KEY)) == 30  # type: ignore[arg-type]  # a coroutine
    assert fleet.condition("Stalled") == ("True", "LeaderWorkerSetMissing")
    fleet.run()
    assert fleet.condition("Ready") == ("True", "Serving")
    fleet.cache.serve("LeaderWorkerSet")
    fleet.run("VLLM", **GROUP)
    assert fleet.workloads() == ["LeaderWorkerSet"]
