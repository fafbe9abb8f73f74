"""Reads another agent's answer over A2A into events of ours. Pure.

Agents differ: text comes as artifacts in pieces, as one artifact, as the message of a status, or as a lone message, and
some repeat the whole text at the end; here it comes out once.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from a2a.types import Artifact, Message, Part, StreamResponse, TaskState, TaskStatus
from a2a.types import Task as RemoteTask
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from agentfleet.runtime import hitl
from agentfleet.runtime.types import Delta, Done, Event, Finish, Usage, Wanted

USAGE = "agentfleet.dev/usage"
"""In the metadata of a task: {"input": …, "output": …, "calls": …}; other agents need not tell it."""
FINISH = "agentfleet.dev/finish"
"""There too: why the answer ended, as in types.Finish."""
ONCE = "agentfleet.dev/once"
"""In the metadata of a message: true where nobody will go on with its conversation, so that no session is kept."""

_ENDED: dict[int, str] = {
    TaskState.TASK_STATE_FAILED: "failed",
    TaskState.TASK_STATE_REJECTED: "refused the request",
    TaskState.TASK_STATE_CANCELED: "was cancelled",
    TaskState.TASK_STATE_AUTH_REQUIRED: "asks for credentials that it is not given",
}
_OPEN = (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING)
_LONGEST_REASON = 300
_LONGEST = 1_000_000
"""Characters of one answer; an agent that says more has gone astray, and is given up."""


class Refused(Exception):
    """The other agent ended without an answer."""

    def __init__(self, message: str, words: str = "") -> None:
        super().__init__(message)
        self.words = words
        """Its own for it, cut: they may quote anything, so they are not for logs."""


class Answer:
    """One answer, read response by response."""

    def __init__(self, before: Sequence[str] = ()) -> None:
        """`before`: ids of what was told before the task paused."""
        self.task = ""
        """Id of the task there, once it is known."""
        self.ended = False
        """Whether it rests there: complete, paused, or given up."""
        self._length = 0
        self._before = frozenset(before)
        self._texts: dict[str, str] = {}
        """What came of each artifact."""
        self._usage = Usage()
        self._finish: Finish = "stop"

    def read(self, response: StreamResponse) -> Iterator[Event]:
        """What is new in it; Refused where the other agent has ended without an answer."""
        match response.WhichOneof("payload"):
            case "message":
                self.ended = True
                yield from self._said(text_of(response.message.parts))
            case "task":
                yield from self._read_task(response.task)
            case "artifact_update":
                update = response.artifact_update
                yield from self._read_artifact(update.artifact, update.append)
            case "status_update":
                self.task = response.status_update.task_id
                self._read_metadata(response.status_update.metadata)
                yield from self._read_status(response.status_update.status)

    def done(self) -> Done:
        """The last event; Refused where the stream ended before the answer did."""
        if not self.ended:
            raise Refused("broke its answer off")
        return Done(self._finish, self._usage)

    @property
    def told(self) -> tuple[str, ...]:
        """Ids of what has come so far."""
        return (*self._before, *self._texts)

    def _read_task(self, task: RemoteTask) -> Iterator[Event]:
        self.task = task.id
        self._read_metadata(task.metadata)
        for artifact in task.artifacts:
            yield from self._read_artifact(artifact, append=False)
        yield from self._read_status(task.status)

    def _read_artifact(self, artifact: Artifact, append: bool) -> Iterator[Event]:
        """A repeated artifact replaces what came before: only what it adds at the end can still be told."""
        if artifact.artifact_id in self._before:
            return
        text, before = text_of(artifact.parts), self._texts.get(artifact.artifact_id, "")
        added = text if append else text.removeprefix(before) if text.startswith(before) else ""
        self._texts[artifact.artifact_id] = before + added
        yield from self._said(added)

    def _read_status(self, status: TaskStatus) -> Iterator[Event]:
        self.ended = status.state not in _OPEN
        if reason := _ENDED.get(status.state):
            raise Refused(reason, text_of(status.message.parts)[:_LONGEST_REASON])
        if status.state == TaskState.TASK_STATE_INPUT_REQUIRED:
            yield from self._read_question(status.message)
        elif status.state == TaskState.TASK_STATE_COMPLETED and not any(self._texts.values()):
            yield from self._said(text_of(status.message.parts))

    def _read_question(self, message: Message) -> Iterator[Event]:
        """A request for approvals; any other question is an answer as good as another: the user can reply to it."""
        wanted = hitl.approvals(MessageToDict(message.metadata))
        if wanted:
            self._finish = "approval"
            yield Wanted(wanted)
        else:
            yield from self._said(text_of(message.parts))

    def _said(self, text: str) -> Iterator[Delta]:
        self._length += len(text)
        if self._length > _LONGEST:
            raise Refused(f"gave an answer longer than {_LONGEST} characters")
        if text:
            yield Delta(text)

    def _read_metadata(self, metadata: Struct) -> None:
        told = MessageToDict(metadata)
        if isinstance(usage := told.get(USAGE), dict):
            self._usage = Usage(*(_count(usage.get(name)) for name in ("input", "output", "calls")))
        if told.get(FINISH) in ("length", "content_filter", "fallback"):
            self._finish = told[FINISH]


def text_of(parts: Iterable[Part]) -> str:
    """Texts as they were split, so nothing is put between them."""
    return "".join(part.text for part in parts)


def _count(value: Any) -> int:
    """Numbers of a protobuf Struct are floats, and another agent may have written anything."""
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e15 else 0
