"""fleet.py and score.py: pods that come and go, what they cost, and what counts as met."""

import math

import pytest

from agentfleet.simulator.fleet import CONTROL_DELAY, NO_ROOM, Change, Fleet
from agentfleet.simulator.score import Slo, percentile, reversals, score
from tests.simulator.building import fleet_of, trace

STREAM = [(float(second), 10, 50) for second in range(60)]


def test_a_replica_serves_after_its_cold_start_and_is_paid_for_from_its_creation() -> None:
    fleet = fleet_of(trace(*STREAM))
    fleet.at(20, lambda: fleet.scale(2))
    fleet.run(10)
    (start,) = fleet.cold_starts
    assert start == pytest.approx(10, rel=0.4)
    assert fleet.supply == [(0.0, 1), (pytest.approx(20 + CONTROL_DELAY + start), 2)]
    assert fleet.gpu_seconds() == pytest.approx(60 + 60 - 20 - CONTROL_DELAY)


def test_one_that_leaves_gets_no_more_requests_ends_its_answers_and_is_paid_for_until_then() -> None:
    fleet = fleet_of(trace((0, 10, 500), (0, 10, 500), (10, 10, 1)), replicas=2)
    fleet.at(1, lambda: fleet.scale(1))
    fleet.run(10)
    (gone,) = fleet.gone
    # 500 tokens, 19 ms and then 10 ms each
    assert gone.gone == pytest.approx(0.019 + 4.99, abs=0.02)
    assert not any(math.isnan(ended) for ended in fleet.journal.ended)
    assert fleet.gpu_seconds() == pytest.approx(60 + gone.gone)


def test_those_that_do_not_serve_go_first_and_then_the_least_busy() -> None:
    fleet = fleet_of(trace((0, 10, 900), (0.5, 10, 1)), replicas=2)
    busy, idle = fleet.pods
    fleet.at(2, lambda: fleet.scale(3))
    fleet.at(4, lambda: fleet.scale(2))
    fleet.at(6, lambda: fleet.scale(1))
    fleet.run(10)
    starting, second = fleet.gone
    assert starting not in (busy, idle)
    assert second is idle


def test_the_least_busy_replica_is_chosen_and_nobody_gets_requests_before_it_is_ready() -> None:
    fleet = fleet_of(trace(*((0.0, 10, 400) for _ in range(4))), replicas=2)
    fleet.run(0)
    assert [pod.engine.sample(60).completed for pod in fleet.pods if pod.engine] == [2, 2]


def test_requests_wait_at_the_router_while_there_is_no_replica() -> None:
    fleet = fleet_of(trace((1, 10, 1), (2, 10, 1)), replicas=0, cold_start=5)
    fleet.at(3, lambda: fleet.scale(1))
    fleet.run(10)
    assert list(fleet.journal.first) == [pytest.approx(fleet.supply[0][0] + wait) for wait in (0.019, 0.038)]


def test_no_more_pods_start_than_the_quota_has_room_for() -> None:
    fleet = Fleet(trace(*STREAM), fleet_of(trace()).profile, 5, 1, quota=2)
    fleet.begin(1)
    fleet.at(5, lambda: fleet.scale(4))
    fleet.at(40, lambda: fleet.scale(2))
    fleet.run(10)
    assert max(ready for _, ready in fleet.supply) == 2
    assert fleet.gpu_seconds() == pytest.approx(60 + 60 - 5 - CONTROL_DELAY)
    assert all(pod.scheduled is None and pod.problem == NO_ROOM for pod in fleet.gone)


def test_a_crash_loses_what_was_in_work_and_the_replica_never_comes_back() -> None:
    fleet = fleet_of(trace((0, 10, 900), (20, 10, 5), (30, 10, 5)), replicas=2)
    fleet.at(1, fleet.crash)
    fleet.run(10)
    assert fleet.journal.failed == {0: 1}
    assert len(fleet.ready) == 1
    assert not math.isnan(fleet.journal.ended[2])


def test_each_request_is_met_missed_failed_or_unfinished() -> None:
    fleet = fleet_of(trace((0, 10, 5), (1, 100, 5), (2, 990, 100), (59.9, 10, 50)), kv_tokens=1000)
    fleet.run(0.2)
    result = score(fleet, "static=1", Slo(0.05, 0.0101))
    assert (result.requests, result.failed, result.unfinished) == (4, 1, 1)
    assert result.slo_percent == 25, "the first alone: the second's prompt took 109 ms"


def test_percentile_and_reversals() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2
    assert percentile([float(value) for value in range(1, 101)], 0.99) == 99
    assert math.isnan(percentile([], 0.99))
    changes = [Change(0, 1, 2), Change(100, 2, 1), Change(800, 1, 3), Change(900, 3, 4), Change(1000, 4, 2)]
    assert reversals(changes) == 2
