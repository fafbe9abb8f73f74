"""replay.py: a recorded history becomes a trace with its rates and means, and goals are compared on it."""

import pytest

from agentfleet.autoscale.decision import Goal, Step
from agentfleet.simulator.errors import BadInput
from agentfleet.simulator.profiles import load_profile
from agentfleet.simulator.replay import Recorded, learnt_profile, recorded_trace, what_if

EPOCH = 1.7e9
HISTORY = [Recorded(EPOCH + 60 * minute, 4 if minute < 30 else 12, 600, 100) for minute in range(61)]


def test_a_recorded_trace_has_the_rates_and_means_of_the_record() -> None:
    trace = recorded_trace(HISTORY, 7)
    early = sum(second < 1800 for second in trace.seconds)
    assert trace.duration == 3600
    assert early == pytest.approx(4 * 1800, rel=0.05)
    assert len(trace) - early == pytest.approx(12 * 1800, rel=0.05)
    assert trace.means == (pytest.approx(600, rel=0.05), pytest.approx(100, rel=0.05))


def test_gaps_and_idle_times_of_a_record() -> None:
    trace = recorded_trace([Recorded(0, 0, 0, 0), Recorded(100, 5, 10, 0.5), Recorded(200, 9, 1, 1)], 7)
    assert all(100 <= second <= 200 for second in trace.seconds)
    assert set(trace.outputs) == {1}


@pytest.mark.parametrize("history", [[], HISTORY[:1], [HISTORY[0], HISTORY[0]]])
def test_a_record_that_shows_no_time(history: list[Recorded]) -> None:
    with pytest.raises(BadInput, match="two or more"):
        recorded_trace(history, 7)


def test_a_learnt_profile_is_about_as_fast_as_what_it_was_learnt_from() -> None:
    # what the loop learns from a100-8b
    learnt = learnt_profile(Step(0.0115, 79e-6, 0.126e-6), 448_000, 256)
    true = load_profile("a100-8b").requests_per_second(1155, 211, 0.1)
    assert learnt.requests_per_second(1155, 211, 0.1) == pytest.approx(true, rel=0.15)


def test_what_if_compares_goals_on_the_same_requests() -> None:
    goals = {"now": Goal(maximum=1), "three": Goal(maximum=3)}
    now, three = what_if(HISTORY, load_profile("a100-8b"), goals, cold_start=60, seed=7)
    assert (now.policy, three.policy, now.requests) == ("now", "three", three.requests)
    assert three.slo_percent > now.slo_percent
    assert three.gpu_hours > now.gpu_hours
