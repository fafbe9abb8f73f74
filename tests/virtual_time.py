"""Runs asyncio code on a clock that jumps: hours of waiting take no time, and every run is the same.

    def test_retry():
        async def scenario():
            await asyncio.sleep(3600)
        run(scenario())

Only for code whose waiting is all asyncio's own: sleeps, timeouts, events. Real sockets need real time.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("deadlock: nothing is due and nothing can happen")
        self.now += timeout
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def block(seconds: float) -> None:
    """What a computation that long would do to the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _VirtualLoop)
    loop._jumping.now += seconds


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """The result of `scenario`, in virtual time."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(scenario)
