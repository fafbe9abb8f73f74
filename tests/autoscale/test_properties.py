"""What holds whatever comes: bounds, budgets, and that nothing unknown ever takes a replica away."""

import math
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentfleet.autoscale.controller import Controller
from agentfleet.autoscale.decision import Decision, Goal, Health
from agentfleet.autoscale.forecast import Outlook
from agentfleet.autoscale.intervals import DECISIVE
from agentfleet.autoscale.limits import Capacity
from agentfleet.autoscale.samples import EngineSample, Replica, Tick
from agentfleet.autoscale.sizing import Supply, need
from tests.autoscale.fluid import Fluid

MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Stretch:
    """Some ticks of the same kind."""

    ticks: int
    rate: float
    silent: int
    renamed: int
    field: str
    """What the renamed ones call something else."""
    held: float
    gateway: bool
    rolling: bool
    problem: str | None


STRETCHES = st.lists(
    st.builds(
        Stretch,
        ticks=st.integers(1, 40),
        rate=st.sampled_from([0.0, 0.3, 4.0, 15.0, 60.0]),
        silent=st.sampled_from([0, 0, 0, 1, 2, 99]),
        renamed=st.sampled_from([0, 0, 0, 1, 99]),
        field=st.sampled_from([name for name in DECISIVE if name not in ("prompt_seconds", "output_seconds")]),
        held=st.sampled_from([0.0, 0.0, 40.0]),
        gateway=st.booleans(),
        rolling=st.booleans(),
        problem=st.sampled_from([None, None, "Unschedulable", "EngineDied"]),
    ),
    min_size=1,
    max_size=8,
)
GOALS = st.builds(
    Goal,
    minimum=st.integers(0, 3),
    maximum=st.integers(3, 9),
    load_factor=st.sampled_from([None, None, 0.5, 0.9]),
    to_zero_after=st.just(120.0),
    max_step=st.sampled_from([None, 1, 3]),
    stabilization_in=st.sampled_from([None, 0.0, 60.0]),
    stabilization_out=st.sampled_from([0.0, 30.0]),
)


def lived(fluid: Fluid, stretches: list[Stretch]) -> list[tuple[Decision, Health, Stretch]]:
    """All decisions of one life, each with what was seen then."""
    seen = []
    for stretch in stretches:
        fluid.rolling = stretch.rolling
        for _ in range(stretch.ticks):
            names = list(fluid.pods)
            serving = [name for name in names if fluid._is_ready(fluid.pods[name])]
            if stretch.problem and len(serving) < len(names):
                fluid.pods[names[-1]].problem = stretch.problem
            renamed = {name: {stretch.field: None, "missing": (stretch.field,)} for name in serving[: stretch.renamed]}
            decision = fluid.tick(
                stretch.rate,
                held=stretch.held,
                silent=tuple(serving[: stretch.silent]),
                changed=renamed,
                gateway_answers=stretch.gateway,
            )
            seen.append((decision, fluid.controller.health, stretch))
    return seen


@MANY
@given(GOALS, STRETCHES, st.integers(0, 1), st.sampled_from([None, 2, 5]))
def test_bounds_are_kept(goal: Goal, stretches: list[Stretch], gateways: int, affordable: int | None) -> None:
    fluid = Fluid(goal, replicas=max(1, goal.minimum), gateways=gateways, obey=True, affordable=affordable)
    for decision, _, _ in lived(fluid, stretches):
        assert goal.minimum <= decision.target <= goal.maximum or decision.binding == "Budget"
        assert affordable is None or decision.target <= max(affordable, decision.start)
        assert goal.max_step is None or abs(decision.target - decision.start) <= goal.max_step
        assert (decision.action == "hold") == (decision.target == decision.start)
        assert decision.reason
        assert len(decision.reason) <= 1024
        assert all(math.isfinite(value) for value in decision.inputs.values())


