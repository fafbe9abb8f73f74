"""When models are pulled again."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from agentfleet.sidecar import updates
from agentfleet.sidecar.schedule import Schedule, zone_of
from agentfleet.sidecar.updates import UpdateClock


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("expression", "zone", "now", "due"),
    [
        ("0 3 * * 0", "UTC", "2026-11-21T12:00:00+00:00", "2026-11-22T03:00:00+00:00"),
        ("*/15 * * * *", "UTC", "2026-11-21T12:00:00+00:00", "2026-11-21T12:15:00+00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-11-21T12:00:00+00:00", "2026-11-22T02:00:00+00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-07-01T12:00:00+00:00", "2026-07-02T01:00:00+00:00"),
        # 02:30 does not exist on that day: it is due as soon as the clock was put forward.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+00:00", "2026-03-29T01:00:00+00:00"),
        # 02:30 comes twice: it is due once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+00:00", "2026-10-25T00:30:00+00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00+00:00", "2026-10-26T01:30:00+00:00"),
    ],
)
def test_slots(expression: str, zone: str, now: str, due: str) -> None:
    assert Schedule(expression, zone_of(zone)).after(at(now)) == at(due)


@pytest.mark.parametrize("expression", ["", "soon", "* * * *", "61 * * * *", "0 0 30 2 *"])
def test_what_is_no_schedule(expression: str) -> None:
    with pytest.raises(ValueError, match=r"no cron expression|never due"):
        Schedule(expression)


@pytest.mark.parametrize("zone", ["", "Mars/Base", "../etc/passwd", "/etc/passwd"])
def test_what_is_no_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        zone_of(zone)


class Model:
    def __init__(self) -> None:
        self.requests = 0

    def request_update(self) -> None:
        self.requests += 1


async def test_every_model_is_asked_once_per_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "LONGEST_SLEEP", 0.01)
    models = [Model(), Model()]
    now = at("2026-11-21T11:59:59.950000+00:00")
    task = asyncio.create_task(UpdateClock(Schedule("0 * * * *"), models, lambda: now).run())
    await asyncio.sleep(0.03)
    assert [model.requests for model in models] == [0, 0]
    now += timedelta(seconds=0.1)
    async with asyncio.timeout(5):
        while models[1].requests == 0:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert [model.requests for model in models] == [1, 1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
