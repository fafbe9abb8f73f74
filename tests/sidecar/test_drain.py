"""The judge of a drain, and a drain by a clock that only moves when somebody sleeps."""

from collections.abc import Awaitable, Callable

import pytest

from agentfleet.sidecar.drain import DrainWatch, drain
from agentfleet.sidecar.engines.base import Reading, Sampler

IDLE, BUSY, UNKNOWN, REFUSED = Reading(0), Reading(2), Reading(None), Reading(None, refused=True)


@pytest.mark.parametrize(
    ("readings", "result"),
    [
        ([(0.0, IDLE), (0.5, IDLE)], "idle"),
        ([(0.0, IDLE), (0.2, IDLE)], None),  # too close together
        ([(0.0, IDLE), (0.5, BUSY), (1.0, IDLE)], None),
        ([(0.0, IDLE), (0.5, UNKNOWN), (1.0, IDLE)], None),  # unreadable is not idle
        ([(0.0, UNKNOWN), (0.5, UNKNOWN), (1.0, UNKNOWN), (1.5, UNKNOWN)], None),
        ([(0.0, REFUSED), (0.5, REFUSED)], None),
        ([(0.0, REFUSED), (0.5, REFUSED), (1.0, REFUSED)], "engine-gone"),
        ([(0.0, REFUSED), (0.5, REFUSED), (1.0, UNKNOWN), (1.5, REFUSED)], None),
        ([(0.0, BUSY), (10.0, BUSY)], "timeout"),
        ([(0.0, IDLE), (10.0, IDLE)], "idle"),
        ([(10.0, IDLE)], "timeout"),
    ],
)
def test_the_judge(readings: list[tuple[float, Reading]], result: str | None) -> None:
    watch = DrainWatch(deadline=10.0)
    *earlier, last = [watch.observe(reading, at) for at, reading in readings]
    assert earlier == [None] * len(earlier)
    assert last == result


class Clock:
    """Time moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def busy_until(clock: Clock, end: float) -> Callable[[], Awaitable[Reading]]:
    async def read() -> Reading:
        return BUSY if clock.now < end else IDLE

    return read


async def test_it_waits_for_dns_even_when_idle() -> None:
    clock = Clock()
    result = await drain(busy_until(clock, 0), dns_delay=35, timeout=120, clock=clock, sleep=clock.sleep)
    assert result.as_json() == {"result": "idle", "waited": 35.5, "inFlight": 0}


async def test_it_waits_for_the_last_answer() -> None:
    clock = Clock()
    result = await drain(busy_until(clock, 190), dns_delay=35, timeout=120, clock=clock, sleep=clock.sleep)
    assert result.as_json() == {"result": "idle", "waited": 90.5, "inFlight": 0}


async def test_it_gives_up_after_the_timeout() -> None:
    clock = Clock()
    result = await drain(busy_until(clock, 1e9), dns_delay=35, timeout=120, clock=clock, sleep=clock.sleep)
    assert result.as_json() == {"result": "timeout", "waited": 155.0, "inFlight": 2}


async def test_who_is_stopped_says_so_and_gives_the_news_its_time() -> None:
    clock = Clock()
    left: list[float] = []
    result = await drain(
        busy_until(clock, 0),
        dns_delay=35,
        timeout=120,
        leave=lambda: left.append(clock.now - 100),
        leave_delay=6,
        clock=clock,
        sleep=clock.sleep,
    )
    assert left == [35]
    assert result.as_json() == {"result": "idle", "waited": 41.5, "inFlight": 0}


async def test_the_time_for_the_news_is_none_for_answers() -> None:
    clock = Clock()
    result = await drain(
        busy_until(clock, 1e9), dns_delay=35, timeout=120, leave=lambda: None, leave_delay=6, clock=clock,
        sleep=clock.sleep,
    )  # fmt: skip
    assert result.as_json() == {"result": "timeout", "waited": 161.0, "inFlight": 2}


async def test_many_askers_cost_one_reading() -> None:
    clock = Clock()

    class Engine:
        asked = 0

        async def reading(self) -> Reading:
            self.asked += 1
            return BUSY

    engine = Engine()
    sampler = Sampler(engine, max_age=0.25, clock=clock)  # type: ignore[arg-type]
    for _ in range(100):
        assert await sampler.read() == BUSY
    clock.now += 0.3
    await sampler.read()
    assert engine.asked == 2
