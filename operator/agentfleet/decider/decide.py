"""POST /decide: HAProxy asks what a request is about. The answer is in headers; an absent one means "not known".

The gateway sends the last text of the user as text/plain, as it has read the request already; a whole request in JSON
is read here. It never fails: what cannot be read or classified is answered 200 without headers.
"""

import asyncio
from typing import get_args

from aiohttp import web

from agentfleet.decider.classifier import Classifier
from agentfleet.gateway.request import Refusal, read
from agentfleet.gateway.types import Endpoint

WANT = "x-agentroute-want"
ENDPOINT = "x-agentroute-endpoint"
INTENT = "x-intent"
COMPLEXITY = "x-complexity"

_ENDPOINTS: dict[str, Endpoint] = {name: name for name in get_args(Endpoint)}


class Decide:
    """The handler."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    async def __call__(self, request: web.Request) -> web.Response:
        text = self._text(request, await request.read())
        if text is None:
            self._classifier.outcomes["intent", "unread"] += 1
            return web.Response()
        want = request.headers.get(WANT, "both")
        intent, complexity = await asyncio.gather(
            self._classifier.intent(text) if want != "complexity" else _nothing(),
            self._classifier.complexity(text) if want != "intent" else _nothing(),
        )
        found = {INTENT: intent, COMPLEXITY: complexity}
        return web.Response(headers={name: value for name, value in found.items() if value})

    def _text(self, request: web.Request, body: bytes) -> str | None:
        """The last text of the user; None where there is none."""
        if request.content_type == "text/plain":
            return _decoded(body) or None
        endpoint = _ENDPOINTS.get(request.headers.get(ENDPOINT, "chat/completions"))
        if endpoint is None:
            return None
        headers = {name.lower(): value for name, value in request.headers.items()}
        found = read(endpoint, headers, body)
        if isinstance(found, Refusal) or not found.last:
            return None
        return _decoded(found.last)


def _decoded(text: bytes) -> str:
    """It may end inside a character."""
    return text.decode("utf-8", errors="replace")


async def _nothing() -> None:
    return None
