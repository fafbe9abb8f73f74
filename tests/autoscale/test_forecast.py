"""Chance is no trend, a ramp is one, and jumps are foreseen once they have been seen."""

import math
import random
from collections.abc import Callable

import pytest

from agentfleet.autoscale.forecast import Demand, Outlook

TICK = 5.0
HORIZON = 130.0


def fed(rate: Callable[[float], float], seconds: float, *, seed: int | None = None) -> tuple[Demand, float]:
    """Demand that saw `rate`, with the chance of random arrivals where there is a seed."""
    demand, now = Demand(), 0.0
    draw = random.Random(seed)  # noqa: S311 - a test, no secrets
    while now < seconds:
        now += TICK
        value = rate(now)
        if seed is not None:
            value = max(0.0, draw.gauss(value, math.sqrt(value / TICK)))
        demand.add(now, value)
    return demand, now


def outlook(rate: Callable[[float], float], seconds: float, *, seed: int | None = None) -> Outlook:
    demand, now = fed(rate, seconds, seed=seed)
    found = demand.outlook(now, HORIZON)
    assert found is not None
    return found


def test_nothing_is_known_of_nothing() -> None:
    assert Demand().outlook(1000.0, HORIZON) is None


def test_old_ticks_say_nothing_of_now() -> None:
    demand, now = fed(lambda _: 5.0, 600)
    assert demand.outlook(now + 20, HORIZON) is not None
    assert demand.outlook(now + 31, HORIZON) is None


def test_steady_demand_stays() -> None:
    found = outlook(lambda _: 8.0, 3600)
    assert found.now == pytest.approx(8.0)
    assert found.trend == pytest.approx(8.0)
    assert found.jumps == pytest.approx(8.0)
    assert found.noise == pytest.approx(0.0)


def test_chance_is_seldom_a_trend() -> None:
    trends = 0
    for seed in range(40):
        demand, now = fed(lambda _: 12.0, 1800, seed=seed)
        found = demand.outlook(now, HORIZON)
        assert found is not None
        trends += found.trend > 1.2 * found.now
    assert trends <= 2


@pytest.mark.parametrize("rate", [2.0, 20.0, 200.0])
def test_noise_is_that_of_ten_seconds(rate: float) -> None:
    found = [outlook(lambda _: rate, 3600, seed=seed) for seed in range(10)]
    mean = sum(each.noise for each in found) / len(found)
    assert mean == pytest.approx(math.sqrt(rate / 10), rel=0.2)
    assert sum(each.burstiness for each in found) / len(found) == pytest.approx(1.0, rel=0.3)


def test_a_ramp_is_followed_for_a_cold_start() -> None:
    found = outlook(lambda now: 5.0 + max(0.0, now - 1800) * 0.05, 1980, seed=3)
    assert found.trend == pytest.approx(14 + 0.05 * HORIZON, rel=0.25)


def test_a_trend_is_followed_to_twice_the_demand_at_most() -> None:
    found = outlook(lambda now: 5.0 + max(0.0, now - 1800) * 1.0, 1900)
    assert found.trend <= 2 * found.now


def test_a_wave_that_falls_is_not_foretold_to_fall() -> None:
    found = outlook(lambda now: 20.0 - max(0.0, now - 1800) * 0.05, 1980)
    assert found.trend == found.now
    assert found.now >= 11.0


def jumpy(now: float) -> float:
    """Three minutes of 25 every 20 minutes."""
    return 25.0 if now % 1200 > 1020 else 6.0


def test_jumps_are_foreseen_once_they_were_seen() -> None:
    assert outlook(jumpy, 1000).jumps < 8.0
    later = outlook(jumpy, 3 * 3600 + 600)
    assert later.now == pytest.approx(6.0)
    assert later.jumps == pytest.approx(25.0, rel=0.1)


def test_what_follows_a_jump_is_no_other_jump() -> None:
    found = outlook(jumpy, 3 * 3600 + 1150)
    assert found.now == pytest.approx(25.0)
    assert found.peak <= 30.0


def test_from_nothing_to_something() -> None:
    found = outlook(lambda now: 20.0 if now % 1800 > 900 else 0.0, 3 * 3600 + 600)
    assert found.now == 0.0
    assert found.jumps == pytest.approx(20.0, rel=0.1)


def test_memory_is_bounded() -> None:
    demand, _ = fed(lambda _: 5.0, 24 * 3600)
    assert len(demand.bins) <= 480


@pytest.mark.parametrize("start", [0.0, 1_790_000_000.0])
def test_neither_the_first_look_nor_a_gap_is_a_jump(start: float) -> None:
    demand = Demand()
    for second in [*range(0, 300, 5), *range(400, 700, 5)]:
        demand.add(start + second, 20.0)
        if second >= 60:
            outlook = demand.outlook(start + second, 120.0)
            assert outlook is not None
            assert outlook.noise < 1.5, second  # random arrivals would have as much