@MANY
@given(GOALS, STRETCHES, st.integers(0, 1))
def test_nothing_unknown_takes_a_replica_away(goal: Goal, stretches: list[Stretch], gateways: int) -> None:
    fluid = Fluid(goal, replicas=max(2, goal.minimum), gateways=gateways, obey=True)
    for decision, health, stretch in lived(fluid, stretches):
        if decision.action != "scale_in":
            continue
        # without pods that serve, all there is to know is what gateways say
        assert health.quality == "Fresh" or (gateways and health.quality in ("None", "Starting"))
        assert health.missing_metrics in ((), ("kv_tokens",)), "which some versions never had"
        assert not gateways or stretch.gateway
        assert not stretch.rolling
        assert decision.binding in ("Demand", "Idle")


@MANY
@given(
    st.floats(0.0, 200.0),
    st.floats(1.0, 3.0),
    st.floats(0.0, 500.0),
    st.floats(0.05, 50.0),
    st.booleans(),
    st.sampled_from([None, 0.5, 0.9]),
)
def test_more_demand_never_needs_fewer(
    demand: float, factor: float, backlog: float, per_replica: float, hard: bool, fixed: float | None
) -> None:
    capacity = Capacity(per_replica, 20.0, hard, True, True, 5.0)
    supply = Supply(2, (30.0,), 130.0)

    def replicas(rate: float, waiting: float) -> int:
        outlook = Outlook(rate, rate * 1.1, rate * 1.2, math.sqrt(rate / 10))
        return need(outlook, capacity, fixed, waiting, 1.0, supply).replicas

    assert replicas(demand * factor, backlog) >= replicas(demand, backlog)
    assert replicas(demand, backlog * factor) >= replicas(demand, backlog)
    assert replicas(demand, backlog) * per_replica >= demand * 0.99 - 0.0011 * per_replica  # see _whole


@MANY
@given(st.floats(0.5, 60.0), st.integers(1, 4), st.floats(20.0, 300.0))
def test_what_is_on_its_way_is_not_asked_for_again(rate: float, replicas: int, cold_start: float) -> None:
    fluid = Fluid(Goal(maximum=50), replicas=replicas, cold_start=cold_start)
    fluid.run(300, rate)
    before = fluid.tick(rate)
    for _ in range(max(0, before.target - replicas)):
        fluid.add()
    fluid.wanted = max(before.target, replicas)
    after = fluid.tick(rate)
    assert before.unconstrained is not None
    assert after.target <= max(fluid.wanted, before.unconstrained + 1), "pending ones count"


@MANY
@given(
    st.lists(
        st.builds(
            EngineSample,
            at=st.just(0.0),
            started_at=st.sampled_from([None, 1.0, 50.0]),
            running=st.none() | st.floats(allow_nan=True),
            waiting=st.none() | st.floats(allow_nan=True),
            max_running=st.sampled_from([None, 4.0]),
            completed=st.none() | st.floats(allow_nan=True),
            output_tokens=st.none() | st.floats(0, 1e9),
            prompt_tokens=st.none() | st.floats(0, 1e9),
            steps=st.none() | st.floats(allow_nan=True),
            step_tokens=st.none() | st.floats(0, 1e9),
            kv_used=st.none() | st.floats(0, 1),
            kv_tokens=st.none() | st.floats(0, 1e7),
            tokens_per_second=st.none() | st.floats(0, 1e4),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_any_page_is_survived(samples: list[EngineSample]) -> None:
    controller = Controller(Goal())
    fluid = Fluid()
    for index, sample in enumerate(samples):
        now = 1000.0 + 5 * index
        replicas = (Replica("a", 0.0, True), Replica("b", 0.0, True))
        controller.observe(Tick(now, replicas, {"a": replace(sample, at=now)}))
        decision = controller.decide(fluid.situation(), now)
        assert decision.action != "scale_in", "b never said anything"
        assert all(math.isfinite(value) for value in decision.inputs.values())
