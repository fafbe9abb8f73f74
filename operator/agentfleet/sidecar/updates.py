"""Pulls the tags of an Ollama engine again on a schedule, and moves to what they name now; the old model serves until
the new one is in place, and answers its last requests from memory after that.

Ollama finds a model in memory by the name that leads to it, so a second name holds on to the old one while its tag is
moved: through it the old one is let go. The name is then moved to the new model before it is deleted, because a delete
takes blobs along, and pods that share the folder may still read the old ones.
"""

import asyncio
import hashlib
import logging
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.engines.base import EngineUnavailable
from agentfleet.sidecar.engines.ollama import Ollama
from agentfleet.sidecar.failures import PULL_FAILED, ModelFailed
from agentfleet.sidecar.models import full_name
from agentfleet.sidecar.pull import PullProgress
from agentfleet.sidecar.schedule import Schedule

log = logging.getLogger(__name__)

UPDATED, UNCHANGED, FAILED = "Updated", "Unchanged", "Failed"

LONGEST_SLEEP = 60.0

Now = Callable[[], datetime]


class Updatable(Protocol):
    """A model that can look for a newer version of itself: library.Keeper."""

    def request_update(self) -> None:
        """Asks for it; it happens as soon as the model is in place."""


def utc_now() -> datetime:
    """The wall clock: what a schedule goes by."""
    return datetime.now(UTC)


class UpdateClock(Companion):
    """Asks all models to update, at each slot of the schedule."""

    def __init__(self, schedule: Schedule, models: Sequence[Updatable], now: Now = utc_now) -> None:
        self._schedule = schedule
        self._models = models
        self._now = now

    async def run(self) -> None:
        """Slots until cancelled. One that a suspended process missed is not made up for: the next one comes."""
        while True:
            due = self._schedule.after(self._now())
            log.info("the next update of models is due at %s", due.isoformat())
            await self._until(due)
            for model in self._models:
                model.request_update()

    async def _until(self, due: datetime) -> None:
        """In short steps: the wall clock may be set meanwhile."""
        left = (due - self._now()).total_seconds()
        while left > 0:
            await asyncio.sleep(min(left, LONGEST_SLEEP))
            left = (due - self._now()).total_seconds()


async def pull_again(
    engine: Ollama, source: str, alias: str, *, insecure: bool, pulled: Callable[[str, int], None]
) -> bool:
    """Moves `source` and `alias` to what the registry has now; True when that is another model.

    ModelFailed, or EngineUnavailable: all is as it was, but for the second name, which the next update takes over.
    """
    held, name = _second_name(alias), full_name(alias)
    before = await _digest(engine, name)
    await engine.copy(name, held)
    try:
        progress = PullProgress()
        async for event in engine.pull(source, insecure=insecure):
            pulled(alias, progress.feed(event))
        if not progress.succeeded:
            raise ModelFailed(PULL_FAILED, f"the pull of {source} ended without success")
        if full_name(source) != name:
            await engine.copy(full_name(source), alias)
        moved = await _digest(engine, name) != before
        if moved:
            await engine.unload(held)
        return moved
    finally:
        await _forget(engine, held, name)


async def _forget(engine: Ollama, held: str, name: str) -> None:
    try:
        await engine.copy(name, held)
        await engine.delete(held)
    except EngineUnavailable as error:
        log.warning("the name %s of the last update stays for now: %s", held, error)


async def _digest(engine: Ollama, name: str) -> str | None:
    digest, _ = (await engine.tags()).get(name, (None, 0))
    return digest


def _second_name(alias: str) -> str:
    """A name of this pod's own: pods that share the folder update at one time. A part has 80 characters at most."""
    owner = hashlib.sha256(f"{socket.gethostname()} {alias}".encode()).hexdigest()[:16]
    return f"agentfleet-update/{owner}:old"
