"""What an endpoint outside the cluster serves: the OpenAI list of models, and what Foundry Local says beyond it.

Foundry Local (2.2) has no version and no health of its own to ask for: /status shows that it is there, /v1/models what
can be served, /models/loaded what is in memory.
"""

from typing import Any
from urllib.parse import quote, urlsplit

from agentfleet.sidecar.endpoint import ENDPOINT_UNREACHABLE, Endpoint
from agentfleet.sidecar.failures import MODEL_NOT_FOUND, ModelFailed
from agentfleet.sidecar.models import ModelState, ModelStatus

KINDS = ("OpenAI", "FoundryLocal")

MOST_MODELS = 100
"""So many are reported; a provider may list thousands, and all of it goes into status."""
LONGEST_NAME = 256

NOT_LOADED = "in the catalog, but not in memory: its first request has to wait for it"


class Catalog:
    """The models of one endpoint."""

    def __init__(self, endpoint: Endpoint, kind: str) -> None:
        self._endpoint = endpoint
        self._foundry = kind == "FoundryLocal"
        self.engine = "FoundryLocal" if self._foundry else "External"
        self.host = urlsplit(endpoint.url).netloc

    async def models(self, wanted: str | None) -> list[ModelStatus]:
        """Everything that is served, `wanted` under that name. ModelFailed says what is wrong, or missing."""
        base = self._endpoint.url
        if not self._foundry:
            names = identifiers(await self._endpoint.get(f"{base}/models"), self.host)
            return _ready(names, wanted, self.host)
        root = base.removesuffix("/v1")
        await self._endpoint.get(f"{root}/status")
        names = identifiers(await self._endpoint.get(f"{root}/v1/models"), self.host)
        loaded = identifiers(await self._endpoint.get(f"{root}/models/loaded"), self.host)
        if wanted is not None:
            names = _under_wanted_name(names, wanted)
            loaded = _under_wanted_name(loaded, wanted)
            if wanted not in names:
                names = [await self._by_alias(f"{root}/v1/models/{quote(wanted, safe='')}", wanted), *names]
        found = _ready(names, wanted, self.host)
        return [model if model.name in loaded else model.to(ModelState.READY, message=NOT_LOADED) for model in found]

    async def _by_alias(self, url: str, wanted: str) -> str:
        """Foundry Local answers for an alias too, which is in no list."""
        try:
            await self._endpoint.get(url)
        except ModelFailed as failure:
            if failure.reason != ENDPOINT_UNREACHABLE:
                raise
            raise ModelFailed(MODEL_NOT_FOUND, f"{self.host} has no model {wanted!r}") from failure
        return wanted


def identifiers(answer: Any, host: str) -> list[str]:
    """The ids of a list of models: OpenAI's {"data": [{"id": …}]}, or a plain list of ids or such objects. Pure."""
    entries = answer.get("data") if isinstance(answer, dict) else answer
    if not isinstance(entries, list):
        raise ModelFailed(ENDPOINT_UNREACHABLE, f"{host} answered 200, but no list of models")
    names = (entry.get("id") if isinstance(entry, dict) else entry for entry in entries)
    legible = (name for name in names if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable())
    return list(dict.fromkeys(legible))


def _ready(names: list[str], wanted: str | None, host: str) -> list[ModelStatus]:
    if wanted is not None and wanted not in names:
        listed = ", ".join(names[:10]) or "none"
        raise ModelFailed(MODEL_NOT_FOUND, f"{host} has no model {wanted!r}; it lists {listed}")
    if not names:
        raise ModelFailed(MODEL_NOT_FOUND, f"{host} answers, but lists no models")
    names.sort(key=lambda name: name != wanted)
    return [ModelStatus(name).to(ModelState.READY) for name in names[:MOST_MODELS]]


def _under_wanted_name(names: list[str], wanted: str) -> list[str]:
    """Foundry's ids end in a version, `phi-4-mini-instruct-generic-cpu:5`, which users may leave out."""
    return list(dict.fromkeys(wanted if name.rpartition(":")[0] == wanted else name for name in names))
