"""vLLM's LoRA adapters at run time. The routes exist only with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING."""

from typing import Any

import httpx

from agentfleet.sidecar.engines.base import TIMEOUT, EngineUnavailable, describe
from agentfleet.sidecar.failures import ModelFailed

ADAPTER_REFUSED = "AdapterRefused"
ADAPTERS_DISABLED = "AdaptersDisabled"

LOAD_TIMEOUT = httpx.Timeout(300.0, connect=2.0)


class Loras:
    """The adapters of one vLLM server. All calls raise EngineUnavailable while it does not answer as it should."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def loaded(self) -> dict[str, str]:
        """Name → folder of every adapter that is served. They are the models that have a parent."""
        response = await self._send("GET", "/v1/models", None)
        if response.status_code != 200:
            raise EngineUnavailable(f"/v1/models of vLLM answered {response.status_code}: {response.text[:200]}")
        try:
            models = response.json()["data"]
            return {str(model["id"]): str(model.get("root")) for model in models if model.get("parent") is not None}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineUnavailable(f"/v1/models of vLLM answered no list of models: {response.text[:200]}") from error

    async def load(self, name: str, folder: str) -> None:
        """Serves the adapter in `folder` under `name`; ModelFailed says why vLLM would not."""
        self._judge(await self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder}))

    async def unload(self, name: str) -> None:
        """Takes the adapter out of service. What vLLM says to it matters only if the adapter is still there."""
        response = await self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        if name in await self.loaded():
            self._judge(response)

    def _judge(self, response: httpx.Response) -> None:
        code, text = response.status_code, response.text[:500]
        if code < 400:
            return
        if code >= 500 or code in (401, 429):
            raise EngineUnavailable(f"{response.request.url.path} of vLLM answered {code}: {text}")
        if code in (404, 405) and '"Not Found"' in text:
            raise ModelFailed(
                ADAPTERS_DISABLED,
                "this vLLM loads no adapters: start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True",
            )
        raise ModelFailed(ADAPTER_REFUSED, f"vLLM answered {code}: {text}")

    async def _send(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            return await self._client.request(method, path, json=body, timeout=LOAD_TIMEOUT if body else TIMEOUT)
        except (httpx.HTTPError, OSError) as error:
            raise EngineUnavailable(f"{method} {path} of vLLM failed: {describe(error)}") from error
