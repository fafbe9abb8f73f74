"""Asks ModelServers that help to classify, by their OpenAI API. It does not retry: whoever waits has no time for it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from agentfleet.gateway.decider_config import ModelEndpoint

_LARGEST = 32 * 2**20
"""Bytes of an answer: embeddings of all examples at once are the largest."""
_START_TIMEOUT = 60.0


class ModelFailed(Exception):
    """No usable answer; the message says why, without what was asked."""


class ModelClient:
    """One ModelServer."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: ModelEndpoint) -> None:
        self._session = session
        self._endpoint = endpoint

    async def reply(self, question: str, tokens: int, timeout: float) -> str:
        """The model's answer to one message, as predictable as it can be."""
        body = {
            "model": self._endpoint.model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": tokens,
            "temperature": 0,
        }
        answer = await self._post("chat/completions", body, timeout)
        try:
            return str(answer["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError) as error:
            raise ModelFailed(f"{self._endpoint.url} answered no chat completion") from error

    async def embed(self, texts: Sequence[str], timeout: float = _START_TIMEOUT) -> list[list[float]]:
        """A vector for each text."""
        answer = await self._post("embeddings", {"model": self._endpoint.model, "input": list(texts)}, timeout)
        try:
            rows = sorted(answer["data"], key=lambda row: int(row["index"]))
            vectors = [[float(number) for number in row["embedding"]] for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFailed(f"{self._endpoint.url} answered no embeddings") from error
        if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) > 1:
            raise ModelFailed(f"{self._endpoint.url} answered {len(vectors)} embeddings for {len(texts)} texts")
        return vectors

    async def _post(self, path: str, body: dict[str, Any], timeout: float) -> Any:
        address = f"{self._endpoint.url}/{path}"
        try:
            async with asyncio.timeout(timeout), self._session.post(address, json=body, headers=self._key()) as answer:
                if answer.status != 200:
                    raise ModelFailed(f"{address} answered {answer.status}")
                if (answer.content_length or 0) > _LARGEST:
                    raise ModelFailed(f"{address} answered more than {_LARGEST} bytes")
                return await answer.json(content_type=None)
        except TimeoutError as error:
            raise ModelFailed(f"{address} did not answer within {timeout:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ModelFailed(f"{address} gave no answer: {error or type(error).__name__}") from error

    def _key(self) -> dict[str, str]:
        """Read anew each time: mounted keys change."""
        if self._endpoint.key_file is None:
            return {}
        return {"Authorization": f"Bearer {Path(self._endpoint.key_file).read_text(encoding='utf-8').strip()}"}
