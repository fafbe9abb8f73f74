"""A model that promised too much is trusted less; what was foretold is held against what came."""

import pytest

from agentfleet.autoscale.decision import Decision, Goal
from agentfleet.autoscale.intervals import interval, kept
from agentfleet.autoscale.samples import EngineSample, Histogram
from agentfleet.autoscale.verdicts import Verdicts

NOW = 50_000.0
BOUNDS = (0.5, 1.0, 2.5, float("inf"))
GOAL = Goal(time_to_first_token=2.0)


def histogram(quick: float, late: float) -> Histogram:
    return Histogram(BOUNDS, (quick, quick, quick, quick + late), 0.3 * quick + 9 * late)


def minutes(verdicts: Verdicts, count: int, *, late: float, demand: float = 10.0, planned: float = 12.0,
            ready: int = 2, start: float = NOW) -> float:  # fmt: skip
    """So many minutes in each of which `late` of 100 requests are late."""
    now = start
    for tick in range(count * 12):
        verdicts.close(now, planned)
        quick, slow = (100 - late) / 12, late / 12
        before, after = (
            EngineSample(
                at=now + 5 * step,
                running=1.0,
                completed=10.0 * (tick + step),
                output_tokens=1.0,
                time_to_first_token=histogram(quick * (tick + step), slow * (tick + step)),
            )
            for step in (0, 1)
        )
        done = interval(before, after)
        assert done is not None
        verdicts.add(now, ready, demand, 0.0, (done,), GOAL)
        now += 5
    verdicts.close(now, planned)
    return now


def test_misses_at_a_planned_load_are_the_models_fault() -> None:
    verdicts = Verdicts()
    minutes(verdicts, 10, late=10)
    assert verdicts.trust == pytest.approx(1 - 10 * 0.025)


def test_trust_has_a_floor_and_comes_back_slowly() -> None:
    verdicts = Verdicts()
    now = minutes(verdicts, 60, late=80)
    assert verdicts.trust == 0.5
    now = minutes(verdicts, 10, late=0, start=now)
    assert verdicts.trust == pytest.approx(0.54)
    minutes(verdicts, 300, late=0, start=now)
    assert verdicts.trust == 1.0


@pytest.mark.parametrize(
    ("what", "more"),
    [
        ("more came than was planned for", {"demand": 20.0}),
        ("a few are late by chance", {"late": 1.0}),
    ],
)
def test_what_is_not_the_models_fault(what: str, more: dict[str, float]) -> None:
    verdicts = Verdicts()
    minutes(verdicts, 10, **{"late": 30.0, **more})  # type: ignore[arg-type]
    assert verdicts.trust == 1.0, what


def test_a_change_of_replicas_within_a_minute_says_nothing() -> None:
    verdicts = Verdicts()
    now = NOW
    for _ in range(60):
        minutes_ready = 2 + int(now / 30) % 2
        now = minutes_of_change(verdicts, now, minutes_ready)
    assert verdicts.trust == 1.0


def minutes_of_change(verdicts: Verdicts, now: float, ready: int) -> float:
    verdicts.close(now, 12.0)
    samples = [
        EngineSample(at=now + step, running=1.0, completed=10.0, output_tokens=1.0,
                     time_to_first_token=histogram(0, 100.0 * step))
        for step in (1, 2)
    ]  # fmt: skip
    done = interval(*samples)
    assert done is not None
    verdicts.add(now, ready, 10.0, 0.0, (done,), GOAL)
    return now + 5


def decision(**inputs: float) -> Decision:
    return Decision(NOW, "scale_out", 2, 3, "Demand", "More.", inputs=inputs)


def test_the_verdict_comes_a_cold_start_and_a_minute_later() -> None:
    verdicts = Verdicts()
    made = decision(forecast=12.0, capacity=6.0)
    assert verdicts.verdict(made, NOW, 120.0, GOAL) is None
    now = minutes(verdicts, 4, late=0, demand=11.0)
    assert verdicts.verdict(made, NOW + 170, 120.0, GOAL) is None
    said = verdicts.verdict(made, now, 120.0, GOAL)
    assert said is not None
    assert said.startswith("12 expected, 11 came, load 0.67 of 3 replicas and then 0.61")
    assert "within 2 s for 100.0 %" in said
    assert len(said) <= 256


def test_a_verdict_on_nothing_is_given_up() -> None:
    verdicts = Verdicts()
    assert verdicts.verdict(decision(), NOW + 600, 120.0, GOAL) is None
    assert verdicts.verdict(decision(), NOW + 1100, 120.0, GOAL) == "Nothing was seen afterwards."


@pytest.mark.parametrize(
    ("goal", "within"), [(0.5, 10.0), (1.0, 10.0), (1.75, 15.0), (2.5, 20.0), (3.0, 20.0), (0.25, 5.0)]
)
def test_within_a_bucket_times_are_spread_evenly(goal: float, within: float) -> None:
    before = Histogram(BOUNDS, (5.0, 5.0, 5.0, 5.0), 1.0)
    after = Histogram(BOUNDS, (15.0, 15.0, 25.0, 26.0), 60.0)
    assert kept(before, after, goal) == (21.0, within)
