"""Asks the sidecars of engine pods how far they are. The only HTTP that the operator speaks to pods."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import httpx

from agentfleet.manifests.pod import SIDECAR_PORT

logger = logging.getLogger(__name__)

_TIMEOUT = 2.0
_LARGEST = 1 << 18


class Sidecars(Protocol):
    """What reconcile asks of sidecars."""

    async def statuses(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Pod name → answer of /status, for those of `addresses` (pod name → IP) that answered."""


class HttpSidecars:
    """Sidecars over HTTP. One that does not answer yet is left out: it is no news about its model."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def statuses(self, addresses: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
        """Asks all at once."""
        answers = await asyncio.gather(*(self._status(address) for address in addresses.values()))
        return {name: answer for name, answer in zip(addresses, answers, strict=True) if answer is not None}

    async def _status(self, address: str) -> Mapping[str, Any] | None:
        host = f"[{address}]" if ":" in address else address
        try:
            # httpx's own timeout is for each read: a peer that drips would hold a worker for ever.
            async with asyncio.timeout(_TIMEOUT):
                answer = await self._read(f"http://{host}:{SIDECAR_PORT}/status")
        except (httpx.HTTPError, ValueError, TimeoutError) as error:
            logger.debug("sidecar at %s did not answer: %s", address, error)
            return None
        return answer if isinstance(answer, dict) else None

    async def _read(self, url: str) -> Any:
        body = b""
        async with self._client.stream("GET", url, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _LARGEST:
                    raise ValueError(f"an answer of more than {_LARGEST} bytes")
        return json.loads(body)
