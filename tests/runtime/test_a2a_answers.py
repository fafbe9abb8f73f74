"""Answers of other agents in the forms in which other implementations send them; and what is kept of tasks."""

from typing import Any

import pytest
from a2a.server.context import ServerCallContext
from a2a.types import (
    Artifact,
    ListTasksRequest,
    Message,
    Part,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.runtime import hitl
from agentfleet.runtime.a2a_answers import FINISH, USAGE, Answer, Refused
from agentfleet.runtime.a2a_tasks import BoundedTasks, Named
from agentfleet.runtime.types import Approval, Delta, Done, Event, Usage, Verdict, Wanted


def status(state: Any, text: str = "", **metadata: Any) -> StreamResponse:
    message = Message(parts=[Part(text=text)]) if text else None
    event = TaskStatusUpdateEvent(task_id="t", status=TaskStatus(state=state, message=message), metadata=metadata)
    return StreamResponse(status_update=event)


def artifact(text: str, *, append: bool = False, name: str = "a", last: bool = False) -> StreamResponse:
    made = Artifact(artifact_id=name, parts=[Part(text=text)])
    return StreamResponse(artifact_update=TaskArtifactUpdateEvent(artifact=made, append=append, last_chunk=last))


def read(*responses: StreamResponse, before: tuple[str, ...] = ()) -> list[Event]:
    answer = Answer(before)
    return [event for response in responses for event in answer.read(response)] + [answer.done()]


DONE = status(TaskState.TASK_STATE_COMPLETED)


@pytest.mark.parametrize(
    "responses",
    [
        [StreamResponse(message=Message(parts=[Part(text="hel"), Part(text="lo")]))],
        [artifact("hello"), DONE],
        [artifact("hel"), artifact("lo", append=True), DONE],
        [artifact("hel"), artifact("lo", append=True), artifact("hello", last=True), DONE],  # repeats the whole
        [artifact("hel"), artifact("lo", name="b"), DONE],
        [status(TaskState.TASK_STATE_WORKING, "thinking"), status(TaskState.TASK_STATE_COMPLETED, "hello")],
        [artifact("hello"), status(TaskState.TASK_STATE_COMPLETED, "I have finished.")],
        [status(TaskState.TASK_STATE_INPUT_REQUIRED, "hello")],  # a question is an answer: the user can reply to it
        [
            StreamResponse(
                task=Task(
                    id="t",
                    status=TaskStatus(state=TaskState.TASK_STATE_COMPLETED),
                    artifacts=[Artifact(artifact_id="a", parts=[Part(text="hello")])],
                )
            )
        ],
    ],
)
def test_the_text_comes_out_once(responses: list[StreamResponse]) -> None:
    events = read(*responses)
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "hello"
    assert events[-1] == Done()


def test_usage_and_finish_are_told_by_our_own_agents() -> None:
    told = {USAGE: {"input": 7, "output": 3, "calls": 2}, FINISH: "fallback"}
    assert read(status(TaskState.TASK_STATE_COMPLETED, **told))[-1] == Done("fallback", Usage(7, 3, 2))
    junk = {USAGE: {"input": "many", "output": -1}, FINISH: "whatever"}
    assert read(status(TaskState.TASK_STATE_COMPLETED, **junk))[-1] == Done()


@pytest.mark.parametrize(
    ("responses", "told"),
    [
        ([status(TaskState.TASK_STATE_FAILED)], "failed"),
        ([status(TaskState.TASK_STATE_REJECTED, "too busy")], "refused the request"),
        ([status(TaskState.TASK_STATE_AUTH_REQUIRED)], "asks for credentials"),
        ([status(TaskState.TASK_STATE_WORKING)], "broke its answer off"),
        ([], "broke its answer off"),
        ([artifact("x" * 600_000), artifact("x" * 600_000, append=True)], "longer than 1000000"),
    ],
)
def test_an_end_without_an_answer(responses: list[StreamResponse], told: str) -> None:
    with pytest.raises(Refused, match=told):
        read(*responses)


def test_what_was_told_before_a_pause_is_not_told_again() -> None:
    whole = Task(
        id="t",
        status=TaskStatus(state=TaskState.TASK_STATE_COMPLETED),
        artifacts=[Artifact(artifact_id=name, parts=[Part(text=name)]) for name in ("before", "after")],
    )
    assert read(StreamResponse(task=whole), before=("before",)) == [Delta("after"), Done()]


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.booleans(), st.text(max_size=20))
def test_approvals_survive_the_payload(tool: str, call: str, approved: bool, reason: str) -> None:
    asked = (Approval(call, tool, '{"a": [1, {"b": null}]}'),)
    assert hitl.approvals(hitl.request(asked)) == asked
    verdicts = (Verdict(call, approved, reason),)
    assert hitl.verdicts(hitl.response(verdicts)) == verdicts
    assert hitl.undecided(asked, verdicts) == ""


@pytest.mark.parametrize("arguments", ["{bad", "[1]", "", '"x"'])
def test_junk_that_a_model_wrote_as_arguments_is_still_an_object(arguments: str) -> None:
    (tool,) = hitl.request([Approval("1", "t", arguments)])[hitl.URI]["tools"]
    assert isinstance(tool["args"], dict)


def test_a_pause_in_events() -> None:
    message = Message(parts=[Part(text="?")], metadata=hitl.request([Approval("1", "t", "{}")]))
    paused = TaskStatus(state=TaskState.TASK_STATE_INPUT_REQUIRED, message=message)
    events = read(StreamResponse(status_update=TaskStatusUpdateEvent(task_id="t", status=paused)))
    assert events == [Wanted((Approval("1", "t", "{}"),)), Done("approval")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def stored(task_id: str, state: Any = TaskState.TASK_STATE_COMPLETED) -> Task:
    return Task(id=task_id, status=TaskStatus(state=state))


async def kept(tasks: BoundedTasks, owner: str) -> list[str]:
    listed = await tasks.list(ListTasksRequest(), ServerCallContext(user=Named(owner)))
    return sorted(task.id for task in listed.tasks)


async def test_tasks_are_bounded_in_number_and_in_time_but_not_those_under_way() -> None:
    clock = Clock()
    tasks, ann, bob = BoundedTasks(2, 10, clock), *(ServerCallContext(user=Named(name)) for name in ("ann", "bob"))
    await tasks.save(stored("running", TaskState.TASK_STATE_WORKING), ann)
    for number in range(3):
        await tasks.save(stored(f"t{number}"), bob if number == 1 else ann)
    assert (await kept(tasks, "ann"), await kept(tasks, "bob")) == (["running", "t2"], ["t1"])
    assert await tasks.get("t1", ann) is None
    clock.now = 5
    await tasks.save(stored("t1"), bob)
    clock.now = 12
    assert (await kept(tasks, "ann"), await kept(tasks, "bob")) == (["running"], ["t1"])
    await tasks.save(stored("running"), ann)
    await tasks.delete("t1", bob)
    clock.now = 30
    assert (await kept(tasks, "ann"), await kept(tasks, "bob")) == ([], [])


async def test_tasks_are_bounded_in_bytes() -> None:
    tasks, ann = BoundedTasks(100, 10, Clock(), most_bytes=3000), ServerCallContext(user=Named("ann"))
    for number in range(5):
        large = stored(f"t{number}")
        large.artifacts.append(Artifact(artifact_id="a", parts=[Part(text="x" * 1000)]))
        await tasks.save(large, ann)
        await tasks.save(large, ann)
    assert await kept(tasks, "ann") == ["t3", "t4"]
