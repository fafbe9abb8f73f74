"""A message of an A2A client → a Task. Pure.

The context is the session. A message is a prompt, or decides the calls that its task waits for; words decide nothing.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from a2a.server.agent_execution import RequestContext
from a2a.types import Message, Part, TaskState
from google.protobuf.json_format import MessageToDict

from agentfleet.runtime import hitl, images
from agentfleet.runtime.a2a_answers import ONCE
from agentfleet.runtime.types import Approval, Caller, Task, Turn, Verdict
from agentfleet.runtime.wire_errors import BadRequest
from agentfleet.runtime.wire_headers import REQUEST_ID, checked_session

_STREAMING = ("SendStreamingMessage", "message/stream")


@dataclass(frozen=True)
class Asked:
    """What HTTP tells of a request."""

    caller: Caller
    headers: dict[str, str]


class NotDecided(BadRequest):
    """A message that does not answer what its task waits for."""


def task_of(context: RequestContext, verdicts: tuple[Verdict, ...]) -> Task:
    """What the agent is asked; BadRequest where it is nothing."""
    asked: Asked = context.call_context.state["asked"]
    turn = None if verdicts else _turn(context.message)  # a decision is no prompt; its text is for people
    if turn is None and not verdicts:
        raise BadRequest("The message has no text, no image and no decision.")
    return Task(
        id=asked.headers[REQUEST_ID],
        caller=asked.caller,
        turns=(turn,) if turn else (),
        session=None if _is_alone(context) else checked_session(context.context_id or "", "contextId"),
        verdicts=verdicts,
        stream=is_streaming(context),
        headers=asked.headers,
    )


def waiting_of(context: RequestContext) -> tuple[Approval, ...]:
    """What the task that this message goes on with waits for."""
    task = context.current_task
    if task is None or task.status.state != TaskState.TASK_STATE_INPUT_REQUIRED:
        return ()
    return hitl.approvals(MessageToDict(task.status.message.metadata))


def _is_alone(context: RequestContext) -> bool:
    return bool(context.message and MessageToDict(context.message.metadata).get(ONCE) is True)


def is_streaming(context: RequestContext) -> bool:
    """Whether the client reads the answer while it is made."""
    return context.call_context.state.get("method") in _STREAMING


def verdicts_of(context: RequestContext, waiting: Sequence[Approval]) -> tuple[Verdict, ...]:
    """What the message decides. Without a task to compare with, as on another replica, the session judges them."""
    try:
        verdicts = hitl.verdicts(MessageToDict(context.message.metadata)) if context.message else ()
    except hitl.Malformed as error:
        raise NotDecided(str(error)) from error
    if waiting and (problem := hitl.undecided(waiting, verdicts)):
        raise NotDecided(f"Calls wait for a decision ({problem}).")
    return verdicts


def _turn(message: Message | None) -> Turn | None:
    texts: list[str] = []
    pictures: list[str] = []
    for part in message.parts if message else ():
        match part.WhichOneof("content"):
            case "text":
                texts.append(part.text)
            case "data":
                texts.append(json.dumps(MessageToDict(part.data)))
            case "url" if _is_image(part) and re.match(images.ADDRESS, part.url):
                pictures.append(part.url)
            case "url" if _is_image(part):
                raise BadRequest("url of an image: data:image/, http:// or https:// is taken.")
            case "raw" if _is_image(part):
                pictures.append(f"data:{part.media_type};base64,{base64.b64encode(part.raw).decode()}")
            case _:
                kind = part.media_type or "files"
                raise BadRequest(f"Parts may be text, data and images, not {kind}.")
    return Turn("user", "\n".join(texts), tuple(pictures)) if any(texts) or pictures else None


def _is_image(part: Part) -> bool:
    return part.media_type.startswith("image/")
