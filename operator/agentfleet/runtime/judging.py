"""Where guardrails do their work: small texts at once, large ones in a thread, so that they hold up nobody else.

One thread for all runs: the interpreter lets one of them compute at a time anyway, and so the others keep half of it.
A run that is given up leaves its text there; the length of texts is bounded, and so is the time of that.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

LARGE: Final = 20_000
"""Characters that take about ten milliseconds."""


class Judging:
    """The thread, which is begun with the first large text."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="guardrails")

    async def done(self, work: Callable[[T], R], what: T, length: int) -> R:
        """`work(what)`, which is about so many characters."""
        if length <= LARGE:
            return work(what)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, what)
