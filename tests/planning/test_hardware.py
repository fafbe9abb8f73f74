"""The best profile with room wins, what serves goes on serving, and nobody moves for a moment's luck."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.planning.hardware import Choice, choose, gpu_memory_of, gpus_per_node, room
from agentfleet.planning.nodes import Demand, NodeView, mismatch, pods_in, takes_pods

GIB = 2**30
GPU = "nvidia.com/gpu"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DWELL = 600.0


def gpu_node(name: str, product: str, gpus: int, used: int = 0, **more: Any) -> NodeView:
    labels = {"nvidia.com/gpu.product": product} | more.pop("labels", {})
    allocatable = {GPU: gpus, "cpu": 1000, "memory": 256 * GIB, "pods": 110}  # too few CPUs for the CPU profile
    return NodeView(name, labels, allocatable, {GPU: used, "pods": used}, **more)


def cpu_node(name: str = "cpu-1", free_cpus: int = 8) -> NodeView:
    return NodeView(name, {}, {"cpu": 8000, "memory": 32 * GIB, "pods": 110}, {"cpu": 8000 - 1000 * free_cpus})


A100 = ("a100", Demand(gpus=1, node_selector={"nvidia.com/gpu.product": "A100"}))
L4 = ("l4", Demand(gpus=1, node_selector={"nvidia.com/gpu.product": "L4"}))
CPU = ("cpu", Demand(cpu_millis=2000, memory_bytes=4 * GIB))
CHAIN = (A100, L4, CPU)


def chosen(nodes: list[NodeView] | None, replicas: int = 1, current: str | None = None, **more: Any) -> Choice:
    options = more.pop("options", CHAIN)
    return choose(options, nodes, replicas, current, more.pop("held", {}), more.pop("since", {}), NOW, DWELL)


@pytest.mark.parametrize(
    ("what", "nodes", "replicas", "name", "reason"),
    [
        ("the first that fits", [gpu_node("a", "A100", 1), gpu_node("l", "L4", 1), cpu_node()], 1, "a100",
         "ProfileFits"),
        ("taken by others: the next", [gpu_node("a", "A100", 1, 1), gpu_node("l", "L4", 1), cpu_node()], 1, "l4",
         "ProfileFits"),
        ("not for all replicas: the next", [gpu_node("a", "A100", 1), gpu_node("l", "L4", 2)], 2, "l4", "ProfileFits"),
        ("over several nodes", [gpu_node("a", "A100", 1), gpu_node("b", "A100", 2, 1)], 2, "a100", "ProfileFits"),
        ("no GPU at all: the CPU", [cpu_node()], 1, "cpu", "ProfileFits"),
        ("a node that is not ready", [gpu_node("a", "A100", 1, ready=False), cpu_node()], 1, "cpu", "ProfileFits"),
        ("a cordoned node", [gpu_node("a", "A100", 1, schedulable=False), cpu_node()], 1, "cpu", "ProfileFits"),
        ("a tainted node", [gpu_node("a", "A100", 1, taints=({"key": "x", "effect": "NoSchedule"},)), cpu_node()], 1,
         "cpu", "ProfileFits"),
        ("full: wait where others may leave", [gpu_node("l", "L4", 1, 1), cpu_node("c", 1)], 1, "l4",
         "WaitingForCapacity"),
        ("full: in the user's order", [gpu_node("l", "L4", 1, 1), gpu_node("a", "A100", 1, 1)], 1, "a100",
         "WaitingForCapacity"),
        ("a node that may come back", [gpu_node("l", "L4", 1, ready=False)], 1, "l4", "WaitingForCapacity"),
        ("some can run: serve with those", [gpu_node("a", "A100", 2, 2), gpu_node("l", "L4", 1)], 2, "l4",
         "NoProfileFits"),
        ("never: most of them", [gpu_node("a", "A100", 1, 1), gpu_node("l", "L4", 2, 2)], 3, "l4", "NoProfileFits"),
        ("never at all: the favourite", [], 1, "a100", "NoProfileFits"),
        ("no replicas wanted: room for one", [gpu_node("a", "A100", 1, 1), cpu_node()], 0, "cpu", "ProfileFits"),
        ("nodes not watched", None, 5, "a100", "NodesUnknown"),
    ],
)  # fmt: skip
def test_first_choice(what: str, nodes: list[NodeView] | None, replicas: int, name: str, reason: str) -> None:
    choice = chosen(nodes, replicas)
    assert (choice.name, choice.reason) == (name, reason), what
    assert CHAIN[choice.index][0] == name


def test_every_rejected_option_says_what_is_in_its_way() -> None:
    choice = chosen([gpu_node("a", "A100", 1, 1), gpu_node("b", "H100", 1), cpu_node("c", 2)])
    assert choice.text == "The nodes have room for 1 pod of cpu."
    assert dict(choice.rejected) == {
        "a100": "room for 0 of 1 pods now; the nodes have room for all once others leave or nodes come back",
        "l4": "no node can run it: 3 without label nvidia.com/gpu.product=L4",
    }
    assert "no nodes" in chosen([]).text


# What runs: pods on `a` and `b`, one GPU each.
HELD = {"a": {GPU: 1, "pods": 1}, "b": {GPU: 1, "pods": 1}}


@pytest.mark.parametrize(
    ("what", "nodes", "replicas", "current", "held", "name"),
    [
        ("its own pods do not stand in its way", [gpu_node("a", "A100", 1, 1), cpu_node()], 1, "a100", HELD, "a100"),
        ("it stays where a better one has just got room", [gpu_node("a", "A100", 1), cpu_node()], 1, "cpu", {}, "cpu"),
        ("its node is cut off, its pods are still there",
         [gpu_node("a", "A100", 1, 1, ready=False), cpu_node()], 1, "a100", HELD, "a100"),
        ("its node is cordoned, its pods are still there",
         [gpu_node("a", "A100", 1, 1, schedulable=False), cpu_node()], 1, "a100", HELD, "a100"),
        ("its pods are evicted from a node that is gone for long",
         [gpu_node("a", "A100", 1, 1, ready=False), cpu_node()], 1, "a100", {}, "cpu"),
        ("its node is gone", [cpu_node()], 1, "a100", {}, "cpu"),
        ("it grows beyond its nodes: not at once", [gpu_node("a", "A100", 1, 1), cpu_node()], 2, "a100", HELD, "a100"),
        ("nothing has room for all: it goes on serving", [gpu_node("a", "A100", 1, 1), gpu_node("l", "L4", 2, 2)], 2,
         "a100", HELD, "a100"),
        ("even where another could serve as many", [gpu_node("a", "A100", 1), gpu_node("l", "L4", 1, 1)], 2, "l4",
         {"l": {GPU: 1, "pods": 1}}, "l4"),
        ("a profile that is not listed any more", [gpu_node("a", "A100", 1), cpu_node()], 1, "old", HELD, "a100"),
    ],
)  # fmt: skip
def test_with_pods_running(
    what: str, nodes: list[NodeView], replicas: int, current: str, held: dict[str, dict[str, int]], name: str
) -> None:
    assert chosen(nodes, replicas, current, held=held).name == name, what


def test_it_moves_up_after_the_dwell_time_and_not_before() -> None:
    nodes = [gpu_node("a", "A100", 1), gpu_node("l", "L4", 1), cpu_node()]
    first = chosen(nodes, 1, "cpu")
    assert first.since == {"a100": NOW, "l4": NOW}
    assert first.after == 60.0, "what pods of others free raises no event"
    assert "a100 is better" in first.text
    early = chosen(nodes, 1, "cpu", since={"a100": NOW - timedelta(seconds=599)})
    assert (early.name, early.after) == ("cpu", 1.0)
    late = chosen(nodes, 1, "cpu", since={"a100": NOW - timedelta(seconds=600)})
    assert (late.name, late.since, late.after) == ("a100", {}, None)
    assert "moves up" in late.text or "move up" in late.text


def test_what_serves_some_is_left_only_when_that_lasts() -> None:
    nodes = [gpu_node("a", "A100", 1, 1), cpu_node()]
    first = chosen(nodes, 2, "a100", held=HELD)
    assert (first.name, first.reason, first.since, first.after) == ("a100", "WaitingForCapacity", {"a100": NOW}, DWELL)
    late = chosen(nodes, 2, "a100", held=HELD, since={"a100": NOW - timedelta(seconds=600)})
    assert late.name == "cpu"
    back = chosen([gpu_node("a", "A100", 2, 1), cpu_node()], 2, "a100", held=HELD, since=first.since)
    assert (back.name, back.since) == ("a100", {})


def test_it_moves_to_the_best_that_has_had_room_for_long() -> None:
    nodes = [gpu_node("a", "A100", 1), gpu_node("l", "L4", 1), cpu_node()]
    assert chosen(nodes, 1, "cpu", since={"l4": NOW - timedelta(hours=1)}).name == "l4"
    long = NOW - timedelta(hours=1)
    assert chosen(nodes, 1, "cpu", since={"a100": long, "l4": long}).name == "a100"


def test_room_that_was_lost_starts_the_wait_anew() -> None:
    taken = [gpu_node("a", "A100", 1, 1), cpu_node()]
    assert chosen(taken, 1, "cpu", since={"a100": NOW - timedelta(hours=1)}).since == {}


HALF = ("half", Demand(gpus=2))
SINGLE = ("single", Demand(gpus=1))


@pytest.mark.parametrize(
    ("what", "replicas", "used", "moves"),
    [
        ("a single pod would leave a gap", 1, 1, False),
        ("a single pod beside which there is room", 1, 2, True),
        ("several are replaced one by one", 2, 2, True),
        ("but only where the GPUs are enough then", 2, 3, False),
    ],
)
def test_moving_up_on_the_same_gpus(what: str, replicas: int, used: int, moves: bool) -> None:
    gpus = 4 if replicas == 2 or moves else 2
    own = {"a": {GPU: replicas, "pods": replicas}}
    long = {"half": NOW - timedelta(hours=1)}
    node = gpu_node("a", "A100", gpus, used)
    choice = chosen([node], replicas, "single", options=(HALF, SINGLE), held=own, since=long)
    assert (choice.name == "half") is moves, what


MIG_NODE = NodeView("m", {"nvidia.com/mig.strategy": "mixed"}, {"nvidia.com/mig-1g.10gb": 7, "cpu": 9000})


@pytest.mark.parametrize(
    ("what", "demand", "nodes", "fits"),
    [
        ("a MIG slice", Demand(gpus=1, gpu_resource="nvidia.com/mig-1g.10gb", gpu_memory_bytes=9 * GIB), [MIG_NODE],
         True),
        ("two MIG slices are not two GPUs", Demand(gpus=2, gpu_resource="nvidia.com/mig-1g.10gb"), [MIG_NODE], False),
        ("a larger slice than there is", Demand(gpus=1, gpu_resource="nvidia.com/mig-1g.10gb",
         gpu_memory_bytes=20 * GIB), [MIG_NODE], False),
        ("a share of a GPU", Demand(gpus=1), [gpu_node("t", "T4-SHARED", 4, labels={"nvidia.com/gpu.replicas": "4"})],
         True),
        ("two shares", Demand(gpus=2), [gpu_node("t", "T4-SHARED", 4, labels={"nvidia.com/gpu.replicas": "4"})], False),
        ("half a GPU's memory as a share", Demand(gpus=1, gpu_memory_bytes=8 * GIB),
         [gpu_node("t", "T4", 4, labels={"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.memory": "15360"})], False),
        ("a replica over two nodes", Demand(gpus=4, pods=2), [gpu_node("a", "A100", 4), gpu_node("b", "A100", 4)],
         True),
        ("one of two nodes is full", Demand(gpus=4, pods=2), [gpu_node("a", "A100", 4), gpu_node("b", "A100", 4, 1)],
         False),
        ("GPUs in two nodes are not one node's", Demand(gpus=2), [gpu_node("a", "A100", 1), gpu_node("b", "A100", 1)],
         False),
    ],
)  # fmt: skip
def test_special_hardware(what: str, demand: Demand, nodes: list[NodeView], fits: bool) -> None:
    choice = chosen(nodes, options=(("it", demand),))
    assert (choice.reason == "ProfileFits") is fits, what


def test_dra_claims_are_not_judged_and_that_is_said() -> None:
    choice = chosen([cpu_node()], options=(("dra", Demand(claims=("gpu",))), CPU))
    assert (choice.name, choice.reason) == ("dra", "ProfileFits")
    assert "DRA claims are not judged" in choice.text


def test_figures_for_sizing_and_rollout() -> None:
    nodes = [
        gpu_node("a", "A100", 8, 3, labels={"nvidia.com/gpu.memory": "81920"}),
        gpu_node("b", "A100", 4, 4, labels={"nvidia.com/gpu.memory": "40960"}),
        gpu_node("c", "A100", 4, ready=False),
        cpu_node(),
    ]
    demand = Demand(gpus=2)
    assert room(nodes, demand) == 2
    assert gpus_per_node(nodes, demand) == 8
    assert gpu_memory_of(nodes, demand) == 40 * GIB
    large = Demand(gpus=2, gpu_memory_bytes=80 * GIB)
    assert gpu_memory_of(nodes, large) == 80 * GIB
    assert gpu_memory_of([cpu_node()], demand) is None
    assert gpus_per_node([cpu_node()], demand) is None
    assert (room(None, demand), gpus_per_node(None, demand)) == (None, None)


amounts = st.integers(0, 4)
nodes_of_any_kind = st.lists(
    st.builds(
        lambda name, product, gpus, used, ready, schedulable: gpu_node(
            name, product, gpus, min(used, gpus), ready=ready, schedulable=schedulable
        ),
        st.sampled_from("abcd"), st.sampled_from(["A100", "L4"]), amounts, amounts, st.booleans(), st.booleans(),
    ),
    max_size=4,
    unique_by=lambda node: node.name,
)  # fmt: skip
demands = st.builds(
    Demand,
    gpus=st.integers(0, 3),
    pods=st.integers(1, 2),
    node_selector=st.sampled_from([{}, {"nvidia.com/gpu.product": "A100"}, {"nvidia.com/gpu.product": "L4"}]),
)
chains = st.lists(demands, min_size=1, max_size=4).map(
    lambda found: [(f"p{i}", demand) for i, demand in enumerate(found)]
)


def fits_beside_everything(demand: Demand, nodes: list[NodeView], replicas: int) -> bool:
    usable = [node for node in nodes if mismatch(node, demand) is None and takes_pods(node, demand)]
    return sum(pods_in(node.free(), demand) for node in usable) >= max(1, replicas) * demand.pods


@given(options=chains, nodes=nodes_of_any_kind, replicas=st.integers(0, 3))
def test_what_fits_is_taken_before_what_does_not(
    options: list[tuple[str, Demand]], nodes: list[NodeView], replicas: int
) -> None:
    choice = chosen(nodes, replicas, options=options)
    fitting = [name for name, demand in options if fits_beside_everything(demand, nodes, replicas)]
    assert (choice.reason == "ProfileFits") is bool(fitting)
    if fitting:
        assert choice.name == fitting[0]
    assert choice == chosen(nodes, replicas, options=options)
    assert choice.name not in dict(choice.rejected)


@given(
    options=chains,
    nodes=nodes_of_any_kind,
    replicas=st.integers(1, 3),
    current=st.sampled_from(["p0", "p1", "p2", "gone"]),
    waited=st.integers(0, 1200),
)
def test_pods_only_move_to_where_all_have_room_or_from_where_none_has(
    options: list[tuple[str, Demand]], nodes: list[NodeView], replicas: int, current: str, waited: int
) -> None:
    held = {node.name: {GPU: node.used[GPU], "pods": node.used[GPU]} for node in nodes if node.used[GPU]}
    since = {name: NOW - timedelta(seconds=waited) for name, _ in options}
    choice = chosen(nodes, replicas, current, options=options, held=held, since=since)
    again = chosen(nodes, replicas, current, options=options, held=held, since=since)
    assert choice == again
    if choice.name != current and choice.reason == "ProfileFits" and replicas == 1:
        assert fits_beside_everything(dict(options)[choice.name], nodes, replicas)
    if choice.after is not None:
        assert 0 < choice.after <= DWELL
        assert choice.name == current
