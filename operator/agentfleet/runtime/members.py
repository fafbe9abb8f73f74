"""Other agents, asked over A2A: by orchestrations, and by tools that are agents.

It turns an answer into the same events that a run of our own gives, and passes on who is asking (signed), trace, and
through which agents the request came. Who is asked, and what is done with the answer, is decided elsewhere.
"""

import asyncio
import base64
import logging
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from a2a.client import (
    A2ACardResolver,
    A2AClientError,
    A2AClientTimeoutError,
    Client,
    ClientCallContext,
    ClientConfig,
    ClientFactory,
)
from a2a.types import AgentCard, CancelTaskRequest, ListTasksRequest, Message, Part, Role, SendMessageRequest, TaskState
from a2a.utils.errors import A2AError
from google.protobuf.json_format import ParseError

from agentfleet.runtime import hitl
from agentfleet.runtime.a2a_answers import ONCE, Answer, Refused
from agentfleet.runtime.authorities import Authorities
from agentfleet.runtime.card import PATH
from agentfleet.runtime.proof import Proof
from agentfleet.runtime.types import Event, Task, Verdict

HOPS = "x-agentfleet-hops"
PASSED_ON = ("traceparent", "tracestate", "x-request-id")
MOST_HOPS = 8
_CANCEL_TIMEOUT = 5.0
_CARD_TIMEOUT = 10.0
_READY_TIMEOUT = 3.0
_NOT_A2A = (ParseError, ValueError, KeyError, TypeError, RecursionError)
"""What the client library raises where something that is not A2A comes back."""
_DECIDED = "The calls were decided."
"""A message must have a part; what is decided is in its metadata."""

log = logging.getLogger(__name__)


class MemberError(Exception):
    """An agent that gave no answer; the text names it and holds no address, no secret and no content."""

    def __init__(self, message: str, *, reached: bool = True, words: str = "") -> None:
        super().__init__(message)
        self.words = words
        """The agent's own for it: for a model that asked, not for logs."""
        self.reached = reached
        """False where no connection was made, so that nothing can have happened there."""


class LoopError(MemberError):
    """The request has been here before, or has come through too many agents."""


@dataclass
class Thread:
    """A conversation with one agent, to be kept between turns."""

    context: str
    """Its contextId, which is the session there."""
    task: str | None = None
    """The task that waits for approvals."""
    told: tuple[str, ...] = ()
    """Ids of what it had answered before it paused: a task that goes on has them still."""


def onward(hops: str, me: str) -> str:
    """x-agentfleet-hops for a call that `me` makes when it was itself called with `hops`."""
    passed = [hop for each in hops.split(",") if (hop := each.strip())]
    if me in passed:
        raise LoopError(f"agents call each other in a circle: {' -> '.join([*passed, me])}")
    if len(passed) >= MOST_HOPS:
        raise LoopError(f"the request came through {len(passed)} agents, and {MOST_HOPS} is the limit")
    return ",".join([*passed, me])


def client(timeout: float, ca_files: Sequence[str | None] = (None,)) -> httpx.AsyncClient:
    """A client for calls of agents: proxies of the environment and redirects could lead identities elsewhere."""
    authorities = Authorities(ca_files)
    return httpx.AsyncClient(
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
        verify=authorities.context,
        event_hooks={"request": [authorities.before]},
    )


