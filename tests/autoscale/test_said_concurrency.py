"""A server whose spec says what one replica shall have in flight: nothing is learnt, and the number is met."""

import pytest

from agentfleet.autoscale.controller import Controller
from agentfleet.autoscale.decision import Decision, Goal, Situation
from agentfleet.autoscale.samples import DemandSample, EngineSample, Replica, Tick

NOW = 1_000_000.0


def after(in_flight: float, *, seconds: int = 60, concurrency: float = 8.0, replicas: int = 1) -> Decision:
    """What is decided when so many requests were in flight for so long, all together."""
    goal = Goal(maximum=20, concurrency=concurrency, load_factor=1.0)
    controller = Controller(goal)
    names = [f"pod-{index}" for index in range(replicas)]
    for tick in range(seconds // 5):
        now = NOW + 5 * tick
        engines = {name: EngineSample(now, running=in_flight / replicas, waiting=0.0) for name in names}
        controller.observe(Tick(now, tuple(Replica(name, NOW - 900, ready=True) for name in names), engines))
        decision = controller.decide(Situation(replicas, 1, 20, cold_start=5.0), now)
    return decision


@pytest.mark.parametrize(
    ("in_flight", "concurrency", "replicas"), [(0, 8, 1), (7, 8, 1), (8, 8, 1), (9, 8, 2), (24, 8, 3), (24, 2, 5)]
)
def test_as_many_replicas_as_the_number_asks_for(in_flight: float, concurrency: float, replicas: int) -> None:
    decision = after(in_flight, concurrency=concurrency)
    assert decision.target == replicas, decision.reason
    assert decision.action == ("scale_out" if replicas > 1 else "hold")


def test_a_step_is_limited_as_elsewhere() -> None:
    assert (after(24, concurrency=2).binding, after(24, concurrency=2).unconstrained) == ("StepLimit", 12)


def test_fewer_are_enough_from_the_first_look_on() -> None:
    assert after(8, replicas=4, seconds=600).target < 4


def test_nothing_is_learnt() -> None:
    controller = Controller(Goal(concurrency=8.0))
    for tick in range(100):
        now = NOW + 5 * tick
        sample = EngineSample(now, running=4.0, waiting=0.0, tokens_per_second=3.0, asked=float(tick))
        controller.observe(Tick(now, (Replica("pod", NOW - 900, ready=True),), {"pod": sample}))
        controller.decide(Situation(1, 1, 8), now)
    assert controller.learnt is None


def test_from_zero_as_many_as_those_who_wait_need() -> None:
    controller = Controller(Goal(minimum=0, maximum=8, concurrency=8.0))
    controller.observe(Tick(NOW, (), demand=DemandSample(NOW, 0, 0, 1, 1), demand_sources=1))
    controller.decide(Situation(0, 0, 8), NOW)
    controller.observe(Tick(NOW + 1, (), demand=DemandSample(NOW + 1, 20, 20, 1, 1), demand_sources=1))
    assert controller.decide(Situation(0, 0, 8), NOW + 1).target == 3
