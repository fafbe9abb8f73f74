"""Waits for a condition without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from e2e.cluster.errors import ClusterError


async def until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    *,
    timeout: float,
    interval: float,
    hint: Callable[[], str] = lambda: "",
) -> None:
    """Ask ``condition`` every ``interval`` seconds until it holds; raise ``what`` and the hint when late."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not await condition():
        if loop.time() > deadline:
            raise ClusterError(f"{what}: not so after {timeout:.0f} s{hint()}")
        await asyncio.sleep(interval)