class Remote:
    """One other agent."""

    def __init__(
        self, name: str, url: str, http: httpx.AsyncClient, prove: Proof, me: str, timeout: float = 600.0
    ) -> None:
        """`me` is NAMESPACE/NAME of the agent that asks; `timeout` bounds the silence of the one that is asked."""
        self.name = name
        self._url = url
        self._http = http
        self._prove = prove
        self._me = me
        self._timeout = timeout
        self._clients: dict[bool, Client] = {}
        """By whether they stream."""
        self._cancelling: set[asyncio.Task[None]] = set()

    async def ready(self) -> None:
        """MemberError where it does not answer now."""
        await self._card(_READY_TIMEOUT)

    async def close(self) -> None:
        """Wait for cancellations that are under way; the HTTP client is the caller's."""
        await asyncio.gather(*self._cancelling)

    async def ask(
        self,
        text: str,
        task: Task,
        thread: Thread,
        *,
        images: Sequence[str] = (),
        verdicts: Sequence[Verdict] = (),
        stream: bool = True,
        once: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """Its answer to `text`, asked in the name of task.caller; Done is last. `thread` is changed in place.

        `once` says that nobody will go on with this conversation, so that it takes no place among those that are kept.
        Without `stream` the text comes whole, which costs the one that is asked a tenth.
        Closing the iteration cancels the run there for real: A2A's own disconnection would let it go on.
        """
        context = ClientCallContext(service_parameters=self._headers(task), timeout=self._timeout)
        connected = await self._connect(stream)
        request = SendMessageRequest(message=_message(text, images, thread, verdicts, once=once))
        answer = Answer(thread.told if verdicts else ())
        try:
            sent = connected.send_message(request, context=context)
            async with aclosing(sent) as responses:  # type: ignore[type-var] # it is a generator
                async for response in responses:
                    for event in answer.read(response):
                        yield event
            done = answer.done()
            paused = done.finish == "approval"
            thread.task, thread.told = (answer.task, answer.told) if paused else (None, ())
            yield done
        except Refused as error:
            self._give_up(connected, answer, thread, context)
            raise MemberError(f"agent {self.name} {error}", words=error.words) from error
        except (A2AError, *_NOT_A2A) as error:
            self._clients.clear()  # it may have another card by now
            failed = self._error(error)
            if failed.reached:
                self._give_up(connected, answer, thread, context)
            raise failed from error
        except (asyncio.CancelledError, GeneratorExit):
            self._give_up(connected, answer, thread, context)
            raise

    async def _connect(self, stream: bool) -> Client:
        if stream not in self._clients:
            config = ClientConfig(httpx_client=self._http, streaming=stream, supported_protocol_bindings=["JSONRPC"])
            card = await self._card(min(self._timeout, _CARD_TIMEOUT))
            self._clients[stream] = ClientFactory(config).create(card)
        return self._clients[stream]

    async def _card(self, timeout: float) -> AgentCard:
        """Its card, with addresses of this host alone: identities are sent there."""
        try:
            card = await A2ACardResolver(self._http, self._url).get_agent_card(http_kwargs={"timeout": timeout})
        except (A2AError, *_NOT_A2A) as error:
            raise self._error(error) from error
        offered = [each for each in card.supported_interfaces if each.protocol_binding == "JSONRPC"]
        for each in offered:
            if urlsplit(each.url)[:2] != urlsplit(self._url)[:2]:  # such as that of the gateway before it
                each.url = self._url + PATH
        if not offered:
            raise MemberError(f"agent {self.name} does not speak A2A over JSON-RPC")
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(offered)
        return card

    def _error(self, error: Exception) -> MemberError:
        unreached = isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
        words = "" if isinstance(error, A2AClientError) else str(error)[:200]
        return MemberError(f"agent {self.name} {_reason(error)}", reached=not unreached, words=words)

    def _headers(self, task: Task) -> dict[str, str]:
        headers = {name: task.headers[name] for name in PASSED_ON if name in task.headers}
        headers[HOPS] = onward(task.headers.get(HOPS, ""), self._me)
        headers["a2a-extensions"] = hitl.URI
        return headers | dict(self._prove(task.caller))

    def _give_up(self, connected: Client, answer: Answer, thread: Thread, context: ClientCallContext) -> None:
        """End the run there, in the background, since whoever left does not wait for it."""
        if answer.ended:
            return
        cancelling = asyncio.create_task(self._cancelled(connected, answer.task, thread.context, context))
        self._cancelling.add(cancelling)
        cancelling.add_done_callback(self._cancelling.discard)

    async def _cancelled(self, connected: Client, task_id: str, thread: str, context: ClientCallContext) -> None:
        """Without the id of the task, when we left before it was told, it is looked up by the conversation."""
        try:
            async with asyncio.timeout(_CANCEL_TIMEOUT):
                found = [task_id] if task_id else await _working(connected, thread, context)
                for each in found:
                    await connected.cancel_task(CancelTaskRequest(id=each), context=context)
        except (A2AError, TimeoutError, *_NOT_A2A) as error:
            log.info("agent %s: a run that was given up could not be cancelled: %s", self.name, _reason(error))


async def _working(connected: Client, thread: str, context: ClientCallContext) -> list[str]:
    request = ListTasksRequest(context_id=thread, status=TaskState.TASK_STATE_WORKING)
    listed = await connected.list_tasks(request, context=context)
    return [task.id for task in listed.tasks]


def _message(
    text: str, images: Sequence[str], thread: Thread, verdicts: Sequence[Verdict], *, once: bool = False
) -> Message:
    metadata: Mapping[str, Any] = hitl.response(verdicts) if verdicts else {ONCE: True} if once else {}
    parts = [Part(text=text or _DECIDED)] if text or not images else []
    return Message(
        message_id=uuid.uuid4().hex,
        role=Role.ROLE_USER,
        context_id=thread.context,
        task_id=thread.task if verdicts else None,
        parts=[*parts, *(_image(image) for image in images)],
        metadata=dict(metadata) or None,
        extensions=[hitl.URI] if verdicts else [],
    )


def _image(url: str) -> Part:
    """Data URLs as bytes, which any agent reads; what is none goes on as it came."""
    media_type, _, content = url.removeprefix("data:").partition(";base64,")
    if url.startswith("data:") and content:
        with suppress(ValueError):
            return Part(raw=base64.b64decode(content), media_type=media_type)
    return Part(url=url, media_type="image/*")


def _reason(error: BaseException) -> str:
    """Why, without addresses, which the client library's texts hold."""
    timed_out = isinstance(error.__cause__, httpx.TimeoutException)
    if timed_out or isinstance(error, A2AClientTimeoutError | TimeoutError):
        return "did not answer in time"
    if not isinstance(error, A2AError):
        return "answered what is not A2A"
    if isinstance(error.__cause__, httpx.HTTPStatusError):
        return f"answered with status {error.__cause__.response.status_code}"
    if isinstance(error, A2AClientError):
        return "could not be reached, or its answer broke off"
    return f"refused the request ({type(error).__name__})"
