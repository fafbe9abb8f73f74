"""The routes of the decider on the pod's loopback: HAProxy asks /decide itself and passes /chat, /v1/batch-chat and
/health on, after it has checked who is calling."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from agentfleet.decider.admin import AdminError
from agentfleet.decider.chat import DECISION, Answer, Chat
from agentfleet.decider.decide import Decide
from agentfleet.decider.demand import Meter
from agentfleet.decider.health import report
from agentfleet.decider.questions import BadQuestion, batch_question, identifier, parse_batch, parse_chat
from agentfleet.gateway.types import Policy

LARGEST_BODY = 10 * 2**20
BATCH_AT_ONCE = 16
"""Requests of one batch in work at once, so that a batch does not take every worker."""
BATCH_SECONDS = 570.0
"""For a batch as a whole: HAProxy waits ten minutes for it, and what is answered by then must not be lost."""


class Service:
    """The handlers."""

    def __init__(self, policy: Policy, decide: Decide, chat: Chat, meter: Meter) -> None:
        self._policy = policy
        self._decide = decide
        self._chat = chat
        self._meter = meter

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=LARGEST_BODY)
        application.add_routes(
            [
                web.post("/decide", self._decide.__call__),
                web.post("/chat", self.chat),
                web.post("/v1/batch-chat", self.batch),
                web.get("/health", self.health),
            ]
        )
        return application

    async def chat(self, request: web.Request) -> web.Response:
        """One message; answered with response, agent_used and processing_time, or an error in OpenAI's form."""
        try:
            question = parse_chat(await request.read())
        except BadQuestion as error:
            return _refusal(400, str(error), "invalid_request_error")
        answer = await self._chat.ask(question, request.headers)
        headers = {DECISION: answer.decision} if answer.decision else {}
        if answer.status != 200:
            headers |= {"Retry-After": answer.retry_after} if answer.retry_after else {}
            return _refusal(answer.status, answer.error, answer.code, headers)
        return web.json_response(
            {
                "response": answer.response,
                "agent_used": answer.agent,
                "processing_time": round(answer.seconds, 3),
            },
            headers=headers,
        )

    async def batch(self, request: web.Request) -> web.Response:
        """Many messages; each is answered for itself, in the order in which they came."""
        try:
            items = parse_batch(await request.read())
        except BadQuestion as error:
            return _refusal(400, str(error), "invalid_request_error")
        places, until = asyncio.Semaphore(BATCH_AT_ONCE), time.monotonic() + BATCH_SECONDS

        async def one(index: int, item: Any) -> dict[str, Any]:
            async with places:
                return await self._one(identifier(item, index), item, request.headers, until)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(index, item)) for index, item in enumerate(items)]
        return web.json_response({"results": [task.result() for task in tasks]})

    async def _one(self, given: str | int, item: Any, headers: Mapping[str, str], until: float) -> dict[str, Any]:
        try:
            question, left = batch_question(item), until - time.monotonic()
            if left > 0:
                answer = await self._chat.ask(replace(question, timeout=min(question.timeout, left)), headers)
            else:
                answer = Answer(408, "", error=f"the batch had its {BATCH_SECONDS:g} s before this one's turn came")
        except BadQuestion as error:
            answer = Answer(400, "", error=str(error))
        outcome = {"response": answer.response} if answer.status == 200 else {"error": answer.error}
        return {
            "id": given,
            "status": "success" if answer.status == 200 else "error",
            **outcome,
            "agent": answer.agent,
            "time": round(answer.seconds, 3),
        }

    async def health(self, request: web.Request) -> web.Response:
        """Overall and by target; 503 where no target can be used."""
        try:
            loads = await self._meter.read()
        except AdminError:
            loads = None  # nobody can say that anything works
        body = report(self._policy, loads, self._chat.waiting, self._chat.workers)
        return web.json_response(body, status=503 if body["status"] == "unhealthy" else 200)


def _refusal(status: int, message: str, code: str, headers: Mapping[str, str] | None = None) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code or None}
    return web.json_response({"error": error}, status=status, headers=headers)
