"""Readiness: once everything has answered, and from then on; what a slow check does to a probe."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from agentfleet.runtime import health as health_module
from agentfleet.runtime.health import Health, State
from agentfleet.runtime.types import RunError
from tests.runtime.keeping import Clock
from tests.runtime.parts import until


class Model:
    """Answers, is away, or hangs."""

    def __init__(self) -> None:
        self.answer: Callable[[], Awaitable[None]] = self.away
        self.asked = 0

    async def ready(self) -> None:
        self.asked += 1
        await self.answer()

    async def well(self) -> None:
        pass

    async def away(self) -> None:
        raise RunError(503, "model_not_ready", "It is away.")

    async def hang(self) -> None:
        await asyncio.Event().wait()


AWAY = {"model": "It is away."}


async def test_ready_once_all_has_answered_and_from_then_on(clock: Clock) -> None:
    model, told = Model(), list[Mapping[str, str]]()
    health = Health({"model": model.ready}, clock, told.append)
    assert await health.state() == State(ready=False, problems=AWAY)
    clock.now += 10
    model.answer = model.well
    assert await health.state() == State(ready=True, problems={})
    clock.now += 10
    model.answer = model.away
    assert await health.state() == State(ready=True, problems=AWAY)
    assert told == [AWAY, {}, AWAY]
    health.draining = True
    assert not (await health.state()).ready


async def test_many_probes_are_one_question(clock: Clock) -> None:
    model = Model()
    health = Health({"model": model.ready}, clock)
    await asyncio.gather(*(health.state() for _ in range(20)))
    clock.now += 1
    await health.state()
    assert model.asked == 1


async def test_a_probe_does_not_wait_for_a_model_that_hangs(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet would take no answer for no, and take all replicas away."""
    monkeypatch.setattr(health_module, "_PATIENCE", 0.05)
    monkeypatch.setattr(health_module, "_TIMEOUT", 1.0)
    model = Model()
    model.answer = model.well
    health = Health({"model": model.ready}, clock)
    assert (await health.state()).ready
    clock.now += 10
    model.answer = model.hang
    assert await health.state() == State(ready=True, problems={}), "what is known by now"
    async with asyncio.timeout(30):
        while not (await health.state()).problems:  # which waits a moment each time
            pass
    assert (await health.state()).ready
    await until(lambda: model.asked == 2)


async def test_what_has_not_been_asked_is_not_ready(clock: Clock) -> None:
    model = Model()
    model.answer = model.hang
    state = await Health({"model": model.ready}, clock).state()
    assert (state.ready, state.problems) == (False, {"model": "It has not answered yet."})
