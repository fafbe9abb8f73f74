"""cli/levels.py: what a level showed, and how the search for the capacity goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.cli.levels import Goal, Level, Outcome, best, next_concurrency, percentile

GOAL = Goal(ttft=1.0, tpot=0.1)


def outcome(began: float = 0.0, ttft: float = 0.5, tpot: float = 0.05, tokens: int = 11) -> Outcome:
    return Outcome(began, began + ttft + tpot * (tokens - 1), began + ttft, 100, tokens)


def level(concurrency: int, *, good: bool = True, per_second: int = 1) -> Level:
    one = outcome(ttft=0.5 if good else 2.0, tpot=0.0)
    return Level(concurrency, 0.0, 10.0, (one,) * (per_second * 10))


@pytest.mark.parametrize(
    ("one", "within"),
    [
        (outcome(), True),
        (outcome(ttft=1.2), False),
        (outcome(tpot=0.2), False),
        (outcome(tokens=1, tpot=9.0), True),
        (Outcome(0.0, 0.5, error="HTTP 503"), False),
        (Outcome(0.0, 0.5), True),  # no token at all, in time
    ],
)
def test_within_the_goal(one: Outcome, within: bool) -> None:
    assert one.is_within(GOAL) == within


def test_requests_across_the_window_count_by_their_share() -> None:
    # four requests of 5 s each, one after the other, in a window that begins and ends within one
    seen = Level(1, 2.5, 17.5, tuple(outcome(5.0 * number, ttft=1.0, tpot=0.4, tokens=11) for number in range(4)))
    assert seen.requests_per_second == pytest.approx(0.2)
    assert seen.tokens_per_second == pytest.approx(2.2)


def test_failed_requests_are_not_throughput() -> None:
    seen = Level(1, 0.0, 1.0, (Outcome(0.0, 0.5, error="refused"),))
    assert (seen.requests_per_second, seen.within(GOAL), len(seen.failed)) == (0.0, 0.0, 1)
    assert Level(1, 0.0, 1.0, ()).within(GOAL) == 0.0


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)])
def test_percentile(share: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], share) == pytest.approx(value)
    assert percentile([], share) == 0.0


@pytest.mark.parametrize(
    ("good", "bad", "following"),
    [
        ((), (), 1),
        ((1, 2, 4), (), 8),
        ((1, 2, 4, 8, 16, 32, 64), (), 100),
        ((100,), (), None),
        ((), (1,), None),
        ((1,), (2,), None),
        ((4,), (8,), 6),
        ((4, 6), (8,), 7),
        ((16, 20), (32, 24), None),
        ((4, 16), (8,), 6),  # a good one above a bad one was luck
    ],
)
def test_search(good: tuple[int, ...], bad: tuple[int, ...], following: int | None) -> None:
    levels = [*map(level, good), *(level(each, good=False) for each in bad)]
    assert next_concurrency(levels, GOAL, 100) == following


@given(capacity=st.integers(0, 200), most=st.integers(1, 150))
def test_the_search_ends_near_the_capacity(capacity: int, most: int) -> None:
    levels: list[Level] = []
    while (concurrency := next_concurrency(levels, GOAL, most)) is not None:
        levels.append(level(concurrency, good=concurrency <= capacity))
        assert len(levels) < 20
    found = max((each.concurrency for each in levels if each.is_good(GOAL)), default=0)
    assert found <= min(capacity, most)
    assert found >= min(capacity, most) - max(1, found // 4)


def test_the_best_level_is_the_one_with_most_requests_that_kept_the_goal() -> None:
    levels = [
        level(1, per_second=3),
        level(2, per_second=9),
        level(4, per_second=8),
        level(8, good=False, per_second=20),
    ]
    found = best(levels, GOAL)
    assert found is not None
    assert found.concurrency == 2
    assert best([level(1, good=False)], GOAL) is None
