"""Asks the sidecars of engine pods how far they are. The only HTTP that the operator speaks to pods."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import httpx

from agentfleet.manifests.pod import SIDECAR_PORT

logger = logging.getLogger(__name__)

_TIMEOUT = 2.0


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
            response = await self._client.get(f"http://{host}:{SIDECAR_PORT}/status", timeout=_TIMEOUT)
            answer = response.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            logger.debug("sidecar at %s did not answer: %s", address, error)
            return None
        return answer if isinstance(answer, dict) else None
