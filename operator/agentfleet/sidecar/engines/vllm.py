"""vLLM: refuses connections until the weights are loaded, so an answer is already half of health."""

import httpx

from agentfleet.sidecar.engines.base import Health, Reading, health_of, reading_of

IN_FLIGHT = ("vllm:num_requests_running", "vllm:num_requests_waiting")


class VLLM:
    """A vLLM server. Its health, metrics and version are open even where --api-key is set."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def health(self) -> Health:
        return await health_of(self._client, "/health")

    async def version(self) -> str | None:
        response = await self._client.get("/version")
        return response.json().get("version") if response.status_code == 200 else None

    async def reading(self) -> Reading:
        return await reading_of(self._client, IN_FLIGHT)
