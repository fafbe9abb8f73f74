"""Audit lines that never came: requests that HAProxy has ended, less lines that deciders of this pod have taken.

HAProxy's ring forgets its oldest lines when it is full, and says so nowhere. Requests whose lines are lost count for no
budget. What is counted is kept in a file, so that a decider knows what the one before it has taken.
"""

import asyncio
import json
import logging
from collections import deque
from pathlib import Path

from agentfleet.decider import stats
from agentfleet.decider.admin import AdminError, AdminSocket
from agentfleet.decider.audit import Audit
from agentfleet.decider.files import write_private

log = logging.getLogger(__name__)

EVERY = 2.0
PATIENCE = 30
"""Looks over which the least is taken: some lines are always on their way."""


class Missing:
    """Compares what HAProxy and the decider have counted."""

    def __init__(self, path: Path, audit: Audit, admin: AdminSocket) -> None:
        self._path = path
        self._audit = audit
        self._admin = admin
        self._started, self._before = _read(path)
        """When HAProxy started, and the lines that others had taken of it by then."""
        self._connections = 0
        """That HAProxy had made when it was looked at last."""
        self._seen: deque[int] = deque(maxlen=PATIENCE)

    @property
    def lines(self) -> int | None:
        """Lines that have not come for a minute; None before it is known."""
        return min(self._seen) if len(self._seen) == PATIENCE else None

    async def run(self) -> None:
        """For ever, and a last time at the end."""
        try:
            while True:
                await self.step()
                await asyncio.sleep(EVERY)
        finally:
            self._write()

    async def step(self) -> None:
        """Looks once; where HAProxy does not answer, at the next time."""
        try:
            reading = stats.parse(await self._admin.ask(stats.COMMAND))
        except (AdminError, ValueError) as error:
            log.debug("requests that have ended are not known: %s", error)
            return
        if reading.started != self._started:
            # Another HAProxy counts from zero, and what its predecessor had not sent is gone with it.
            self._started, self._before = reading.started, -self._of_others()
            self._seen.clear()
        self._connections = self._audit.connections
        self._seen.append(max(0, reading.ended - self._taken()))
        self._write()

    def _of_others(self) -> int:
        """Lines of this decider that came before those of the HAProxy that is there now, which may have sent some, over
        a connection of its own, before anybody has looked at it."""
        has_connected = self._audit.connections > self._connections
        return self._audit.lines_before if has_connected else self._audit.lines

    def _taken(self) -> int:
        return self._before + self._audit.lines

    def _write(self) -> None:
        try:
            write_private(self._path, json.dumps({"started": self._started, "taken": self._taken()}))
        except OSError as error:
            log.warning("a decider after this one will not know what was counted: %s", error)


def _read(path: Path) -> tuple[str, int]:
    """What the decider before this one has left."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return str(data["started"]), int(data["taken"])
    except FileNotFoundError:
        return "", 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("what was counted before is not known: %s", error)
        return "", 0
