"""workqueue.py: what is worked on when, after each sort of outcome, and never twice at once."""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.errors import Conflict, InvalidSpec, NotReady, Transient
from agentfleet.metrics import Metrics
from agentfleet.objects import Key
from agentfleet.workqueue import Backoff, Schedule, WorkQueue
from tests.virtual_time import run

A, B, C = (Key("ModelServer", "default", name) for name in "abc")


def queue_of(handler: Callable[[Key], Awaitable[float | None]], workers: int = 2) -> tuple[WorkQueue, Metrics]:
    metrics = Metrics()
    backoff = Backoff(base=1.0, cap=8.0, uniform=lambda shortest, longest: longest)
    return WorkQueue(handler, workers=workers, metrics=metrics, backoff=backoff), metrics


async def work_for(queue: WorkQueue, seconds: float) -> None:
    """Let the queue run for this long, then stop it cleanly."""
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.run())
        await asyncio.sleep(seconds)
        queue.stop()


# --- Schedule --------------------------------------------------------------------------------------------------------


def test_a_key_added_twice_is_handed_out_once_at_the_earliest_time() -> None:
    schedule = Schedule()
    schedule.add(A, 5)
    schedule.add(A, 3)
    schedule.add(A, 9)
    assert schedule.next_due() == 3
    assert schedule.pop(2.9) is None
    assert schedule.pop(3) == A
    schedule.done(A)
    assert schedule.next_due() is None


def test_equal_times_leave_in_the_order_of_arrival() -> None:
    schedule = Schedule()
    for key in (C, A, B):
        schedule.add(key, 1)
    assert [schedule.pop(1), schedule.pop(1), schedule.pop(1)] == [C, A, B]


def test_a_running_key_waits_for_done_and_keeps_its_earliest_time() -> None:
    schedule = Schedule()
    schedule.add(A, 0)
    assert schedule.pop(0) == A
    schedule.add(A, 7)
    schedule.add(A, 4)
    assert schedule.pop(100) is None
    assert schedule.depth(100) == 0
    schedule.done(A)
    assert schedule.next_due() == 4


@settings(max_examples=20, deadline=None)
@given(random=st.randoms(use_true_random=True))
def test_no_key_is_lost_stuck_or_run_twice_at_once(random: Random) -> None:
    """2,000 random operations against the definition: a key is due at its earliest wish since its last run."""
    schedule, now = Schedule(), 0.0
    wishes: dict[Key, float] = {}
    running: dict[Key, float | None] = {}  # with the wish that came while it ran
    keys = [Key("ModelServer", "default", str(number)) for number in range(12)]
    for _ in range(2000):
        match random.choice(("add", "add", "pop", "pop", "done", "wait")):
            case "add":
                key, due = random.choice([*wishes, *running, random.choice(keys)]), now + random.choice((0, 0, 1, 5))
                schedule.add(key, due)
                if key in running:
                    again = running[key]
                    running[key] = due if again is None else min(due, again)
                else:
                    wishes[key] = min(due, wishes.get(key, due))
            case "pop":
                popped = schedule.pop(now)
                due_now = {key: due for key, due in wishes.items() if due <= now}
                assert (popped is None) == (not due_now)
                if popped is not None:
                    assert popped not in running
                    assert due_now[popped] == min(due_now.values())
                    del wishes[popped]
                    running[popped] = None
            case "done" if running:
                key = random.choice(list(running))
                schedule.done(key)
                again = running.pop(key)
                if again is not None:
                    wishes[key] = again
            case _:
                now += random.choice((0.5, 1, 2))
        assert schedule.depth(now) == sum(due <= now for due in wishes.values())
        assert set(schedule.running) == set(running)
    for key in list(running):
        schedule.done(key)
    left = set(wishes) | {key for key, again in running.items() if again is not None}
    assert {schedule.pop(now + 1000) for _ in left} == left
    assert schedule.pop(now + 1000) is None


# --- Backoff ---------------------------------------------------------------------------------------------------------


