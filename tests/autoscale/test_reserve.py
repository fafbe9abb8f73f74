"""A minimum is suggested where load jumps faster than replicas start, again and again."""

from array import array

from agentfleet.autoscale.decision import Goal
from agentfleet.autoscale.reserve import Reserve
from tests.autoscale.fluid import Fluid


def test_quick_enough_needs_no_minimum() -> None:
    fluid = Fluid(replicas=3)
    assert fluid.run(3600, 12.0).suggested_minimum is None


def test_rare_jumps_ask_for_a_minimum() -> None:
    fluid = Fluid(Goal(maximum=12), replicas=1, obey=True, cold_start=120.0)
    for _ in range(3):
        fluid.run(4500, 3.0)
        decision = fluid.run(200, 30.0)
    assert decision.suggested_minimum is not None
    assert 4 <= decision.suggested_minimum <= 6


def test_one_jump_is_no_habit() -> None:
    fluid = Fluid(Goal(maximum=12), replicas=1, obey=True, cold_start=120.0)
    fluid.run(900, 3.0)
    assert fluid.run(200, 30.0).suggested_minimum is None


def test_nothing_is_said_before_anything_is_known() -> None:
    assert Reserve().suggested(array("f"), None, 1) is None
