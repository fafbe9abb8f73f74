"""Rollouts end where they should from any state, and never serve less or hold more than they may on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.planning.observed import ObservedWorkload
from agentfleet.planning.rollout import Pace, pace, replicas_by_workload


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


def test_gpu_pods_are_replaced_one_by_one() -> None:
    assert pace(8, gpus=1) == Pace(surge=0, unavailable=1)
    assert pace(8, gpus=0) == Pace(surge=2, unavailable=0)
    assert pace(1, gpus=0) == Pace(surge=1, unavailable=0)


@given(
    wanted=st.integers(0, 6),
    start=st.lists(
        st.tuples(st.sampled_from(["a", "b", "new"]), st.integers(0, 6)), max_size=3, unique_by=lambda w: w[0]
    ),
    gpus=st.booleans(),
    lag=st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_every_rollout_ends_and_keeps_its_bounds(
    wanted: int, start: list[tuple[str, int]], gpus: bool, lag: list[bool]
) -> None:
    """A cluster that follows each step, sometimes late: pods come and get ready only where `lag` lets them."""
    how = pace(wanted, gpus=int(gpus))
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
