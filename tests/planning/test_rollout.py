"""Rollouts end where they should from any state, and never serve less or hold more than they may on the way."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.planning.observed import ObservedWorkload
from agentfleet.planning.rollout import (
    ONE_BY_ONE,
    Begun,
    Pace,
    Strategy,
    daemon_set_may_go,
    pace,
    replicas_beside_daemon_set,
    replicas_by_workload,
)


def seen(revision: str, replicas: int, *, pods: int | None = None, ready: int | None = None) -> ObservedWorkload:
    pods = replicas if pods is None else pods
    return ObservedWorkload(revision, f"uid-{revision}", revision, replicas, pods, pods if ready is None else ready)


SURGE = Pace(surge=1, unavailable=0)
NO_SURGE = Pace(surge=0, unavailable=1)


@pytest.mark.parametrize(
    ("what", "wanted", "workloads", "how", "targets"),
    [
        ("first start", 3, [], SURGE, {"new": 3}),
        ("scaling out needs no rollout", 5, [seen("new", 2)], SURGE, {"new": 5}),
        ("scaling to zero", 0, [seen("new", 2)], SURGE, {"new": 0}),
        ("surge: one new pod first", 2, [seen("old", 2)], SURGE, {"new": 1, "old": 2}),
        ("surge: an old one goes when the new one serves", 2, [seen("old", 2), seen("new", 1)], SURGE,
         {"new": 1, "old": 1}),
        ("no surge: an old one goes first", 2, [seen("old", 2)], NO_SURGE, {"new": 0, "old": 1}),
        ("no surge: then the new one comes", 2, [seen("old", 1)], NO_SURGE, {"new": 1, "old": 1}),
        ("a single GPU pod is replaced, delete first", 1, [seen("old", 1)], NO_SURGE, {"new": 0, "old": 0}),
        ("a new revision that fails keeps the old one serving", 2, [seen("old", 2), seen("new", 1, ready=0)], SURGE,
         {"new": 1, "old": 2}),
        ("old pods that do not serve go at once", 2, [seen("old", 2, ready=0)], SURGE, {"new": 1, "old": 0}),
        ("back to a revision that is still there", 2, [seen("new", 1), seen("bad", 1, ready=0)], SURGE,
         {"new": 2, "bad": 0}),
        ("old empty ones stay empty", 1, [seen("new", 1), seen("old", 0)], SURGE, {"new": 1, "old": 0}),
        ("rollout to zero", 0, [seen("old", 2)], SURGE, {"new": 0, "old": 0}),
    ],
)  # fmt: skip
def test_next_step(
    what: str, wanted: int, workloads: list[ObservedWorkload], how: Pace, targets: dict[str, int]
) -> None:
    assert replicas_by_workload(wanted, "new", workloads, how) == targets, what


@pytest.mark.parametrize(
    ("what", "wanted", "strategy", "gpus", "room", "begun", "how", "chosen"),
    [
        ("CPU pods surge by a quarter", 8, "Auto", 0, None, None, Pace(2, 0), "Surge"),
        ("and by one at least", 1, "Auto", 0, None, None, SURGE, "Surge"),
        ("unless told otherwise", 8, "NoSurge", 0, None, None, ONE_BY_ONE, "NoSurge"),
        ("GPUs that are free are used", 8, "Auto", 2, 1, None, SURGE, "Surge"),
        ("as many as a CPU rollout would", 8, "Auto", 2, 9, None, Pace(2, 0), "Surge"),
        ("no GPU is free", 8, "Auto", 2, 0, None, ONE_BY_ONE, "NoSurge"),
        ("nobody knows what is free", 8, "Auto", 2, None, None, ONE_BY_ONE, "NoSurge"),
        ("asked for, whatever is free", 8, "Surge", 2, 0, None, Pace(2, 0), "Surge"),
        ("the surge pod took what was free", 8, "Auto", 2, 0, Begun("Surge", stuck=False), SURGE, "Surge"),
        ("somebody else took it", 8, "Auto", 2, 0, Begun("Surge", stuck=True), ONE_BY_ONE, "NoSurge"),
        ("begun one by one, goes on so", 8, "Auto", 2, 5, Begun("NoSurge", stuck=False), ONE_BY_ONE, "NoSurge"),
    ],
)  # fmt: skip
def test_pace(
    what: str,
    wanted: int,
    strategy: str,
    gpus: int,
    room: int | None,
    begun: Begun | None,
    how: Pace,
    chosen: str,
) -> None:
    found, name, reason = pace(wanted, strategy, room, begun, on_gpus=bool(gpus))
    assert (found, name) == (how, chosen), what
    assert reason.endswith(".")


@given(
    wanted=st.integers(0, 6),
    start=st.lists(
        st.tuples(st.sampled_from(["a", "b", "new"]), st.integers(0, 6)), max_size=3, unique_by=lambda w: w[0]
    ),
    strategy=st.sampled_from(["Surge", "NoSurge"]),
    lag=st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_every_rollout_ends_and_keeps_its_bounds(
    wanted: int, start: list[tuple[str, int]], strategy: str, lag: list[bool]
) -> None:
    """A cluster that follows each step, sometimes late: pods come and get ready only where `lag` lets them."""
    how, _, _ = pace(wanted, strategy, on_gpus=False)
    told = dict(start)
    ready = dict(start)
    floor = min(sum(ready.values()), max(0, wanted - how.unavailable))
    for step in range(200):
        view = [seen(name, told[name], pods=ready[name], ready=ready[name]) for name in sorted(told)]
        targets = replicas_by_workload(wanted, "new", view, how)
        told = {name: targets.get(name, 0) for name in told | targets}
        for name in told:
            now = ready.get(name, 0)
            late = lag[step % len(lag)] and step < 100
            ready[name] = min(now, told[name]) if late else told[name]
        assert sum(ready.values()) >= floor
        assert sum(told.values()) <= max(sum(count for _, count in start), wanted + how.surge)
        if told == {name: wanted if name == "new" else 0 for name in told} == ready:
            return
    raise AssertionError(f"did not end: {told} {ready}")


@given(
    wanted=st.integers(1, 5),
    others=st.integers(0, 3),
    spare=st.integers(0, 3),
    answers=st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=1, max_size=5),
    drains=st.lists(st.integers(0, 3), min_size=1, max_size=4),
)
def test_auto_ends_whatever_it_is_told_of_free_gpus(
    wanted: int, others: int, spare: int, answers: list[int | None], drains: list[int]
) -> None:
    """Nodes with one GPU for each old pod and some to spare, which others may take; pods take a while to leave.

    What Auto is told of free GPUs is true, late or wrong. What the scheduler says of a pod is true.
    """
    gpus = wanted + spare
    old, placed = wanted, 0
    new: int | None = None
    leaving: list[int] = []
    strategy: Strategy | None = None
    for step in range(300):
        taken = min(others, spare) if step >= 2 else 0
        holders = old + len(leaving) + placed
        stuck = new is not None and placed < new and not leaving and holders + taken >= gpus
        begun = Begun(strategy, stuck) if new is not None and strategy else None
        how, strategy, _ = pace(wanted, "Auto", answers[step % len(answers)], begun, on_gpus=True)
        view = [seen("old", old)] + ([seen("new", new, pods=new, ready=placed)] if new is not None else [])
        targets = replicas_by_workload(wanted, "new", view, how)
        leaving = [left - 1 for left in leaving if left > 0]
        leaving += [drains[step % len(drains)] for _ in range(old - targets["old"])]
        old, new = targets["old"], targets["new"]
        placed = min(new, placed)
        placed += max(0, min(new - placed, gpus - taken - old - len(leaving) - placed))
        assert old + placed >= wanted - 1
        assert old + new <= wanted + max(1, math.ceil(wanted / 4))
        if (old, new, placed) == (0, wanted, wanted):
            return
    raise AssertionError(f"did not end: old {old}, new {new}, of which placed {placed}")


DAEMON = ObservedWorkload("phi-model", "u", "new", 3, 3, 0, kind="DaemonSet")


@pytest.mark.parametrize(
    ("what", "current", "how", "left"),
    [
        ("not made yet", None, SURGE, 2),
        ("its controller has not looked yet", replace(DAEMON, replicas=0, known=False), SURGE, 2),
        ("no node fits: the old ones go on serving", replace(DAEMON, replicas=0), ONE_BY_ONE, 2),
        ("none of its pods serves yet", DAEMON, SURGE, 2),
        ("GPUs: an old pod makes room for it", replace(DAEMON, replicas=2), ONE_BY_ONE, 1),
        ("one node serves", replace(DAEMON, replicas=2, ready=1), SURGE, 1),
        ("all nodes serve", replace(DAEMON, ready=3), SURGE, 0),
    ],
)  # fmt: skip
def test_from_replicas_to_a_pod_on_every_node(
    what: str, current: ObservedWorkload | None, how: Pace, left: int
) -> None:
    assert replicas_beside_daemon_set(current, [seen("old", 2)], how) == {"old": left}, what


def test_from_a_pod_on_every_node_to_replicas() -> None:
    assert not daemon_set_may_go(2, None, SURGE)
    assert not daemon_set_may_go(2, seen("new", 2, ready=1), SURGE)
    assert daemon_set_may_go(2, seen("new", 2), SURGE)
    assert daemon_set_may_go(2, None, ONE_BY_ONE), "its pods hold the GPUs that the new ones need"
    assert daemon_set_may_go(0, None, SURGE)
