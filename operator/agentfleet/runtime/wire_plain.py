"""POST /chat of the production service: message, priority and timeout → response, agent_used, processing_time."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from agentfleet.runtime.config import AgentConfig
from agentfleet.runtime.disconnect import unless_left
from agentfleet.runtime.types import Caller, Delta, Event, Priority, RunError, Task, Turn, Wanted
from agentfleet.runtime.wire_headers import request_id, session_id, task_headers
from agentfleet.runtime.wire_json import parse


class _Asked(BaseModel):
    model_config = ConfigDict(extra="ignore")

    message: str = Field(strict=True, min_length=1)
    priority: Priority = "normal"
    timeout: float | None = Field(None, gt=0, le=3600)
    """Seconds."""


def routes(
    config: AgentConfig,
    run: Callable[[Task], AsyncGenerator[Event, None]],
    caller: Callable[[Request], Awaitable[Caller]],
) -> list[BaseRoute]:
    """The route /chat."""

    async def chat(request: Request) -> Response:
        who = await caller(request)
        asked = parse(_Asked, await request.body())
        task = Task(
            id=request_id(request),
            caller=who,
            turns=(Turn("user", asked.message),),
            session=session_id(request),
            timeout=asked.timeout,
            priority=asked.priority,
            stream=False,
            headers=task_headers(request),
        )
        begun = time.perf_counter()
        text = await unless_left(request, _text(run(task)))
        seconds = round(time.perf_counter() - begun, 3)
        return JSONResponse({"response": text, "agent_used": config.name, "processing_time": seconds})

    return [Route("/chat", chat, methods=["POST"])]


async def _text(events: AsyncGenerator[Event, None]) -> str:
    texts = []
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Delta):
                texts.append(event.text)
            elif isinstance(event, Wanted):
                message = "The answer needs an approval: ask over /v1/chat/completions or A2A, which can tell it."
                raise RunError(409, "approval_needed", message)
    return "".join(texts)
