"""Every word that can settle a number, each reached as it would be in life."""

from dataclasses import replace
from itertools import pairwise

import pytest

from agentfleet.autoscale.decision import Decision, Goal, Learnt
from agentfleet.autoscale.forecast import Outlook
from agentfleet.autoscale.limits import Capacity
from agentfleet.autoscale.sizing import Supply, need
from tests.autoscale.fluid import LEARNT, Fluid

LONG = 600.0


def word(decision: Decision) -> tuple[str, str, int]:
    return decision.action, decision.binding, decision.target


def test_demand_takes_replicas_at_once() -> None:
    fluid = Fluid(replicas=2)
    fluid.run(LONG, 8.0)
    decisions = [fluid.tick(16.0) for _ in range(12)]
    first = next(each for each in decisions if each.action == "scale_out")
    assert first.binding == "Demand"
    assert first.target >= 3
    assert first.time <= decisions[0].time + 20
    assert f"{first.inputs['demand']:.3g} requests" in first.reason


def test_enough() -> None:
    fluid = Fluid(replicas=2)
    assert word(fluid.run(LONG, 8.0)) == ("hold", "Enough", 2)


def test_fewer_after_a_whole_window() -> None:
    fluid = Fluid(replicas=6, cold_start=60.0)
    early = fluid.run(170, 5.0)
    assert early.binding == "Stabilization"
    assert early.target == 6
    later = fluid.run(60, 5.0)
    assert later.action == "scale_in"
    assert later.target in (3, 4), "half of what is too much, at once"


def test_all_surplus_goes_in_the_end() -> None:
    fluid = Fluid(replicas=6, obey=True)
    fluid.run(1500, 5.0)
    assert fluid.wanted in (1, 2)


def test_window_is_one_and_a_half_cold_starts() -> None:
    fluid = Fluid(replicas=6, cold_start=300.0)
    assert fluid.run(440, 5.0).action == "hold"
    assert fluid.run(30, 5.0).action == "scale_in"


def test_one_peak_within_the_window_is_enough_to_stay() -> None:
    fluid = Fluid(replicas=4)
    fluid.run(LONG, 22.0)
    decision = fluid.run(150, 5.0)
    assert word(decision)[1:] == ("Stabilization", 4)


@pytest.mark.parametrize(
    ("what", "fluid", "rate", "expected"),
    [
        ("too few", Fluid(replicas=1, minimum=3), 1.0, ("scale_out", "Minimum", 3)),
        ("too few by schedule", Fluid(replicas=1, minimum=3, scheduled=True), 1.0, ("scale_out", "Schedule", 3)),
        ("too many", Fluid(replicas=4, maximum=3), 8.0, ("scale_in", "Maximum", 3)),
        ("no more than the maximum", Fluid(replicas=2, maximum=2), 30.0, ("hold", "Maximum", 2)),
        ("no more than the schedule has", Fluid(replicas=2, maximum=2, scheduled=True), 30.0, ("hold", "Schedule", 2)),
        ("no more than is paid for", Fluid(replicas=2, affordable=2), 30.0, ("hold", "Budget", 2)),
        ("as many as are paid for", Fluid(replicas=2, affordable=3), 30.0, ("scale_out", "Budget", 3)),
        ("a minimum is not paid for either", Fluid(replicas=1, minimum=3, affordable=2), 1.0,
         ("scale_out", "Budget", 2)),
        ("step by step", Fluid(Goal(max_step=1), replicas=2), 30.0, ("scale_out", "StepLimit", 3)),
        ("paused", Fluid(Goal(pause_out=True), replicas=2), 30.0, ("hold", "Paused", 2)),
        ("paused below the minimum", Fluid(Goal(pause_out=True), replicas=1, minimum=2), 1.0, ("hold", "Paused", 1)),
        ("paused above the maximum", Fluid(Goal(pause_in=True), replicas=4, maximum=2), 1.0, ("hold", "Paused", 4)),
        ("fewest", Fluid(replicas=3, minimum=3), 1.0, ("hold", "Minimum", 3)),
        ("fewest by schedule", Fluid(replicas=3, minimum=3, scheduled=True), 1.0, ("hold", "Schedule", 3)),
        ("fewer, paused", Fluid(Goal(pause_in=True), replicas=6), 1.0, ("hold", "Paused", 6)),
        ("fewer, in a rollout", Fluid(replicas=6, rolling=True), 1.0, ("hold", "Rollout", 6)),
        ("more, in a rollout", Fluid(Goal(max_step=1), replicas=2, rolling=True), 30.0,
         ("scale_out", "StepLimit", 3)),
    ],
)  # fmt: skip
def test_bounds_and_holds(what: str, fluid: Fluid, rate: float, expected: tuple[str, str, int]) -> None:
    fluid.run(20, 1.0)
    assert word(fluid.run(LONG, rate)) == expected, what


