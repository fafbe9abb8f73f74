"""Nodes are judged as the scheduler judges them, and GPUs as their labels tell."""

from typing import Any

import pytest

from agentfleet.errors import InvalidSpec
from agentfleet.planning.demands import demand_of
from agentfleet.planning.gpus import gpu_memory, gpu_problem, is_mig, shares
from agentfleet.planning.nodes import Demand, NodeView, mismatch, node_view, pod_requests, pods_in, takes_pods
from tests.builders import server

GIB = 2**30
GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


@pytest.mark.parametrize(
    ("what", "resource", "labels", "memory"),
    [
        ("a whole GPU", GPU, {"nvidia.com/gpu.memory": "81920"}, 80 * GIB),
        ("no label", GPU, {}, None),
        ("a label that is no number", GPU, {"nvidia.com/gpu.memory": "lots"}, None),
        ("time-sliced: its share", GPU, {"nvidia.com/gpu.memory": "81920", "nvidia.com/gpu.replicas": "4"}, 20 * GIB),
        ("time-sliced and renamed", "nvidia.com/gpu.shared",
         {"nvidia.com/gpu.memory": "81920", "nvidia.com/gpu.replicas": "4"}, 20 * GIB),
        ("a MIG slice by its label", MIG, {"nvidia.com/mig-1g.10gb.memory": "9728"}, 9728 * 2**20),
        ("a MIG slice by its name", MIG, {"nvidia.com/gpu.memory": "81920"}, 10 * 10**9),
        ("a MIG slice with media engines", "nvidia.com/mig-1g.5gb.me", {}, 5 * 10**9),
        ("MIG in the single strategy", GPU, {"nvidia.com/gpu.memory": "4864"}, 4864 * 2**20),
        ("AMD", "amd.com/gpu", {"amd.com/gpu.vram": "191G"}, 191 * GIB),
        ("Intel says nothing", "gpu.intel.com/i915", {"nvidia.com/gpu.memory": "81920"}, None),
    ],
)  # fmt: skip
def test_gpu_memory(what: str, resource: str, labels: dict[str, str], memory: int | None) -> None:
    assert gpu_memory(labels, resource) == memory, what


