"""Ollama: serves nothing until told to. This client is the only one that changes its engine: pull, copy, preload."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from agentfleet.sidecar import procnet
from agentfleet.sidecar.engines.base import EngineUnavailable, Health, Reading, describe, health_of
from agentfleet.sidecar.failures import load_failure, pull_failure
from agentfleet.sidecar.models import LoadedModel

PULL_TIMEOUT = httpx.Timeout(300.0, connect=2.0)
"""Ollama restarts stalled parts of a pull by itself; silence for longer than this is a pull that hangs."""

LOAD_TIMEOUT = httpx.Timeout(1800.0, connect=2.0)
"""A preload answers when the model is in memory: minutes, from a slow disk."""

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class Ollama:
    """An Ollama server that listens on `port`."""

    def __init__(self, client: httpx.AsyncClient, port: int, tables: tuple[Path, ...] = TABLES) -> None:
        self._client = client
        self._port = port
        self._tables = tables

    async def health(self) -> Health:
        return await health_of(self._client, "/api/version")

    async def version(self) -> str | None:
        version: str | None = (await self._json("GET", "/api/version")).get("version")
        return version

    async def reading(self) -> Reading:
        """Ollama counts nothing, so open connections from outside the pod stand for requests."""
        try:
            sockets = await self._sockets()
        except (OSError, ValueError) as error:
            return Reading(None, str(error))
        if not procnet.listeners(sockets, self._port):
            return Reading(None, f"nobody listens on port {self._port}", refused=True)
        return Reading(procnet.connections(sockets, self._port))

    async def incarnation(self) -> frozenset[int]:
        """Identity of the running server process: its listening sockets. What was in memory dies with it."""
        return procnet.listeners(await self._sockets(), self._port)

    async def tags(self) -> dict[str, tuple[str, int]]:
        """Full name → digest and size of every model on disk."""
        models = (await self._json("GET", "/api/tags")).get("models") or []
        return {model["name"]: (model["digest"], int(model["size"])) for model in models}

    async def loaded(self) -> list[LoadedModel]:
        """The models in memory."""
        models = (await self._json("GET", "/api/ps")).get("models") or []
        return [LoadedModel(model["name"], int(model["size"]), int(model.get("size_vram", 0))) for model in models]

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
        if response.status_code == 400 and "does not support generate" in response.text:
            # An embedding model: /api/generate refuses it, /api/embed loads it.
            response = await self._send("POST", "/api/embed", request | {"input": ""}, LOAD_TIMEOUT)
        if response.status_code != 200:
            raise load_failure(_error_text(response))

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

    async def _sockets(self) -> list[procnet.Socket]:
        texts = await asyncio.gather(*(asyncio.to_thread(_read_table, path) for path in self._tables))
        return [socket for text in texts for socket in procnet.parse(text)]


def _read_table(path: Path) -> str:
    """A table of the kernel; there is none for IPv6 where the node has it switched off."""
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        if path.name == "tcp6":
            return ""
        raise


def _error_text(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:500] or f"HTTP {response.status_code}"