def test_too_few_or_too_many_is_put_right_though_nothing_is_known() -> None:
    fluid = Fluid(replicas=1, minimum=2)
    assert word(fluid.tick(1.0, silent=("pod-0",))) == ("scale_out", "Minimum", 2)


def test_a_wish_for_more_has_to_last() -> None:
    fluid = Fluid(Goal(stabilization_out=60.0), replicas=2)
    fluid.run(LONG, 5.0)
    words = [word(fluid.tick(30.0)) for _ in range(16)]
    assert ("hold", "Stabilization", 2) in words
    assert words[-1][0] == "scale_out"
    assert words.index(next(each for each in words if each[0] == "scale_out")) >= 11


def test_what_waits_is_worked_off() -> None:
    fluid = Fluid(replicas=2, cold_start=30.0, gateways=1)
    fluid.run(LONG, 8.0)
    decision = fluid.tick(8.0, held=600.0)
    assert decision.action == "scale_out"
    assert decision.binding == "Backlog"
    assert decision.inputs["queue"] == 600


def test_pending_replicas_count() -> None:
    fluid = Fluid(replicas=2, cold_start=200.0)
    fluid.run(LONG, 10.0)
    first = fluid.run(60, 20.0)
    for _ in range(first.target - 2):
        fluid.add()
    fluid.wanted = first.target
    later = fluid.run(100, 20.0)
    assert later.target <= first.target + 1, "not again for what was asked for already"
    assert later.binding in ("Pending", "Settling")


def test_no_more_where_those_that_are_there_cannot_start() -> None:
    fluid = Fluid(replicas=2)
    fluid.run(LONG, 8.0)
    fluid.add(problem="Unschedulable")
    fluid.wanted = 3
    decision = fluid.run(60, 30.0)
    assert word(decision) == ("hold", "CapacityBlocked", 3)
    assert "Unschedulable" in decision.reason
    assert "pod-2" in decision.reason


def test_nor_where_one_takes_more_than_two_cold_starts() -> None:
    fluid = Fluid(replicas=2, cold_start=60.0)
    fluid.run(LONG, 8.0)
    fluid.add(ready_in=9000.0)
    fluid.wanted = 3
    fluid.run(125, 8.0)
    assert word(fluid.run(60, 30.0)) == ("hold", "CapacityBlocked", 3)


def test_a_crash_loop_is_no_supply_and_no_obstacle() -> None:
    fluid = Fluid(replicas=2)
    fluid.run(LONG, 8.0)
    fluid.add(problem="EngineDied")
    fluid.wanted = 3
    decision = fluid.run(60, 18.0)
    assert decision.action == "scale_out"
    assert decision.target >= 4


def test_crash_loops_do_not_multiply() -> None:
    fluid = Fluid(replicas=2, obey=True)
    fluid.run(LONG, 8.0)
    for _ in range(40):
        fluid.tick(10.0)
        while len(fluid.pods) < fluid.wanted:
            fluid.add(problem="EngineDied")
        for pod in list(fluid.pods.values())[2:]:
            pod.problem = "EngineDied"
    assert fluid.wanted <= 4


@pytest.mark.parametrize(
    ("what", "silent", "quality", "binding"),
    [
        ("one of six", ("pod-0",), "Partial", "PartialData"),
        ("four of six", ("pod-0", "pod-1", "pod-2", "pod-3"), "Partial", "PartialData"),
    ],
)
def test_partial_data_takes_nothing_away(what: str, silent: tuple[str, ...], quality: str, binding: str) -> None:
    fluid = Fluid(replicas=6)
    fluid.run(100, 5.0)
    for _ in range(100):
        decision = fluid.tick(5.0, silent=silent)
        assert decision.target == 6, what
    assert decision.binding == binding
    assert fluid.controller.health.quality == quality
    assert fluid.controller.health.silent == silent


def test_an_outage_holds_and_says_so() -> None:
    fluid = Fluid(replicas=6)
    everybody = tuple(fluid.pods)
    fluid.run(100, 5.0)
    seen = []
    for _ in range(60):
        decision = fluid.tick(5.0, silent=everybody)
        assert decision.target == 6
        seen.append(fluid.controller.health.quality)
    assert decision.binding == "MissingData"
    assert list(dict.fromkeys(seen)) == ["Fresh", "Stale", "Missing"]
    after = fluid.run(170, 5.0)
    assert after.target == 6, "watched for a whole window anew"
    assert fluid.run(60, 5.0).action == "scale_in"


