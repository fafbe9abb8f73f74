"""Asks the sidecars of engine pods how far they are, and pods of Agents what they wait for.

With the scraping of metrics the only HTTP that the operator speaks to pods.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import httpx

from agentfleet.manifests.agent_names import AGENT_PORT
from agentfleet.manifests.pod import SIDECAR_PORT

logger = logging.getLogger(__name__)

_TIMEOUT = 2.0
_LARGEST = 1 << 18
_NOT_READY = 503


class Sidecars(Protocol):
    """What reconcile asks of sidecars."""

    async def statuses(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Pod name → answer of /status, for those of `addresses` (pod name → IP) that answered."""


class AgentPods(Protocol):
    """What reconcile asks of pods of Agents."""

    async def readiness(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Pod name → answer of /readyz, whether it is ready or not, for those of `addresses` that answered."""


class HttpSidecars:
    """Pods over HTTP. One that does not answer yet is left out: it is no news about its model."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def statuses(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Asks all at once."""
        return await self._answers(addresses, f":{SIDECAR_PORT}/status")

    async def readiness(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """See AgentPods."""
        return await self._answers(addresses, f":{AGENT_PORT}/readyz")

    async def _answers(self, addresses: Mapping[str, str], where: str) -> dict[str, Mapping[str, Any]]:
        answers = await asyncio.gather(*(self._answer(address, where) for address in addresses.values()))
        return {name: answer for name, answer in zip(addresses, answers, strict=True) if answer is not None}

    async def _answer(self, address: str, where: str) -> Mapping[str, Any] | None:
        host = f"[{address}]" if ":" in address else address
        try:
            # httpx's own timeout is for each read: a peer that drips would hold a worker for ever.
            async with asyncio.timeout(_TIMEOUT):
                answer = await self._read(f"http://{host}{where}")
        except (httpx.HTTPError, ValueError, TimeoutError) as error:
            logger.debug("pod at %s did not answer: %s", address, error)
            return None
        return answer if isinstance(answer, dict) else None

    async def _read(self, url: str) -> Any:
        body = b""
        async with self._client.stream("GET", url, timeout=_TIMEOUT) as response:
            # Who is not ready says why, with this status.
            if response.status_code != _NOT_READY:
                response.raise_for_status()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _LARGEST:
                    raise ValueError(f"an answer of more than {_LARGEST} bytes")
        return json.loads(body)
