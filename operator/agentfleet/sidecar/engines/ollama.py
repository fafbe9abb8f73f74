"""Ollama: serves nothing until told to, so its client also acts: pull, copy, preload, unload."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from agentfleet.sidecar import procnet
from agentfleet.sidecar.engines.base import EngineUnavailable, Health, Reading, describe, health_of
from agentfleet.sidecar.failures import load_failure, pull_failure
from agentfleet.sidecar.models import LoadedModel
from agentfleet.sidecar.network import Network

PULL_TIMEOUT = httpx.Timeout(300.0, connect=2.0)
"""Ollama restarts stalled parts of a pull by itself; silence for longer than this is a pull that hangs."""

LOAD_TIMEOUT = httpx.Timeout(1800.0, connect=2.0)
"""A preload answers when the model is in memory: minutes, from a slow disk."""


NO_GENERATION = "does not support generate"
"""What /api/generate says of an embedding model."""


@dataclass(frozen=True, slots=True)
class Generation:
    """How long one short answer took, as Ollama tells it."""

    seconds: float
    """From the request to the end, loading included."""
    load_seconds: float
    """Much more than 0 where the model was not in memory."""
    tokens_per_second: float


class Ollama:
    """An Ollama server that listens on `port`."""

    def __init__(self, client: httpx.AsyncClient, network: Network) -> None:
        self._client = client
        self._network = network

    async def health(self) -> Health:
        return await health_of(self._client, "/api/version")

    async def version(self) -> str | None:
        version: str | None = (await self._json("GET", "/api/version")).get("version")
        return version

    async def reading(self) -> Reading:
        """Ollama counts nothing, so the connections from outside the pod that carry a request stand for them."""
        try:
            sockets = await self._network.table()
        except (OSError, ValueError) as error:
            return Reading(None, str(error))
        if not procnet.listeners(sockets, self._network.port):
            return Reading(None, f"nobody listens on port {self._network.port}", refused=True)
        traffic = await self._network.traffic()
        return Reading(traffic.in_flight if traffic else procnet.connections(sockets, self._network.port))

    async def tags(self) -> dict[str, tuple[str, int]]:
        """Full name → digest and size of every model on disk."""
        models = (await self._json("GET", "/api/tags")).get("models") or []
        return {model["name"]: (model["digest"], int(model["size"])) for model in models}

    async def loaded(self) -> list[LoadedModel]:
        """The models in memory."""
        models = (await self._json("GET", "/api/ps")).get("models") or []
        return [
            LoadedModel(
                model["name"], int(model["size"]), int(model.get("size_vram", 0)), str(model.get("expires_at", ""))
            )
            for model in models
        ]

    async def pull(self, name: str, *, insecure: bool) -> AsyncIterator[dict[str, Any]]:
        """The events of a pull, errors included: they come inside the stream, under status 200."""
        request = {"model": name, "insecure": insecure, "stream": True}
        try:
            async with self._client.stream("POST", "/api/pull", json=request, timeout=PULL_TIMEOUT) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise pull_failure(_error_text(response), response.status_code)
                async for line in response.aiter_lines():
                    if line:
                        yield json.loads(line)
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise EngineUnavailable(f"the pull of {name} was cut: {describe(error)}") from error

    async def copy(self, source: str, destination: str) -> None:
        """Gives the model a second name; the blobs are shared."""
        await self._json("POST", "/api/copy", {"source": source, "destination": destination})

    async def preload(self, name: str, keep_alive: str | int) -> None:
        """Brings the model into memory; ModelFailed says why it could not be."""
        request: dict[str, Any] = {"model": name, "keep_alive": keep_alive}
        response = await self._send("POST", "/api/generate", request, LOAD_TIMEOUT)
        if response.status_code == 400 and NO_GENERATION in response.text:
            # /api/embed loads it.
            response = await self._send("POST", "/api/embed", request | {"input": ""}, LOAD_TIMEOUT)
        if response.status_code != 200:
            raise load_failure(_error_text(response))

    async def generate(self, name: str, tokens: int, timeout: float) -> Generation | None:
        """Has the model answer with a few tokens. None for one that generates nothing.

        Without a keep_alive: that would count for later requests of others, too.
        """
        request = {"model": name, "prompt": "Hello", "stream": False, "options": {"num_predict": tokens}}
        response = await self._send("POST", "/api/generate", request, httpx.Timeout(timeout, connect=2.0))
        if response.status_code == 400 and NO_GENERATION in response.text:
            return None
        try:
            answer = response.json()
            nanoseconds, count = answer["eval_duration"], answer["eval_count"]
            return Generation(
                answer["total_duration"] / 1e9, answer.get("load_duration", 0) / 1e9, count / (nanoseconds / 1e9)
            )
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            words = f"answered {response.status_code}: {_error_text(response)}"
            raise EngineUnavailable(f"POST /api/generate of Ollama {words}") from error

    async def unload(self, name: str) -> None:
        """Lets the model go from memory; Ollama waits for its last request, so none is ever cut."""
        await self._json("POST", "/api/generate", {"model": name, "keep_alive": 0})

    async def delete(self, name: str) -> None:
        """Takes a name away, and with it the blobs that no other name has."""
        await self._json("DELETE", "/api/delete", {"model": name})

    async def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        response = await self._send(method, path, body)
        if response.status_code != 200:
            raise EngineUnavailable(
                f"{method} {path} of Ollama answered {response.status_code}: {_error_text(response)}"
            )
        try:
            content = response.json() if response.content else {}
        except ValueError as error:
            raise EngineUnavailable(f"{method} {path} of Ollama answered no JSON: {response.text[:200]}") from error
        if not isinstance(content, dict):
            raise EngineUnavailable(f"{method} {path} of Ollama answered no object: {response.text[:200]}")
        return content

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, timeout: httpx.Timeout | None = None
    ) -> httpx.Response:
        try:
            return await self._client.request(method, path, json=body, timeout=timeout or self._client.timeout)
        except (httpx.HTTPError, OSError) as error:
            raise EngineUnavailable(f"{method} {path} of Ollama failed: {describe(error)}") from error


def _error_text(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500] or f"HTTP {response.status_code}"