def test_more_where_half_of_them_tell() -> None:
    fluid = Fluid(replicas=4)
    fluid.run(LONG, 10.0)
    assert fluid.run(60, 40.0, silent=("pod-0", "pod-1")).action == "scale_out"


def test_less_than_half_is_too_little_for_anything() -> None:
    fluid = Fluid(replicas=4)
    fluid.run(LONG, 10.0)
    silent = ("pod-0", "pod-1", "pod-2")
    fluid.run(30, 10.0, silent=silent)
    assert word(fluid.run(60, 40.0, silent=silent)) == ("hold", "PartialData", 4)


def test_gateways_alone_suffice_for_more() -> None:
    fluid = Fluid(replicas=3, gateways=1)
    fluid.run(LONG, 10.0)
    assert fluid.run(60, 40.0, silent=tuple(fluid.pods)).action == "scale_out"


def test_a_silent_gateway_takes_nothing_away() -> None:
    fluid = Fluid(replicas=6, gateways=1)
    fluid.run(100, 5.0)
    assert word(fluid.run(LONG, 5.0, gateway_answers=False)) == ("hold", "PartialData", 6)


def test_a_renamed_metric_takes_nothing_away() -> None:
    fluid = Fluid(replicas=6)
    fluid.run(100, 5.0)
    renamed = {name: {"running": None, "missing": ("vllm:num_requests_running",)} for name in fluid.pods}
    decision = fluid.run(LONG, 5.0, changed=renamed)
    assert word(decision) == ("hold", "MissingData", 6)
    assert "vllm:num_requests_running" in decision.reason
    assert fluid.controller.health.missing_metrics == ("vllm:num_requests_running",)


def test_learning_takes_nothing_away_and_adds_where_requests_wait() -> None:
    fluid = Fluid(replicas=2, learnt=None)
    assert word(fluid.tick(3.0)) == ("hold", "Learning", 2)
    assert word(fluid.tick(3.0, waiting=50.0)) == ("scale_out", "Learning", 3)


def test_a_few_samples_add_replicas_and_do_not_take_them_away() -> None:
    fluid = Fluid(Goal(stabilization_in=0.0), replicas=4, learnt=None)
    decisions = [fluid.tick(3.0) for _ in range(3)]
    assert {each.action for each in decisions} == {"hold"}
    assert {each.binding for each in decisions} == {"Learning"}
    assert fluid.run(10, 60.0).action == "scale_out"


def test_learns_within_a_minute_and_goes_on_from_there() -> None:
    fluid = Fluid(replicas=2, learnt=None)
    for rate in (6.0, 8.0, 10.0, 12.0):
        fluid.run(15, rate)
    learnt = fluid.controller.learnt
    assert learnt is not None
    assert learnt.requests_per_second == pytest.approx(7.0, rel=0.15)
    again = Fluid(replicas=2, learnt=learnt)
    assert again.run(10, 9.0).binding != "Learning"


def test_a_changed_model_is_learnt_anew() -> None:
    fluid = Fluid(replicas=2)
    fluid.run(60, 9.0)
    fluid.controller.forget_capacity()
    assert fluid.controller.learnt is None
    assert fluid.tick(9.0).binding == "Learning"


def test_settling_after_a_change() -> None:
    fluid = Fluid(replicas=6)
    fluid.run(LONG, 5.0)
    fluid.pods["pod-0"].leaving = True
    fluid.wanted = 5
    assert fluid.tick(5.0).binding == "Settling"


def test_a_replica_on_its_way_is_waited_for() -> None:
    fluid = Fluid(replicas=5, cold_start=100.0)
    fluid.run(LONG, 5.0)
    fluid.add()
    fluid.wanted = 6
    assert word(fluid.run(60, 5.0)) == ("hold", "Settling", 6)


def test_one_fewer_would_be_too_busy() -> None:
    fluid = Fluid(replicas=3)
    for tenth in range(90, 160):
        fluid.run(200, tenth / 10)
        decision = fluid.tick(tenth / 10)
        if decision.binding == "OneFewer":
            break
    assert word(decision) == ("hold", "OneFewer", 3)
    assert "2 replicas" in decision.reason


def test_reversals_hold_what_was_needed() -> None:
    fluid = Fluid(Goal(stabilization_in=10.0), replicas=2, cold_start=10.0, obey=True)
    bindings = set()
    for _ in range(6):
        fluid.run(100, 20.0)
        for _ in range(30):
            bindings.add(fluid.tick(3.0).binding)
    assert "ReversalBreaker" in bindings


