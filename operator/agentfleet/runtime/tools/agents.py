"""Another agent as a tool: one message to it over A2A, its answer's text back.

Each call is a conversation of its own: the message must say all that the other agent needs, as the description tells
the model. Identity, hops and cancellation are members.py's.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx

from agentfleet.runtime.authorities import Authorities
from agentfleet.runtime.config_tools import AgentTool, ToolEntry
from agentfleet.runtime.members import MemberError, Remote, Thread
from agentfleet.runtime.proof import Proof
from agentfleet.runtime.tools.naming import of_entry
from agentfleet.runtime.tools.outbound import CONNECT_TIMEOUT
from agentfleet.runtime.tools.records import MAX_BODY, Invocation, Offer, Unreached
from agentfleet.runtime.types import Delta, Done, ToolError, Wanted

_PARAMETERS = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "All that the agent has to know; it sees nothing else."},
    },
    "required": ["message"],
    "additionalProperties": False,
}


class AgentSource:
    """One entry with `agent`: one tool, named as the entry."""

    def __init__(self, entry: ToolEntry, use: AgentTool, prove: Proof, me: str) -> None:
        self.entry = entry
        self._use = use
        authorities = Authorities([use.ca_file])
        self._http = httpx.AsyncClient(
            transport=_Capped(httpx.AsyncHTTPTransport(verify=authorities.context, trust_env=False)),
            trust_env=False,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
            event_hooks={"request": [authorities.before]},
        )
        self._remote = Remote(entry.name, use.url, self._http, prove, me)

    async def start(self) -> None:
        """Nothing is connected before the first call."""

    async def close(self) -> None:
        """Wait for cancellations under way, close connections."""
        await self._remote.close()
        await self._http.aclose()

    def missing(self) -> str | None:
        """Never: the other agent may be at zero replicas, and starts when it is asked."""
        return None

    def problems(self) -> tuple[str, ...]:
        """None."""
        return ()

    def offers(self) -> tuple[Offer, ...]:
        """The one tool."""
        description = self._use.description or f"Asks the agent {self.entry.name}."
        return (Offer(of_entry(self.entry.name), description, _PARAMETERS),)

    def secrets(self) -> tuple[str, ...]:
        """None: the identity in its header is gone in a minute."""
        return ()

    def address(self) -> str:
        """Where the other agent is."""
        return self._use.url

    async def call(self, invocation: Invocation) -> str:
        """Ask once. Cancellation cancels the other agent's run."""
        answer: list[str] = []
        finish = ""
        message, thread = str(invocation.arguments["message"]), Thread(context=invocation.key)
        asked = self._remote.ask(message, invocation.task, thread, stream=False, once=True)  # nobody reads pieces
        try:
            async with aclosing(asked) as events:
                async for event in events:
                    match event:
                        case Delta():
                            answer.append(event.text)
                        case Wanted():
                            raise ToolError("it waits for a person's approval, which can be given to it alone")
                        case Done():
                            finish = event.finish
        except MemberError as error:
            told = f"{error}: {error.words}" if error.words else str(error)
            raise (ToolError if error.reached else Unreached)(told) from error
        if finish == "fallback":
            raise ToolError(f"it could not answer: {''.join(answer)}")
        return "".join(answer)


class _Capped(httpx.AsyncBaseTransport):
    """Ends an answer that is larger than what is read of any tool."""

    def __init__(self, inner: httpx.AsyncHTTPTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, stream=_CappedStream(response))

    async def aclose(self) -> None:
        await self._inner.aclose()


class _CappedStream(httpx.AsyncByteStream):
    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._response.headers.get("content-encoding", "identity") != "identity":
            raise httpx.ReadError("compressed, which was not asked for")  # a bomb has this form
        size = 0
        async for chunk in self._response.stream:  # type: ignore[union-attr]
            size += len(chunk)
            if size > MAX_BODY:
                raise httpx.ReadError("too large")
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()
