"""Places and who waits for one: never more than there are, none lost, whoever is cancelled when."""

import asyncio
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentfleet.runtime.config import Concurrency
from agentfleet.runtime.gate import Gate
from agentfleet.runtime.strain import Strain
from agentfleet.runtime.types import Priority, RunError
from tests.runtime.parts import until


def gate(strain: Strain | None = None, clock: Callable[[], float] = time.monotonic, **limits: float) -> Gate:
    return Gate(Concurrency(**limits), strain or Strain(), clock)  # type: ignore[arg-type]


async def hold(one: Gate, let_go: asyncio.Event, priority: Priority = "normal", order: list[str] | None = None) -> None:
    async with one.enter(priority):
        if order is not None:
            order.append(str(asyncio.current_task().get_name()))  # type: ignore[union-attr]
        await let_go.wait()


async def test_200_callers_and_10_places() -> None:
    one = gate(max=10, queue=1000, queue_timeout=30)
    peak = 0

    async def call() -> None:
        nonlocal peak
        async with one.enter():
            peak = max(peak, one.running)
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(call())
    assert peak == 10
    assert (one.running, one.waiting) == (0, 0)


async def test_a_full_queue_is_told_with_a_time_to_come_back() -> None:
    one, let_go = gate(max=1, queue=1, queue_timeout=60), asyncio.Event()
    holders = [asyncio.create_task(hold(one, let_go)) for _ in range(2)]
    await until(lambda: (one.running, one.waiting) == (1, 1))
    with pytest.raises(RunError) as full:
        await hold(one, let_go)
    assert (full.value.status, full.value.code) == (429, "queue_full")
    assert full.value.retry_after is not None
    assert 1 <= full.value.retry_after <= 60
    let_go.set()
    await asyncio.gather(*holders)


async def test_waiting_too_long_is_told() -> None:
    one, let_go = gate(max=1, queue=1, queue_timeout=0.05), asyncio.Event()
    holder = asyncio.create_task(hold(one, let_go))
    await until(lambda: one.running == 1)
    with pytest.raises(RunError) as late:
        await hold(one, let_go)
    assert (late.value.status, late.value.code) == (503, "queue_timeout")
    assert one.waiting == 0
    let_go.set()
    await holder
    assert one.running == 0


async def test_high_goes_first_and_first_come_first_served_inside() -> None:
    one, let_go, order = gate(max=1, queue=10, queue_timeout=60), asyncio.Event(), list[str]()
    holder = asyncio.create_task(hold(one, let_go))
    await until(lambda: one.running == 1)
    waiting = []
    for name, priority in (("l", "low"), ("n1", "normal"), ("h1", "high"), ("n2", "normal"), ("h2", "high")):
        waiting.append(asyncio.create_task(hold(one, let_go, priority, order), name=name))  # type: ignore[arg-type]
        await until(lambda: one.waiting == len(waiting))
    let_go.set()
    await asyncio.gather(holder, *waiting)
    assert order == ["h1", "h2", "n1", "n2", "l"]


async def test_draining_refuses_and_empties() -> None:
    one, let_go = gate(max=1, queue=5, queue_timeout=60), asyncio.Event()
    running = asyncio.create_task(hold(one, let_go))
    await until(lambda: one.running == 1)
    waiting = asyncio.create_task(hold(one, let_go))
    await until(lambda: one.waiting == 1)
    one.drain()
    for refused in (waiting, asyncio.create_task(hold(one, let_go))):
        with pytest.raises(RunError) as error:
            await refused
        assert (error.value.status, error.value.code) == (503, "shutting_down")
    let_go.set()
    await running
    await one.emptied()


@pytest.mark.parametrize(
    ("strain", "priority", "code"),
    [
        (Strain(memory=True), "high", "out_of_memory"),
        (Strain(shed=True), "low", "shed"),
        (Strain(shed=True), "normal", "shed"),
        (Strain(shed=True), "high", None),
        (Strain(), "low", None),
    ],
)
async def test_under_strain(strain: Strain, priority: Priority, code: str | None) -> None:
    """With all places taken; while there is room Shed refuses low priority only."""
    one, let_go = gate(max=1, queue=5, queue_timeout=60), asyncio.Event()
    running = asyncio.create_task(hold(one, let_go))
    await until(lambda: one.running == 1)
    one._strain.__dict__.update(strain.__dict__)
    late = asyncio.create_task(hold(one, let_go, priority))
    await until(lambda: late.done() or one.waiting == 1)
    let_go.set()
    if code:
        with pytest.raises(RunError) as refused:
            await late
        assert refused.value.code == code
    else:
        await late
    await running


@settings(max_examples=150, deadline=None)
@given(
    places=st.integers(1, 3),
    queue=st.integers(0, 4),
    moves=st.lists(st.tuples(st.sampled_from(["come", "cancel", "end", "turn"]), st.integers(0, 7)), max_size=40),
)
def test_counts_are_exact_whoever_is_cancelled_when(places: int, queue: int, moves: list[tuple[str, int]]) -> None:
    async def play() -> None:
        one = gate(max=places, queue=queue, queue_timeout=60)
        inside = 0
        ends: dict[int, asyncio.Event] = {}
        tasks: dict[int, asyncio.Task[None]] = {}

        async def call(end: asyncio.Event, priority: Priority) -> None:
            nonlocal inside
            async with one.enter(priority):
                inside += 1
                assert inside <= places
                try:
                    await end.wait()
                finally:
                    inside -= 1

        for number, (move, which) in enumerate(moves):
            if move == "come":
                ends[number] = asyncio.Event()
                tasks[number] = asyncio.create_task(call(ends[number], ("high", "normal", "low")[which % 3]))
            elif move == "turn":
                await asyncio.sleep(0)
            elif tasks:
                chosen = list(tasks)[which % len(tasks)]
                if move == "cancel":
                    tasks[chosen].cancel()
                else:
                    ends[chosen].set()
            assert one.running <= places
            assert one.waiting <= queue
        for end in ends.values():
            end.set()
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert not [each for each in results if each and not isinstance(each, asyncio.CancelledError | RunError)]
        assert (inside, one.running, one.waiting) == (0, 0, 0)
        async with asyncio.timeout(30):
            await one.emptied()
            async with one.enter():
                assert one.running == 1

    asyncio.run(play())
