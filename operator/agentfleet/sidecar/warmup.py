"""Sends each model its first request before the pod is ready: what an engine does on first use (compile, allocate,
load) is not paid by a user.

It must not keep a pod from serving for a reason that is the request's own: an engine that answers "this request is
wrong" answers, and is warm.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from agentfleet.sidecar.companion import Companion
from agentfleet.sidecar.engines.base import Health, describe
from agentfleet.sidecar.failures import ModelFailed
from agentfleet.sidecar.models import ModelState, ModelStatus

log = logging.getLogger(__name__)

WARMING_UP = "WarmingUp"
WARM_UP_FAILED = "WarmUpFailed"

SLOWEST_RETRY = 15.0
RETRY_WHEN_FAILED = 30.0
CONNECT_TIMEOUT = 2.0
SHORTEST_REQUEST = 10.0
RETRIED = frozenset({401, 404, 408, 429})
"""A key, a model's name or room is missing: an answer, but not from the model."""

PROMPT = "Hello"

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "Chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1}),
    "Vision": ("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1}),
    "Completion": ("/v1/completions", {"prompt": PROMPT, "max_tokens": 1}),
    "Embedding": ("/v1/embeddings", {"input": PROMPT}),
    "Rerank": ("/v1/rerank", {"query": PROMPT, "documents": [PROMPT]}),
}
"""Task → path and body, less the model."""

TASKS = (*REQUESTS, "Audio", "None")
"""What --warm-up takes. There is no small request for audio."""


@dataclass(slots=True)
class Attempts:
    """How one model's warm-up goes."""

    done: bool = False
    failed: bool = False
    message: str | None = None
    """Warning of a warm model, or why the last try failed."""


class WarmUp(Companion):
    """Warms all models of one engine, each as soon as it is ready, and again after the engine was restarted."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        task: str,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: float = 1.0,
    ) -> None:
        self._client = client
        self._task = task
        self._timeout = timeout
        self._clock = clock
        self._pause = pause
        self._attempts: dict[str, Attempts] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def tick(self, health: Health, models: Sequence[ModelStatus]) -> None:
        """Starts with every model that has become ready."""
        for model in models:
            if health is Health.SERVING and model.state is ModelState.READY and model.name not in self._attempts:
                attempts = self._attempts[model.name] = Attempts()
                self._tasks[model.name] = asyncio.create_task(self._warm(model.name, attempts))

    def engine_restarted(self) -> None:
        """The next process is cold."""
        self._cancel()
        self._attempts.clear()

    def overlay(self, models: list[ModelStatus]) -> list[ModelStatus]:
        """A model that is not warm is not ready yet."""
        return [self._judged(model) if model.state is ModelState.READY else model for model in models]

    async def run(self) -> None:
        """Nothing to do but to end what was started."""
        try:
            await asyncio.Event().wait()
        finally:
            self._cancel()

    def _judged(self, model: ModelStatus) -> ModelStatus:
        attempts = self._attempts.get(model.name, Attempts())
        if attempts.done:
            return replace(model, message=model.message or attempts.message)
        if attempts.failed:
            return model.failed(ModelFailed(WARM_UP_FAILED, attempts.message or "no answer"))
        warming = model.to(ModelState.LOADING, reason=WARMING_UP, message=attempts.message)
        return replace(warming, settled=False)

    async def _warm(self, model: str, attempts: Attempts) -> None:
        try:
            await self._persist(model, attempts)
        except Exception:
            # A bug. Told, for nobody else would: the pod would wait for ever, without a reason.
            log.exception("warm-up of %s", model)
            attempts.failed, attempts.message = True, "see the sidecar's log; this is a bug"

    async def _persist(self, model: str, attempts: Attempts) -> None:
        deadline = self._clock() + self._timeout
        pause = self._pause
        while True:
            try:
                attempts.message = await self._ask(model, max(SHORTEST_REQUEST, deadline - self._clock()))
                attempts.done = True
                log.info("model %s is warm%s", model, f"; {attempts.message}" if attempts.message else "")
                return
            except _NotYetError as error:
                attempts.message = str(error)
            if not attempts.failed and self._clock() >= deadline:
                attempts.failed = True
                attempts.message = f"no answer to the first request within {self._timeout:g} s: {attempts.message}"
                log.warning("model %s: %s", model, attempts.message)
            left = max(0.0, deadline - self._clock())
            await asyncio.sleep(RETRY_WHEN_FAILED if attempts.failed else min(pause, left))
            pause = min(SLOWEST_RETRY, 2 * pause)

    async def _ask(self, model: str, timeout: float) -> str | None:
        """Sends the request; returns a warning, if there is one. _NotYetError where another try may help."""
        path, body = REQUESTS[self._task]
        refusal = await self._send(path, {"model": model, **body}, timeout)
        if refusal is None:
            return None
        if path == REQUESTS["Chat"][0]:
            # Most often a model without a chat template. Its completions warm the same kernels.
            path, body = REQUESTS["Completion"]
            if await self._send(path, {"model": model, **body}, timeout) is None:
                return f"the warm-up by chat was refused, completions answer: {refusal}"
        return f"the warm-up request was refused: {refusal}"

    async def _send(self, path: str, body: dict[str, Any], timeout: float) -> str | None:
        """None for an answer, else the engine's words for what is wrong with the request."""
        try:
            # httpx's own timeout is for each read.
            async with asyncio.timeout(timeout):
                limits = httpx.Timeout(timeout, connect=CONNECT_TIMEOUT)
                response = await self._client.post(path, json=body, timeout=limits)
        except (httpx.HTTPError, OSError) as error:  # TimeoutError is an OSError
            raise _NotYetError(f"{path}: {describe(error)}") from error
        if response.status_code < 400:
            return None
        words = f"{path} answered {response.status_code}: {response.text[:300]}"
        if response.status_code >= 500 or response.status_code in RETRIED:
            raise _NotYetError(words)
        return words

    def _cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()


class _NotYetError(Exception):
    """The engine did not take the request, and may take the next."""
