"""Scheduled bounds hold from their minute on, for as long as they say, on the wall clock of their zone."""

from datetime import UTC, datetime

import pytest

from agentfleet.autoscale.schedule import Bounds, bounds
from agentfleet.resources.scaling import ScheduledBounds


def window(
    cron: str, duration: str, low: int | None = None, high: int | None = None, zone: str | None = None
) -> ScheduledBounds:
    return ScheduledBounds(cron=cron, duration=duration, min_replicas=low, max_replicas=high, time_zone=zone)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


BERLIN = window("0 8 * * 1-5", "2h", low=3, zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "held"),
    [
        ("2026-11-23T06:59:59", False),
        ("2026-11-23T07:00:00", True),
        ("2026-11-23T08:59:59", True),
        ("2026-11-23T09:00:00", False),
        ("2026-11-22T07:30:00", False),
        ("2026-07-01T06:00:00", True),
        ("2026-07-01T05:59:00", False),
    ],
)
def test_begins_and_ends_on_the_minute_in_its_zone(now: str, held: bool) -> None:
    assert bounds([BERLIN], 1, 8, at(now)) == (Bounds(3, 8, True) if held else Bounds(1, 8))


def test_a_window_may_be_longer_than_its_period() -> None:
    assert bounds([window("0 * * * *", "90m", low=2)], 1, 8, at("2026-11-23T07:59:00")).minimum == 2


@pytest.mark.parametrize(
    ("what", "windows", "expected"),
    [
        ("none", [], Bounds(1, 8)),
        ("the larger minimum", [window("0 0 * * *", "24h", low=2), window("0 0 * * *", "24h", low=4)],
         Bounds(4, 8, True)),
        ("the smaller maximum", [window("0 0 * * *", "24h", high=6), window("0 0 * * *", "24h", high=3)],
         Bounds(1, 3, True)),
        ("a maximum below the minimum", [window("0 0 * * *", "24h", low=6), window("0 0 * * *", "24h", high=3)],
         Bounds(3, 3, True)),
        ("a smaller minimum than usual", [window("0 0 * * *", "24h", low=0)], Bounds(0, 8, True)),
        ("the same as usual", [window("0 0 * * *", "24h", low=1, high=8)], Bounds(1, 8)),
    ],
)  # fmt: skip
def test_several(what: str, windows: list[ScheduledBounds], expected: Bounds) -> None:
    assert bounds(windows, 1, 8, at("2026-11-23T12:00:00")) == expected, what
