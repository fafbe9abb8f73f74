"""Whether clients may be sent here, and what of that on which the agent stands does not answer.

Ready once model, tools and sessions have all answered, and from then on until the process is being stopped. What goes
away later is told and not in the way: otherwise all replicas would leave the Service together, and clients would get a
refused connection instead of the fallback reply. /readyz tells it, the operator makes conditions of it.

Each check is asked for by a probe and remembered for a moment, so that many probes are one question to the model. A
probe waits for a slow one a second at most and gets what is known: the kubelet takes no answer for no.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from agentfleet.runtime.types import RunError

log = logging.getLogger(__name__)

_TIMEOUT = 4.0
_PATIENCE = 1.0
_REMEMBERED = 2.0

Check = Callable[[], Awaitable[None]]
Told = Callable[[Mapping[str, str]], None]


@dataclass(frozen=True)
class State:
    """What /readyz tells."""

    ready: bool
    problems: Mapping[str, str]
    """What does not answer, by the check's name."""


class Health:
    """The state of this process."""

    def __init__(self, checks: Mapping[str, Check], clock: Callable[[], float], told: Told | None = None) -> None:
        """`told` hears each look's problems."""
        self._checks = checks
        self._clock = clock
        self._told = told
        self._known: Mapping[str, str] = dict.fromkeys(checks, "It has not answered yet.")
        self._known_at = float("-inf")
        self._look: asyncio.Task[None] | None = None
        self._was_ready = not checks
        self.draining = False

    async def state(self) -> State:
        """As of now, or of a moment ago."""
        if self.draining:
            return State(ready=False, problems={"process": "The agent is being stopped."})
        if self._look is None and self._clock() - self._known_at >= _REMEMBERED:
            self._look = asyncio.create_task(self._ask_all(), name="checks")
        if self._look is not None:
            await asyncio.wait({self._look}, timeout=_PATIENCE)
        return State(self._was_ready and not self.draining, self._known)

    async def _ask_all(self) -> None:
        try:
            said = await asyncio.gather(*(self._ask(name) for name in self._checks))
        finally:
            self._look = None
        self._known = {name: problem for name, problem in zip(self._checks, said, strict=True) if problem}
        self._known_at = self._clock()
        self._was_ready = self._was_ready or not self._known
        if self._told:
            self._told(self._known)

    async def _ask(self, name: str) -> str:
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self._checks[name]()
        except RunError as error:
            return error.message
        except TimeoutError:
            return f"No answer within {_TIMEOUT:g} s."
        except Exception:
            log.exception("the check of %s failed by a bug", name)
            return "The check itself failed."
        return ""
