"""llama-server: answers 503 while it loads; its /metrics needs --metrics, and the key where one is set."""

import httpx

from agentfleet.sidecar.engines.base import Health, Reading, health_of, reading_of

IN_FLIGHT = ("llamacpp:requests_processing", "llamacpp:requests_deferred")


class LlamaCpp:
    """A llama-server in single-model mode."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def health(self) -> Health:
        return await health_of(self._client, "/health")

    async def version(self) -> str | None:
        response = await self._client.get("/props")
        return response.json().get("build_info") if response.status_code == 200 else None

    async def reading(self) -> Reading:
        return await reading_of(self._client, IN_FLIGHT)
