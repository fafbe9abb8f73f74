"""Numbers of an engine that is slow to answer: told with their age, and not for ever."""

import asyncio

import pytest

from agentfleet.sidecar.engines.base import Health, Reading, Sampler
from agentfleet.sidecar.latest import OLDEST, Aged, Latest


class Slow:
    """An engine that answers when it is let."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Reading] = asyncio.Queue()
        self.asked = 0

    async def health(self) -> Health:
        return Health.SERVING

    async def version(self) -> str | None:
        return None

    async def reading(self) -> Reading:
        self.asked += 1
        return await self.answers.get()


@pytest.fixture
def now() -> list[float]:
    return [100.0]


def latest(engine: Slow, now: list[float]) -> Latest:
    return Latest(Sampler(engine, max_age=-1, clock=lambda: now[0]), patience=0.2, clock=lambda: now[0])


async def test_who_answers_at_once_is_heard(now: list[float]) -> None:
    engine = Slow()
    found = latest(engine, now)
    for number in (1, 2):
        engine.answers.put_nowait(Reading(number, page="p"))
        assert await found.read() == Aged(Reading(number), 0.0)
    failed = Reading(None, "gone", refused=True)
    engine.answers.put_nowait(failed)
    assert (await found.read()).reading == failed, "an engine that says no is not slow"


async def test_an_answer_that_comes_late_is_there_the_next_time(now: list[float]) -> None:
    engine = Slow()
    found = latest(engine, now)
    assert "no answer" in (await found.read()).reading.detail
    now[0] += 3
    engine.answers.put_nowait(Reading(7, page="p"))
    await hears()
    now[0] += 2
    aged = await found.read()
    assert (aged.reading.in_flight, aged.reading.page, aged.age) == (7, "p", 2)
    assert engine.asked == 2, "and the next answer is under way"


async def test_one_question_at_a_time(now: list[float]) -> None:
    engine = Slow()
    found = latest(engine, now)
    await asyncio.gather(*(found.read() for _ in range(5)))
    await found.read()
    assert engine.asked == 1


async def hears() -> None:
    """The answer goes through all the tasks that wait for it."""
    for _ in range(20):
        await asyncio.sleep(0)


async def late(engine: Slow, found: Latest, reading: Reading) -> None:
    """An answer that comes when nobody waits for it any more."""
    await found.read()
    engine.answers.put_nowait(reading)
    await hears()


async def test_nothing_is_told_twice(now: list[float]) -> None:
    engine = Slow()
    found = latest(engine, now)
    await late(engine, found, Reading(7, page="p"))
    assert (await found.read()).reading.in_flight == 7
    assert (await found.read()).reading.in_flight is None
    engine.answers.put_nowait(Reading(8, page="p"))
    assert (await found.read()).reading.in_flight == 8
    assert (await found.read()).reading.in_flight is None


@pytest.mark.parametrize(("age", "told"), [(OLDEST, 7), (OLDEST + 0.1, None)])
async def test_what_is_too_old_is_not_told(now: list[float], age: float, told: int | None) -> None:
    engine = Slow()
    found = latest(engine, now)
    await late(engine, found, Reading(7, page="p"))
    now[0] += age
    assert (await found.read()).reading.in_flight == told


async def test_a_late_failure_is_no_news(now: list[float]) -> None:
    engine = Slow()
    found = latest(engine, now)
    await late(engine, found, Reading(7, page="p"))
    now[0] += 4
    found_late = await found.read()
    assert (found_late.reading.in_flight, found_late.age) == (7, 4)
    engine.answers.put_nowait(Reading(None, "timed out"))
    await hears()
    assert "no new one" in (await found.read()).reading.detail
