"""What a plan does with each kind of workload, with nodes that are full, and with nodes that are gone."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.manifests.names import STRATEGY_ANNOTATION
from agentfleet.objects import Key, Manifest, key_of
from agentfleet.planning.health import assess
from agentfleet.planning.nodes import NodeView
from agentfleet.planning.observed import Observed, gather
from agentfleet.planning.plan import Plan, asks_for_nodes, plan
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.settings import Settings
from tests.builders import NAMESPACE, UID, server

SETTINGS = Settings()
GPU = "nvidia.com/gpu"
PER_NODE = {"placement": {"mode": "PerNode"}}
GROUP = {"parallelism": {"tensor": 4, "pipeline": 2, "nodes": 2}}
KINDS = ("Deployment", "DaemonSet", "LeaderWorkerSet")


class Fleet:
    """The children of one ModelServer between two plans; tests play the controllers."""

    def __init__(self) -> None:
        self.children: dict[Key, Manifest] = {}
        self.pods: list[Manifest] = []
        self.nodes: tuple[NodeView, ...] | None = None
        self.served = frozenset({"LeaderWorkerSet"})

    def observed(self) -> Observed:
        def of(kind: str) -> list[Manifest]:
            return self.pods if kind == "Pod" else [m for key, m in self.children.items() if key.kind == kind]

        return replace(gather(of, UID, self.served), nodes=self.nodes)

    def step(self, asked: ModelServer) -> Plan:
        """Plan, and do what the plan says as reconcile does."""
        wanted = plan(asked, self.observed(), SETTINGS)
        for manifest in wanted.apply:
            key, old = key_of(manifest), self.children.get(key_of(manifest), {})
            metadata = {**manifest["metadata"], "uid": f"uid of {key}", "generation": 1}
            if old and old.get("spec") != manifest.get("spec"):
                metadata["generation"] = old["metadata"]["generation"] + 1
            self.children[key] = {**manifest, "metadata": metadata, "status": old.get("status", {})}
        for key, replicas in wanted.scale.items():
            self.children[key]["spec"]["replicas"] = replicas
        for key, _ in wanted.delete:
            del self.children[key]
        return wanted

    def workloads(self) -> dict[str, int]:
        found = {key.kind: m for key, m in self.children.items() if key.kind in KINDS}
        return {kind: m["spec"].get("replicas", -1) for kind, m in found.items()}

    def serve(self, kind: str, count: int | None = None) -> None:
        """The controller of all workloads of `kind` has made their pods, and they are ready."""
        for key, manifest in self.children.items():
            if key.kind == kind == "DaemonSet":
                generation = manifest["metadata"]["generation"]
                manifest["status"] = {
                    "observedGeneration": generation,
                    "desiredNumberScheduled": count,
                    "currentNumberScheduled": count,
                    "numberReady": count,
                }
            elif key.kind == kind:
                replicas = manifest["spec"]["replicas"]
                manifest["status"] = {"replicas": replicas, "readyReplicas": replicas}

    def newest(self, kind: str = "Deployment") -> Manifest:
        return max((m for key, m in self.children.items() if key.kind == kind), key=lambda m: m["metadata"]["uid"])


def node(name: str, gpus: int, used: int = 0, *, ready: bool = True) -> NodeView:
    return NodeView(name, allocatable={GPU: gpus, "pods": 100}, used={GPU: used}, ready=ready)


def pod(labels: dict[str, str], node_name: str | None = None, **more: Any) -> Manifest:
    metadata = {"name": f"pod-{node_name}", "namespace": NAMESPACE, "labels": labels, **more.pop("metadata", {})}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node_name} if node_name else {}, "status": more}


UNSCHEDULABLE = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}


def test_a_plan_says_how_many_replicas_shall_serve() -> None:
    fleet = Fleet()
    assert fleet.step(server(replicas=3)).wanted == 3
    fleet = Fleet()
    assert fleet.step(server(replicas=3, **PER_NODE)).wanted is None, "how many nodes fit is not known yet"
    fleet.serve("DaemonSet", 0)
    assert fleet.step(server(replicas=3, **PER_NODE)).wanted == 1, "no node fits: nobody is served"
    fleet.serve("DaemonSet", 7)
    assert fleet.step(server(replicas=3, **PER_NODE)).wanted == 7
    assert fleet.workloads() == {"DaemonSet": -1}


def test_without_its_crd_a_replica_over_nodes_is_refused_and_looked_at_again() -> None:
    fleet = Fleet()
    fleet.served = frozenset()
    with pytest.raises(InvalidSpec, match=r"leaderworkersets\.leaderworkerset\.x-k8s\.io") as caught:
        fleet.step(server("VLLM", **GROUP))
    assert caught.value.reason == "LeaderWorkerSetMissing"
    assert caught.value.after is not None
    fleet.served = frozenset({"LeaderWorkerSet"})
    fleet.step(server("VLLM", replicas=2, **GROUP))
    assert fleet.workloads() == {"LeaderWorkerSet": 2}


def test_groups_are_scaled_and_rolled_as_deployments_are() -> None:
    fleet = Fleet()
    fleet.step(server("VLLM", replicas=2, **GROUP))
    fleet.serve("LeaderWorkerSet")
    wanted = fleet.step(server("VLLM", replicas=3, **GROUP))
    assert list(wanted.scale.values()) == [3]
    fleet.serve("LeaderWorkerSet")
    for _ in range(20):
        last = fleet.step(server("VLLM", replicas=3, image="vllm/vllm-openai:v0.32.0", **GROUP))
        fleet.serve("LeaderWorkerSet")
    assert (fleet.workloads(), last.scale, last.delete) == ({"LeaderWorkerSet": 3}, {next(iter(last.scale)): 3}, ())


@pytest.mark.parametrize("engine", ["LlamaCpp", "VLLM"])
def test_from_replicas_to_every_node_and_back(engine: str) -> None:
    """CPU pods: somebody serves at every step. GPU pods: it ends, though no GPU is free."""
    fleet = Fleet()
    fleet.step(server(engine, replicas=2))
    fleet.serve("Deployment")
    fleet.step(server(engine, **PER_NODE))
    assert fleet.workloads() == {"Deployment": 2, "DaemonSet": -1}
    fleet.serve("DaemonSet", 3)
    for _ in range(5):
        fleet.step(server(engine, **PER_NODE))
        fleet.serve("Deployment")
    assert fleet.workloads() == {"DaemonSet": -1}
    fleet.step(server(engine, replicas=2))
    assert fleet.workloads() == ({"Deployment": 2, "DaemonSet": -1} if engine == "LlamaCpp" else {"Deployment": 2})
    fleet.serve("Deployment")
    fleet.step(server(engine, replicas=2))
    assert fleet.workloads() == {"Deployment": 2}


def test_a_changed_spec_of_every_node_changes_the_one_daemon_set() -> None:
    fleet = Fleet()
    fleet.step(server(image="a", **PER_NODE))
    fleet.serve("DaemonSet", 8)
    before = fleet.newest("DaemonSet")["metadata"]["name"]
    fleet.pods = [pod(fleet.newest("DaemonSet")["spec"]["template"]["metadata"]["labels"], "n1")]
    wanted = fleet.step(server(image="b", **PER_NODE))
    assert fleet.newest("DaemonSet")["metadata"]["name"] == before
    assert fleet.newest("DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"] == {"maxSurge": 2, "maxUnavailable": 0}
    assert (wanted.rollout and wanted.rollout.strategy, wanted.delete) == ("Surge", ())


@pytest.mark.parametrize(
    ("engine", "lost", "rolling"),
    [
        ("LlamaCpp", 0, {"maxSurge": 1, "maxUnavailable": 0}),
        ("LlamaCpp", 2, {"maxSurge": 3, "maxUnavailable": 0}),
        ("VLLM", 0, {"maxSurge": 0, "maxUnavailable": 1}),
        ("VLLM", 2, {"maxSurge": 0, "maxUnavailable": 3}),
    ],
)
def test_lost_nodes_do_not_hold_up_the_rollout_on_the_others(engine: str, lost: int, rolling: dict[str, int]) -> None:
    """A DaemonSet counts pods on them as unavailable, and would otherwise wait until the nodes return."""
    fleet = Fleet()
    fleet.nodes = tuple(node(f"n{i}", 1, 1, ready=i >= lost) for i in range(4))
    fleet.step(server(engine, **PER_NODE))
    fleet.serve("DaemonSet", 4)
    labels = fleet.newest("DaemonSet")["spec"]["template"]["metadata"]["labels"]
    fleet.pods = [pod(labels, f"n{i}") for i in range(4)]
    fleet.step(server(engine, image="b", **PER_NODE))
    assert fleet.newest("DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"] == rolling


def rolled(fleet: Fleet) -> tuple[Plan, dict[str, int]]:
    """One step of a rollout of three GPU pods."""
    wanted = fleet.step(server("VLLM", replicas=3, image="b"))
    numbers = {
        "new" if key.name.endswith(wanted.revision) else "old": m["spec"]["replicas"]
        for key, m in fleet.children.items()
        if key.kind == "Deployment"
    }
    return wanted, numbers


def with_three_gpu_pods() -> Fleet:
    fleet = Fleet()
    fleet.step(server("VLLM", replicas=3, image="a"))
    fleet.serve("Deployment")
    return fleet


def strategy(fleet: Fleet, wanted: Plan) -> tuple[str | None, str | None]:
    """As status tells it, and as it is noted for the next pass."""
    newest = next(m for key, m in fleet.children.items() if key.name.endswith(wanted.revision))
    noted = newest["metadata"]["annotations"].get(STRATEGY_ANNOTATION)
    return wanted.rollout.strategy if wanted.rollout else None, noted


def test_a_free_gpu_is_used_and_the_surge_goes_on_when_our_own_pod_has_taken_it() -> None:
    fleet = with_three_gpu_pods()
    assert asks_for_nodes(server("VLLM", replicas=3, image="b"), fleet.observed(), SETTINGS)
    assert not asks_for_nodes(server("VLLM", replicas=3, image="a"), fleet.observed(), SETTINGS)
    fleet.nodes = (node("n1", 4, used=3),)
    wanted, numbers = rolled(fleet)
    assert (strategy(fleet, wanted), numbers) == (("Surge", "Surge"), {"old": 3, "new": 1})
    fleet.nodes = (node("n1", 4, used=4),)
    wanted, numbers = rolled(fleet)
    assert (strategy(fleet, wanted), numbers) == (("Surge", "Surge"), {"old": 3, "new": 1})
    fleet.serve("Deployment")
    assert rolled(fleet)[1] == {"old": 2, "new": 1}


def test_a_gpu_that_somebody_else_has_taken_does_not_hold_up_the_rollout() -> None:
    fleet = with_three_gpu_pods()
    fleet.nodes = (node("n1", 4, used=3),)
    wanted, _ = rolled(fleet)
    newest = next(m for key, m in fleet.children.items() if key.name.endswith(wanted.revision))
    labels = newest["spec"]["template"]["metadata"]["labels"]
    leaving = pod({"agentfleet.dev/modelserver": "phi"}, "n1", metadata={"deletionTimestamp": "2026-11-21T10:00:00Z"})
    fleet.pods = [pod(labels, **UNSCHEDULABLE), leaving]
    wanted, numbers = rolled(fleet)
    assert (strategy(fleet, wanted), numbers) == (("Surge", "Surge"), {"old": 3, "new": 1}), "a GPU is about to be free"
    fleet.nodes = (node("n1", 4, used=4, ready=False),)
    wanted, numbers = rolled(fleet)
    assert (strategy(fleet, wanted), numbers) == (("NoSurge", "NoSurge"), {"old": 2, "new": 1}), "that node is dead"
    fleet.pods, fleet.nodes = [], (node("n1", 9),)
    assert strategy(fleet, rolled(fleet)[0]) == ("NoSurge", "NoSurge"), "no way back within one rollout"


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (None, "not known"),
        ((node("n1", 4, used=4), node("n2", 4, ready=False)), "No GPU is free"),
    ],
)
def test_without_a_free_gpu_pods_go_one_by_one(nodes: tuple[NodeView, ...] | None, words: str) -> None:
    fleet = with_three_gpu_pods()
    fleet.nodes = nodes
    wanted, numbers = rolled(fleet)
    assert numbers == {"old": 2, "new": 0}
    assert wanted.rollout is not None
    assert words in wanted.rollout.reason


def test_devices_that_are_claimed_are_not_counted_on() -> None:
    claimed = {"gpu": {"claims": [{"name": "gpu", "resourceClaimTemplateName": "one"}]}, "replicas": 2}
    fleet = Fleet()
    fleet.step(server("VLLM", image="a", **claimed))
    fleet.serve("Deployment")
    fleet.nodes = (node("n1", 9),)
    wanted = fleet.step(server("VLLM", image="b", **claimed))
    assert wanted.rollout is not None
    assert (wanted.rollout.strategy, "not known" in wanted.rollout.reason) == ("NoSurge", True)


def test_gpu_nodes_are_tainted_and_count_all_the_same() -> None:
    fleet = with_three_gpu_pods()
    tainted = replace(node("n1", 4, used=3), taints=({"key": GPU, "effect": "NoSchedule"},))
    fleet.nodes = (tainted,)
    assert rolled(fleet)[1] == {"old": 3, "new": 1}


def test_pods_that_a_dead_node_keeps_are_replaced_once_and_serve_nobody() -> None:
    """As a ReplicaSet does it: pods on their way out are in none of its counts, so nothing here sees them."""
    fleet = Fleet()
    fleet.step(server(replicas=2))
    fleet.serve("Deployment")
    labels = fleet.newest()["spec"]["template"]["metadata"]["labels"]
    stuck = pod(labels, "dead", metadata={"deletionTimestamp": "2026-11-21T10:00:00Z"})
    fleet.pods = [stuck, stuck, stuck]
    for _ in range(3):
        wanted = fleet.step(server(replicas=2))
        assert (fleet.workloads(), list(wanted.scale.values())) == ({"Deployment": 2}, [2])
    for _ in range(10):
        fleet.step(server(replicas=2, image="b"))
        fleet.serve("Deployment")
        assert sum(m["spec"]["replicas"] for key, m in fleet.children.items() if key.kind == "Deployment") <= 3
    assert fleet.workloads() == {"Deployment": 2}


def test_policies_and_budgets_come_and_go_with_the_spec() -> None:
    fleet = Fleet()
    fleet.step(server(replicas=2))
    names = {(key.kind, key.name) for key in fleet.children}
    assert {("NetworkPolicy", "phi-model"), ("PodDisruptionBudget", "phi-model")} <= names
    fleet.step(server(replicas=1))
    assert "PodDisruptionBudget" not in {key.kind for key in fleet.children}


def test_workers_and_loaders_are_no_engine_pods() -> None:
    index = "leaderworkerset.sigs.k8s.io/worker-index"
    pods = {
        "leader": {"agentfleet.dev/modelserver": "phi", index: "0"},
        "worker": {"agentfleet.dev/modelserver": "phi", index: "1"},
        "plain": {"agentfleet.dev/modelserver": "phi"},
        "loader": {"agentfleet.dev/loader-for": "phi"},
    }
    found = gather(lambda kind: [pod(labels, name) for name, labels in pods.items()] if kind == "Pod" else [], UID)
    assert [
        [each["metadata"]["name"] for each in group] for group in (found.pods, found.workers, found.loader_pods)
    ] == [
        ["pod-leader", "pod-plain"],
        ["pod-worker"],
        ["pod-loader"],
    ]


def test_kept_claims_count_without_owner_and_foreign_ones_do_not() -> None:
    def claim(name: str, **metadata: Any) -> Manifest:
        return {"kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE, **metadata}}

    claims = [
        claim("owned", ownerReferences=[{"uid": UID}]),
        claim("kept", labels={"app.kubernetes.io/managed-by": "agentfleet"}),
        claim("labelled by a user", labels={"agentfleet.dev/modelserver": "phi"}),
    ]
    found = gather(lambda kind: claims if kind == "PersistentVolumeClaim" else [], UID)
    assert [each["metadata"]["name"] for each in found.claims] == ["owned", "kept"]


def test_an_inference_pool_comes_after_the_pods_and_goes_when_it_is_not_asked_for() -> None:
    fleet = Fleet()
    fleet.served |= {"InferencePool"}
    asked = server(expose={"inferencePool": True})
    assert fleet.step(asked).apply[-1]["kind"] == "InferencePool"
    assert [key.kind for key, _ in fleet.step(server()).delete] == ["InferencePool"]
    fleet.served = frozenset()
    assert "InferencePool" not in {manifest["kind"] for manifest in fleet.step(asked).apply}


@pytest.mark.parametrize(
    ("served", "expected", "after"),
    [({"InferencePool"}, ("True", "InferencePoolMade"), None), (set(), ("False", "InferencePoolMissing"), 60)],
)
def test_status_says_whether_gateways_find_the_pods(
    served: set[str], expected: tuple[str, str], after: float | None
) -> None:
    fleet = Fleet()
    fleet.served |= served
    asked = server(expose={"inferencePool": True}, replicas=0)
    wanted = fleet.step(asked)
    found = assess(asked, ModelServerStatus(), fleet.observed(), wanted, SETTINGS, datetime(2026, 11, 21, tzinfo=UTC))
    assert [(c.status, c.reason) for c in found.status.conditions if c.type == "Exposed"] == [expected]
    assert found.after == after