@pytest.mark.parametrize(
    ("what", "resource", "labels", "count", "memory", "problem"),
    [
        ("no GPU wanted", GPU, {"nvidia.com/gpu.memory": "1"}, 0, 80 * GIB, None),
        ("enough", GPU, {"nvidia.com/gpu.memory": "81920"}, 8, 80 * GIB, None),
        ("an L4 is a GPU of 24Gi although it shows 22.5", GPU, {"nvidia.com/gpu.memory": "23034"}, 1, 24 * GIB, None),
        ("an H100 is one of 80Gi although it shows 79.6", GPU, {"nvidia.com/gpu.memory": "81559"}, 1, 80 * GIB, None),
        ("too small", GPU, {"nvidia.com/gpu.memory": "40960"}, 1, 80 * GIB, "whose GPUs have 40.0 GiB, not 80.0 GiB"),
        ("what no label tells is not held against it", GPU, {}, 1, 80 * GIB, None),
        ("one MIG slice", MIG, {}, 1, None, None),
        ("two MIG slices", MIG, {}, 2, None, "MIG slices"),
        ("two MIG slices, strategy single", GPU, {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"}, 2,
         None, "MIG slices"),
        ("one share", GPU, {"nvidia.com/gpu.replicas": "4"}, 1, None, None),
        ("two shares", GPU, {"nvidia.com/gpu.replicas": "4"}, 2, None, "may be the same one"),
        ("whole GPUs say replicas 1", GPU, {"nvidia.com/gpu.replicas": "1"}, 2, None, None),
    ],
)  # fmt: skip
def test_gpu_problem(
    what: str, resource: str, labels: dict[str, str], count: int, memory: int | None, problem: str | None
) -> None:
    told = gpu_problem(labels, resource, count, memory)
    assert (told is None) if problem is None else problem in (told or ""), what


def test_shares_and_slices() -> None:
    assert shares({"nvidia.com/mig-1g.10gb.replicas": "3"}, f"{MIG}.shared") == 3
    assert is_mig({}, f"{MIG}.shared")
    assert not is_mig({"nvidia.com/gpu.product": "Tesla-T4-SHARED"}, GPU)


TAINT = {"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "present"}


def term(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("what", "node", "demand", "problem"),
    [
        ("nothing asked", {}, {}, None),
        ("label there", {"labels": {"a": "b"}}, {"node_selector": {"a": "b"}}, None),
        ("label missing", {}, {"node_selector": {"a": "b"}}, "without label a=b"),
        ("taint", {"taints": (TAINT,)}, {}, "with taint nvidia.com/gpu"),
        ("tolerated by key", {"taints": (TAINT,)},
         {"tolerations": ({"key": "nvidia.com/gpu", "operator": "Exists"},)}, None),
        ("tolerated by value", {"taints": (TAINT,)},
         {"tolerations": ({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},)}, None),
        ("another value", {"taints": (TAINT,)},
         {"tolerations": ({"key": "nvidia.com/gpu", "value": "x"},)}, "with taint"),
        ("another effect", {"taints": (TAINT,)},
         {"tolerations": ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"},)}, "with taint"),
        ("everything tolerated", {"taints": (TAINT,)}, {"tolerations": ({"operator": "Exists"},)}, None),
        ("an empty toleration tolerates nothing", {"taints": (TAINT,)}, {"tolerations": ({},)}, "with taint"),
        ("only preferred", {"taints": (TAINT | {"effect": "PreferNoSchedule"},)}, {}, None),
        ("a passing state is no mismatch",
         {"taints": ({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},)}, {}, None),
        ("In", {"labels": {"zone": "a"}}, {"node_terms": (term("zone", "In", "a", "b"),)}, None),
        ("not In", {"labels": {"zone": "c"}}, {"node_terms": (term("zone", "In", "a", "b"),)}, "outside"),
        ("one of two terms", {"labels": {"zone": "c"}},
         {"node_terms": (term("zone", "In", "a"), term("zone", "Exists"))}, None),
        ("NotIn without the label", {}, {"node_terms": (term("zone", "NotIn", "a"),)}, None),
        ("DoesNotExist", {"labels": {"zone": "c"}}, {"node_terms": (term("zone", "DoesNotExist"),)}, "outside"),
        ("Gt", {"labels": {"n": "81920"}}, {"node_terms": (term("n", "Gt", "40000"),)}, None),
        ("Lt", {"labels": {"n": "81920"}}, {"node_terms": (term("n", "Lt", "40000"),)}, "outside"),
        ("Gt without a number", {"labels": {"n": "x"}}, {"node_terms": (term("n", "Gt", "40000"),)}, "outside"),
        ("an empty term matches nothing", {}, {"node_terms": ({},)}, "outside"),
        ("a field", {}, {"node_terms": ({"matchFields": term("metadata.name", "In", "n")["matchExpressions"]},)}, None),
        ("nonsense matches nothing", {}, {"node_terms": ({"matchExpressions": ["zone", 3]},)}, "outside"),
        ("no such GPU", {"allocatable": {"cpu": 4000}}, {"gpus": 1}, "without nvidia.com/gpu"),
        ("all GPUs unhealthy", {"allocatable": {GPU: 0}}, {"gpus": 1}, "without nvidia.com/gpu"),
    ],
)  # fmt: skip
def test_mismatch(what: str, node: dict[str, Any], demand: dict[str, Any], problem: str | None) -> None:
    told = mismatch(NodeView("n", **node), Demand(**demand))
    assert (told is None) if problem is None else problem in (told or ""), what


@pytest.mark.parametrize(
    ("what", "node", "takes"),
    [
        ("ready", {}, True),
        ("not ready", {"ready": False}, False),
        ("cordoned", {"schedulable": False}, False),
        ("under pressure", {"taints": ({"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},)}, False),
        ("another taint is judged elsewhere", {"taints": (TAINT,)}, True),
    ],
)
def test_takes_pods(what: str, node: dict[str, Any], takes: bool) -> None:
    assert takes_pods(NodeView("n", **node), Demand()) is takes, what


@pytest.mark.parametrize(
    ("what", "room", "demand", "pods"),
    [
        ("by GPUs", {GPU: 5, "cpu": 64_000, "memory": 512 * GIB}, {"gpus": 2, "cpu_millis": 1000}, 2),
        ("by memory", {GPU: 8, "memory": 10 * GIB}, {"gpus": 1, "memory_bytes": 4 * GIB}, 2),
        ("by CPUs", {"cpu": 1900}, {"cpu_millis": 1000}, 1),
        ("by the pod limit", {"cpu": 9000, "pods": 3}, {"cpu_millis": 1000}, 3),
        ("a resource that is not there", {"cpu": 9000}, {"gpus": 1}, 0),
        ("nothing asked, nothing known", {}, {}, 1),
    ],
)
def test_pods_in(what: str, room: dict[str, int], demand: dict[str, Any], pods: int) -> None:
    assert pods_in(room, Demand(**demand)) == pods, what


def container(**requests: str) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": requests}}


def test_what_a_pod_reserves() -> None:
    pod = {
        "spec": {
            "containers": [container(cpu="1", memory="1Gi"), container(cpu="500m") | {"x": 1}, {"name": "bare"}],
            "initContainers": [
                container(cpu="250m") | {"restartPolicy": "Always"},
                container(cpu="1", memory="4Gi"),
            ],
            "overhead": {"cpu": "100m"},
        }
    }
    assert pod_requests(pod) == {"cpu": 1850, "memory": 4 * GIB, "pods": 1}


def test_view_of_a_node() -> None:
    node = {
        "metadata": {"name": "gpu-1", "labels": {"a": "b"}},
        "spec": {"unschedulable": True, "taints": [TAINT]},
        "status": {
            "allocatable": {"cpu": "3920m", "memory": "16Gi", GPU: "4", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    running = {"spec": {"containers": [container(**{GPU: "1", "cpu": "1"})]}, "status": {"phase": "Running"}}
    ended = running | {"status": {"phase": "Succeeded"}}
    view = node_view(node, [running, running, ended])
    assert view.allocatable == {"cpu": 3920, "memory": 16 * GIB, GPU: 4, "pods": 110}
    assert view.free() == {"cpu": 1920, "memory": 16 * GIB, GPU: 2, "pods": 108}
    assert view.free({GPU: 1, "pods": 1}) == {"cpu": 1920, "memory": 16 * GIB, GPU: 3, "pods": 109}
    assert (view.ready, view.schedulable, view.taints) == (True, False, (TAINT,))
    bare = node_view({"metadata": {"name": "new"}}, [])
    assert (bare.ready, bare.schedulable, bare.allocatable, bare.taints) == (False, True, {}, ())


def test_demand_of_a_server() -> None:
    demand = demand_of(
        server(
            "VLLM",
            gpu={"resource": "nvidia.com/gpu", "products": ["NVIDIA-L4"], "memory": "24Gi"},
            resources={"requests": {"cpu": "2"}, "limits": {"memory": "8Gi", "cpu": "4"}},
            placement={
                "nodeSelector": {"pool": "gpu"}, "sites": ["store-17"], "tolerations": [{"operator": "Exists"}],
            },
        ),
        "topology.kubernetes.io/zone",
        gpus=1,
    )  # fmt: skip
    assert (demand.gpus, demand.pods, demand.gpu_memory_bytes) == (1, 1, 24 * GIB)
    assert demand.requests == {GPU: 1, "cpu": 2000, "memory": 8 * GIB, "pods": 1}
    labels = {"pool": "gpu", "nvidia.com/gpu.product": "NVIDIA-L4", "topology.kubernetes.io/zone": "store-17"}
    able = NodeView("n", labels, {GPU: 1}, taints=(TAINT,))
    assert mismatch(able, demand) is None
    for label in labels:
        other = {key: value for key, value in labels.items() if key != label}
        assert mismatch(NodeView("n", other, {GPU: 1}), demand) is not None


def test_demand_of_a_bare_server() -> None:
    assert demand_of(server("LlamaCpp"), "zone").requests == {"pods": 1}


def test_an_affinity_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="nodeAffinity"):
        demand_of(server("LlamaCpp", placement={"affinity": {"nodeAffinity": ["zone"]}}), "zone")
