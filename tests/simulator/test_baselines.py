"""hpa.py and proxies.py: the published formulas against cases reckoned by hand."""

import math

import pytest

from agentfleet.simulator.faults import Faults
from agentfleet.simulator.hpa import Hpa, external_metric_replicas, pods_metric_replicas
from agentfleet.simulator.policies import NAMES, install, parse_policies
from agentfleet.simulator.proxies import Kpa, KpaState, Kubeai
from tests.simulator.building import fleet_of, trace


@pytest.mark.parametrize(
    ("target", "values", "pods", "replicas"),
    [
        (30, [60, 60], 2, 4),  # ratio 2
        (30, [32, 33], 2, 2),  # 1.083 is within the tolerance
        (30, [34, 34], 2, 3),  # 1.13 is not
        (30, [10, 10, 10], 3, 1),
        (95, [100] * 3, 3, 3),  # a gauge that ends at 100 never gets a target of 91 or more beyond the tolerance
        (80, [100] * 3, 3, 4),
        (30, [60, 60], 4, 4),  # two that start count as idle: 120 / 4 / 30 = 1.0, nothing to do
        (30, [90, 90], 4, 6),  # 180 / 4 / 30 = 1.5
        (30, [15, 15], 4, 3),  # two that start count as at their target: 90 / 4 / 30 = 0.75
        (30, [], 2, None),
        (30, [math.nan, 10], 2, None),
    ],
)
def test_an_hpa_on_a_pods_metric(target: float, values: list[float], pods: int, replicas: int | None) -> None:
    names = [f"pod-{index}" for index in range(pods)]
    assert pods_metric_replicas(pods, target, dict(zip(names, values, strict=False)), names) == replicas


@pytest.mark.parametrize(
    ("current", "threshold", "total", "replicas"),
    [(2, 5, 0, 0), (2, 5, 10.5, 2), (2, 5, 12, 3), (4, 5, 3, 1), (1, 5, 100, 20)],
)
def test_an_external_metric(current: int, threshold: float, total: float, replicas: int) -> None:
    assert external_metric_replicas(current, threshold, total) == replicas


def test_an_hpa_goes_out_by_four_or_double_and_in_after_five_minutes() -> None:
    fleet = fleet_of(trace(duration=900))
    wished = {0: 30, 60: 2}
    seen: list[tuple[float, int]] = []
    Hpa(fleet, (1, 20), lambda current: wished[max(start for start in wished if start <= fleet.now)])
    fleet.every(15, lambda: seen.append((fleet.now, fleet.wanted)))
    fleet.run(0)
    by_time = dict(seen)
    assert [by_time[second] for second in (15, 30, 45)] == [5, 10, 20]
    assert by_time[345] == 20, "30 were wished for until 45"
    assert by_time[360] == 2


def test_knatives_panic_and_stable_windows() -> None:
    state = KpaState(target=10, delay=0)
    assert state.decide(0, ready=2, stable=18, panic=15) == 2
    assert state.decide(2, ready=2, stable=20, panic=45) == 5, "5 is more than twice 2: panic"
    assert state.decide(30, ready=5, stable=10, panic=5) == 5, "in panic it never goes in"
    assert state.decide(63, ready=5, stable=10, panic=5) == 2, "after a stable window; by half at once"
    assert state.decide(65, ready=2, stable=10, panic=5) == 1


def test_knatives_scale_down_delay() -> None:
    state = KpaState(target=10, delay=300)
    assert state.decide(0, ready=4, stable=40, panic=40) == 4
    assert state.decide(299, ready=4, stable=20, panic=20) == 4
    assert state.decide(301, ready=4, stable=20, panic=20) == 2


def test_kubeais_average_starts_as_zeros() -> None:
    # 300 requests that never end within the run: after 10 s one of 60 values is 300, and so on
    fleet = fleet_of(
        trace(*((0.0, 1, 10_000) for _ in range(300)), duration=320), kv_tokens=10**7, max_running=300, token_budget=400
    )
    Kubeai(fleet, Faults(), (1, 8), target=100, window=600)
    fleet.run(0)
    outs = [(round(change.time), change.after) for change in fleet.changes]
    assert outs == [(210, 2)], "21 of 60 values of 300 are 105: two replicas; 40 of them would make three"


def test_what_holds_without_data() -> None:
    fleet = fleet_of(trace(*((0.0, 1, 10_000) for _ in range(300)), duration=200), kv_tokens=10**7, max_running=300)
    faults = Faults(outage=(0, 1000))
    Kubeai(fleet, faults, (1, 8), target=10, window=60)
    Kpa(fleet, faults, (1, 8), target=10, delay=0)
    fleet.run(0)
    assert fleet.changes == []


def test_every_name_can_be_parsed() -> None:
    assert [choice.label for choice in parse_policies(",".join(NAMES))] == list(NAMES)
    assert callable(install)
