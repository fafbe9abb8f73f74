"""Servers that next to nobody asks: little is learnt there, and little is needed."""

from dataclasses import replace

import pytest

from agentfleet.autoscale.capacity import CapacityModel
from agentfleet.autoscale.decision import Goal
from agentfleet.autoscale.intervals import interval
from agentfleet.autoscale.samples import EngineSample, Histogram
from tests.autoscale.fluid import Fluid

STEP = 0.0115


def quiet(second: float, requests: float) -> EngineSample:
    """Each request is alone in the engine, and observed once, at its end."""
    return EngineSample(
        at=second, running=0.0, waiting=0.0, max_running=256.0, completed=requests, prompt_tokens=requests * 1000,
        output_tokens=requests * 200, steps=requests * 200, step_tokens=requests * 1200, kv_used=0.001,
        kv_tokens=448_000.0, time_per_output_token=Histogram((float("inf"),), (requests,), requests * STEP),
    )  # fmt: skip


def test_a_histogram_of_requests_teaches_at_low_load_too() -> None:
    model = CapacityModel()
    for requests in range(80):
        done = interval(quiet(requests * 5.0, requests), quiet(requests * 5.0 + 5, requests + 1))
        assert done is not None
        model.learn(done)
    capacity = model.capacity(Goal(), by_requests=True)
    assert capacity is not None
    assert capacity.known
    assert capacity.unloaded_tpot == pytest.approx(STEP, rel=0.1)


@pytest.mark.parametrize("gateways", [0, 1])
def test_a_server_that_nobody_ever_asked_keeps_one(gateways: int) -> None:
    fluid = Fluid(learnt=None, replicas=6, obey=True, gateways=gateways)
    fluid.run(1500, 0.0)
    assert fluid.wanted == 1


def test_a_handful_of_requests_and_silence_end_at_zero() -> None:
    fluid = Fluid(Goal(minimum=0, to_zero_after=300), learnt=None, replicas=1, obey=True, gateways=1)
    fluid.run(20, 0.3)
    fluid.run(1500, 0.0)
    assert fluid.wanted == 0


def test_nothing_goes_while_little_is_known_and_something_is_asked() -> None:
    fluid = Fluid(learnt=None, replicas=6)
    for _ in range(240):
        assert fluid.tick(2.0).action == "hold", "about five at once, and the engine tells no times"


def test_slots_are_planned_with_until_a_few_answers_were_seen() -> None:
    model = CapacityModel()
    before = EngineSample(at=0.0, running=1.0, max_running=2.0, output_tokens=0.0, output_seconds=0.0)
    done = interval(before, replace(before, at=5.0, output_tokens=50.0, output_seconds=1.0))
    assert done is not None
    model.learn(done)
    capacity = model.capacity(Goal(), by_requests=False)
    assert capacity is not None
    assert (capacity.per_replica, capacity.usable, capacity.known) == (2.0, True, True)


def probed(speed: float | None, *, running: float, slots: float | None) -> CapacityModel:
    model = CapacityModel()
    for look in range(60):
        told = None if speed is None else speed + look * 0.01
        sample = EngineSample(at=look * 5.0, running=running, max_running=slots, tokens_per_second=told)
        done = interval(sample, replace(sample, at=look * 5.0 + 5))
        assert done is not None
        model.learn(done)
    return model


@pytest.mark.parametrize(("slots", "carries"), [(1.0, 1.0), (4.0, 4.0), (None, 1.0)])
def test_probes_of_an_idle_engine_say_nothing_about_load(slots: float | None, carries: float) -> None:
    model = probed(30.0, running=2.0, slots=slots)
    capacity = model.capacity(Goal(), by_requests=False)
    assert capacity is not None
    assert capacity.per_replica == carries
    assert capacity.unloaded_tpot == pytest.approx(1 / 30, rel=0.05), "at one request, however many there were"


def test_a_probe_that_is_repeated_is_one() -> None:
    model = CapacityModel()
    sample = EngineSample(at=0.0, running=0.0, tokens_per_second=30.0)
    done = interval(sample, replace(sample, at=5.0))
    assert done is not None
    for _ in range(100):
        model.learn(done)
    capacity = model.capacity(Goal(), by_requests=False)
    assert capacity is None or not capacity.usable