def test_backoff_doubles_up_to_its_cap_and_starts_anew_when_forgotten() -> None:
    backoff = Backoff(base=1, cap=10, uniform=lambda shortest, longest: longest)
    assert [backoff.next(A) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.next(B) == 1
    backoff.forget(A)
    assert backoff.next(A) == 1


def test_backoff_draws_from_the_upper_half_and_survives_very_many_failures() -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(shortest: float, longest: float) -> float:
        drawn.append((shortest, longest))
        return longest

    backoff = Backoff(base=1, cap=60, uniform=uniform)
    for _ in range(3000):
        backoff.next(A)
    assert drawn[0] == (0.5, 1)
    assert drawn[-1] == (30, 60)


# --- WorkQueue -------------------------------------------------------------------------------------------------------

OUTCOMES = [
    # what the handler does, seconds between its runs, the result that is counted
    (lambda: None, [], "ok"),
    (lambda: 5.0, [5, 5, 5], "ok"),
    (NotReady("ImagePull", "waiting", after=4), [4, 4, 4], "not_ready"),
    (Transient("503"), [1, 2, 4], "transient"),
    (Conflict("409"), [1, 2, 4], "transient"),
    (InvalidSpec("BadFlag", "no such flag"), [], "invalid"),
    (ZeroDivisionError("a bug"), [1, 2, 4], "error"),
]


@pytest.mark.parametrize(("outcome", "gaps", "result"), OUTCOMES, ids=lambda value: repr(value)[:30])
def test_when_a_key_is_worked_on_again(outcome: object, gaps: list[float], result: str) -> None:
    async def scenario() -> tuple[list[float], Metrics]:
        times: list[float] = []

        async def handler(key: Key) -> float | None:
            times.append(asyncio.get_running_loop().time())
            if isinstance(outcome, Exception):
                raise outcome
            return outcome()  # type: ignore[operator, no-any-return]

        queue, metrics = queue_of(handler)
        queue.add(A)
        await work_for(queue, 100)
        return times, metrics

    times, metrics = run(scenario())
    assert [later - earlier for earlier, later in itertools.pairwise(times)][:3] == gaps
    counted = metrics.registry.get_sample_value(
        "agentfleet_reconciles_total", {"kind": "ModelServer", "result": result}
    )
    assert counted == len(times)


def test_only_bugs_are_logged_with_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async def handler(key: Key) -> float | None:
            raise {A: Transient("HTTP 503"), B: ZeroDivisionError("a bug"), C: InvalidSpec("BadFlag", "no flag")}[key]

        queue, _ = queue_of(handler)
        for key in (A, B, C):
            queue.add(key)
        await work_for(queue, 0.5)

    with caplog.at_level(logging.WARNING):
        run(scenario())
    records = {record.key: record for record in caplog.records}  # type: ignore[attr-defined]
    assert records[str(A)].levelname == records[str(C)].levelname == "WARNING"
    assert not records[str(A)].exc_info
    assert records[str(B)].levelname == "ERROR"
    assert records[str(B)].exc_info


def test_success_ends_the_backoff() -> None:
    async def scenario() -> list[float]:
        outcomes = iter([Transient("1"), Transient("2"), None, Transient("3"), None])
        times: list[float] = []

        async def handler(key: Key) -> float | None:
            times.append(asyncio.get_running_loop().time())
            outcome = next(outcomes)
            if outcome is not None:
                raise outcome
            return 10.0 if len(times) == 3 else None

        queue, _ = queue_of(handler)
        queue.add(A)
        await work_for(queue, 100)
        return times

    assert run(scenario()) == [0, 1, 3, 13, 14]


def test_a_key_added_while_it_runs_runs_once_more_afterwards() -> None:
    async def scenario() -> list[tuple[str, float]]:
        log: list[tuple[str, float]] = []
        time = asyncio.get_running_loop().time

        async def handler(key: Key) -> float | None:
            log.append(("start", time()))
            await asyncio.sleep(10)
            log.append(("end", time()))
            return None

        queue, _ = queue_of(handler, workers=4)
        queue.add(A)
        async with asyncio.TaskGroup() as group:
            group.create_task(queue.run())
            await asyncio.sleep(3)
            for _ in range(5):
                queue.add(A)
            await asyncio.sleep(40)
            queue.stop()
        return log

    assert run(scenario()) == [("start", 0), ("end", 10), ("start", 10), ("end", 20)]


def test_a_change_does_not_wait_for_the_backoff() -> None:
    async def scenario() -> list[float]:
        times: list[float] = []

        async def handler(key: Key) -> float | None:
            times.append(asyncio.get_running_loop().time())
            raise NotReady("Waiting", "polling", after=60)

        queue, _ = queue_of(handler)
        queue.add(A)
        async with asyncio.TaskGroup() as group:
            group.create_task(queue.run())
            await asyncio.sleep(20)
            queue.add(A)
            await asyncio.sleep(70)
            queue.stop()
        return times

    assert run(scenario()) == [0, 20, 80]


def test_stop_finishes_what_runs_and_starts_nothing_more() -> None:
    async def scenario() -> tuple[list[Key], float]:
        done: list[Key] = []

        async def handler(key: Key) -> float | None:
            await asyncio.sleep(10)
            done.append(key)
            return None

        queue, _ = queue_of(handler, workers=1)
        queue.add(A)
        queue.add(B)
        await work_for(queue, 5)
        return done, asyncio.get_running_loop().time()

    assert run(scenario()) == ([A], 10)


def test_cancelling_passes_through_the_handler() -> None:
    async def scenario() -> list[str]:
        log: list[str] = []

        async def handler(key: Key) -> float | None:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                log.append("cancelled")
                raise
            return None

        queue, _ = queue_of(handler)
        queue.add(A)
        task = asyncio.create_task(queue.run())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return log

    assert run(scenario()) == ["cancelled"]


def test_depth_and_ages_are_told() -> None:
    async def scenario() -> None:
        async def handler(key: Key) -> float | None:
            await asyncio.sleep(100)
            return None

        queue, metrics = queue_of(handler, workers=1)
        assert (queue.depth(), queue.oldest_waiting_seconds(), queue.oldest_running()) == (0, 0, None)
        queue.add(A)
        queue.add(B)
        queue.add_after(C, 1000)
        async with asyncio.TaskGroup() as group:
            group.create_task(queue.run())
            await asyncio.sleep(30)
            assert (queue.depth(), queue.oldest_waiting_seconds()) == (1, 30)
            assert queue.oldest_running() == (A, 30)
            assert metrics.registry.get_sample_value("agentfleet_queue_depth") == 1
            assert metrics.registry.get_sample_value("agentfleet_queue_oldest_seconds") == 30
            queue.stop()

    run(scenario())


@settings(max_examples=10, deadline=None)
@given(random=st.randoms(use_true_random=True))
def test_every_wish_is_followed_by_a_run_that_starts_after_it(random: Random) -> None:
    """2,000 random adds, delays and failures over 8 workers: nothing is lost, nothing overlaps, nothing is stuck."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        keys = [Key("ModelServer", "default", str(number)) for number in range(20)]
        started: dict[Key, float] = {}
        active: Counter[Key] = Counter()

        async def handler(key: Key) -> float | None:
            active[key] += 1
            assert active[key] == 1
            started[key] = loop.time()
            await asyncio.sleep(random.uniform(0, 3))
            active[key] -= 1
            match random.randrange(6):
                case 0:
                    raise Transient("503")
                case 1:
                    raise NotReady("Waiting", "polling", after=2)
                case 2:
                    return 5.0
            return None

        wished: dict[Key, float] = {}
        queue, _ = queue_of(handler, workers=8)
        async with asyncio.TaskGroup() as group:
            group.create_task(queue.run())
            for _ in range(2000):
                key = random.choice(keys)
                wished[key] = loop.time()
                if random.random() < 0.8:
                    queue.add(key)
                else:
                    queue.add_after(key, random.uniform(0, 10))
                await asyncio.sleep(random.choice((0, 0, 0, 0.1, 1)))
            await asyncio.sleep(60)
            assert all(started[key] >= since for key, since in wished.items())
            queue.stop()

    run(scenario())