def test_to_zero_and_back() -> None:
    goal = Goal(minimum=0, to_zero_after=300.0)
    fluid = Fluid(goal, replicas=1, gateways=1, obey=True)
    fluid.run(60, 1.0)
    decision = fluid.run(295, 0.0)
    assert decision.target == 1
    decisions = [fluid.tick(0.0) for _ in range(10)]
    idle = next(each for each in decisions if each.action == "scale_in")
    assert word(idle) == ("scale_in", "Idle", 0)
    assert word(fluid.tick(0.0)) == ("hold", "Idle", 0)
    assert word(fluid.tick(0.2, held=1.0)) == ("scale_out", "Wake", 1)


def test_from_zero_as_many_as_wait() -> None:
    fluid = Fluid(Goal(minimum=0), replicas=0, gateways=1)
    fluid.tick(0.0)
    decision = fluid.tick(80.0, held=400.0)
    assert decision.binding == "Wake"
    assert decision.target >= 2


@pytest.mark.parametrize("gateways", [0, 1])
def test_never_to_zero_on_what_engines_say_alone(gateways: int) -> None:
    fluid = Fluid(Goal(minimum=0, to_zero_after=60.0), replicas=1, gateways=gateways, obey=True)
    fluid.run(60, 1.0)
    fluid.run(3600, 0.0, gateway_answers=False)
    assert fluid.wanted == 1


def test_never_to_zero_while_somebody_asks_once_in_a_while() -> None:
    fluid = Fluid(Goal(minimum=0, to_zero_after=60.0), replicas=1, gateways=1, obey=True)
    for _ in range(20):
        fluid.run(55, 0.0)
        fluid.tick(0.2)
        assert fluid.wanted == 1


def test_every_decision_explains_itself() -> None:
    fluid = Fluid(replicas=3)
    decision = fluid.run(LONG, 17.0)
    assert decision.counterfactual is not None
    assert decision.counterfactual.startswith("With 2 replicas the load factor would be ")
    for name in ("demand", "forecast", "capacity", "loadFactor", "backlog", "queue", "ready", "pending", "wanted"):
        assert name in decision.inputs, name
    assert decision.unconstrained is not None
    assert len(decision.reason) < 1024


def test_a_fixed_load_factor_is_kept_to() -> None:
    lavish, thrifty = (Fluid(Goal(load_factor=factor), replicas=3).run(LONG, 12.0) for factor in (0.4, 0.9))
    assert lavish.unconstrained is not None
    assert thrifty.unconstrained is not None
    assert lavish.unconstrained > 2 * thrifty.unconstrained - 1
    assert lavish.inputs["loadFactor"] == pytest.approx(0.4)


def test_learnt_survives_as_it_was_given_while_nothing_is_known() -> None:
    learnt = Learnt(3.0, samples=50, learnt_at=1.0, concurrency=4.0)
    fluid = Fluid(learnt=learnt)
    assert fluid.controller.learnt == learnt
    assert replace(LEARNT, samples=1) != LEARNT


def test_a_lowered_maximum_is_reached_by_halves_and_not_all_at_once() -> None:
    fluid = Fluid(replicas=12, maximum=2, obey=True)
    decisions = [fluid.tick(1.0) for _ in range(60)]
    steps = [(each.start, each.target) for each in decisions if each.action == "scale_in"]
    assert steps[:4] == [(12, 7), (7, 4), (4, 3), (3, 2)]
    times = [each.time for each in decisions if each.action == "scale_in"]
    assert all(later - time >= 30 for time, later in pairwise(times))


def test_a_lowered_maximum_waits_for_a_rollout_and_for_those_that_go() -> None:
    fluid = Fluid(replicas=12, maximum=2, rolling=True)
    assert word(fluid.tick(1.0)) == ("hold", "Rollout", 12)
    fluid.rolling = False
    fluid.pods["pod-11"].leaving = True
    assert word(fluid.tick(1.0)) == ("hold", "Settling", 12)


def test_requests_at_once_have_no_backlog_beside_them() -> None:
    capacity = Capacity(2.0, 2.0, True, True, True, None)
    outlook = Outlook(40.0, 45.0, 40.0, 1.0)
    needed = need(outlook, capacity, None, 0.0, 1.0, Supply(2, (), 130.0))
    assert (needed.backlog, needed.binding) == (0.0, "Demand")


def test_somebody_who_asked_and_was_answered_wakes_without_a_queue() -> None:
    fluid = Fluid(Goal(minimum=0), replicas=0, gateways=1)
    fluid.tick(0.0)
    fluid.arrived += 1
    decision = fluid.tick(0.0)
    assert word(decision) == ("scale_out", "Wake", 1)
    assert decision.reason == "Somebody asks."
