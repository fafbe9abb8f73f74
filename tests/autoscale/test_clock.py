"""A wall clock that is set, by NTP or as a machine resumes, neither blinds the loop nor takes a replica away."""

import pytest

from agentfleet.autoscale.decision import Goal
from tests.autoscale.fluid import Fluid


@pytest.mark.parametrize("by", [-3600.0, -60.0, -7.0, 3600.0])
def test_load_that_rises_after_the_clock_was_set_is_seen(by: float) -> None:
    fluid = Fluid(Goal(maximum=12), replicas=4)
    fluid.run(900, 16.0)
    fluid.now += by
    fluid.run(60, 16.0)
    assert fluid.controller.health.quality == "Fresh"
    assert any(fluid.tick(40.0).action == "scale_out" for _ in range(24))


@pytest.mark.parametrize("by", [-3600.0, 3600.0])
def test_nothing_goes_before_a_whole_window_by_the_new_clock(by: float) -> None:
    fluid = Fluid(Goal(minimum=0), replicas=5, gateways=1)
    fluid.run(300, 28.0)
    fluid.now += by
    assert all(fluid.tick(0.0).action == "hold" for _ in range(30))


def test_demand_is_not_thinned_out_over_a_jump() -> None:
    fluid = Fluid(replicas=4)
    fluid.run(900, 16.0)
    fluid.now += 3600
    decisions = [fluid.tick(16.0) for _ in range(6)]
    assert decisions[-1].inputs["demand"] == pytest.approx(16.0, rel=0.05)


def test_samples_of_another_clock_are_not_fresh() -> None:
    fluid = Fluid(replicas=2)
    fluid.run(60, 5.0)
    fluid.run(60, 5.0, changed={"pod-0": {"at": fluid.now + 3600}})
    assert fluid.controller.health.quality == "Partial"
