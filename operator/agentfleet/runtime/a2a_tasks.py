"""Tasks that A2A clients can ask for again: in memory, of one caller each, bounded in number and in time.

They are a window on runs, not their state: what a conversation needs to go on is in the session, which is shared by
replicas where its store is. A task that is asked for on another replica is not found; a message on its context is.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from a2a.auth.user import User
from a2a.server.context import ServerCallContext
from a2a.server.tasks import InMemoryTaskStore, TaskStore
from a2a.types import ListTasksRequest, ListTasksResponse, Part, Task, TaskState

_OPEN = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)


@dataclass(frozen=True)
class _Resting:
    """A task that nobody works on."""

    since: float
    size: int


class Named(User):
    """A caller, as the SDK's stores tell callers apart."""

    def __init__(self, subject: str) -> None:
        self._subject = subject

    @property
    def is_authenticated(self) -> bool:
        """Whoever came this far was let in."""
        return True

    @property
    def user_name(self) -> str:
        """Owner of the tasks."""
        return self._subject


class BoundedTasks(TaskStore):
    """The SDK's own store, with bounds; runs under way are never dropped, since the gate bounds them already."""

    def __init__(
        self, most: int, ttl: float, clock: Callable[[], float] = time.monotonic, most_bytes: int = 64_000_000
    ) -> None:
        """`ttl` in seconds after the last change; `most_bytes`, since a message may bring images."""
        self._tasks = InMemoryTaskStore()
        self._most = most
        self._ttl = ttl
        self._most_bytes = most_bytes
        self._clock = clock
        self._resting: OrderedDict[tuple[str, str], _Resting] = OrderedDict()
        """By owner and id what may be dropped, oldest first."""
        self._bytes = 0

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Keep `task`, its texts joined once it rests, and drop what is too old or too much."""
        key = context.user.user_name, task.id
        self._wake(key)
        if task.status.state not in _OPEN:
            join_texts(task)
            self._resting[key] = _Resting(self._clock(), task.ByteSize())
            self._bytes += self._resting[key].size
        await self._tasks.save(task, context)
        await self._drop()

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        """The caller's task of that id."""
        await self._drop()
        return await self._tasks.get(task_id, context)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """The caller's tasks."""
        await self._drop()
        return await self._tasks.list(params, context)

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Forget one."""
        self._wake((context.user.user_name, task_id))
        await self._tasks.delete(task_id, context)

    async def _drop(self) -> None:
        oldest = self._clock() - self._ttl
        while self._resting:
            (owner, task_id), first = next(iter(self._resting.items()))
            few = len(self._resting) <= self._most and self._bytes <= self._most_bytes
            if first.since > oldest and few:
                return
            await self.delete(task_id, ServerCallContext(user=Named(owner)))

    def _wake(self, key: tuple[str, str]) -> None:
        rested = self._resting.pop(key, None)
        self._bytes -= rested.size if rested else 0


def join_texts(task: Task) -> None:
    """One text where a stream brought many: helpers of clients put a line break between parts."""
    for artifact in task.artifacts:
        if len(artifact.parts) > 1 and all(part.HasField("text") for part in artifact.parts):
            whole = "".join(part.text for part in artifact.parts)
            del artifact.parts[:]
            artifact.parts.append(Part(text=whole))
