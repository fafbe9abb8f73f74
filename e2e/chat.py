"""Ask a model server as any user does: with the OpenAI client. Nothing here knows Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from openai import DefaultHttpxClient, OpenAI

QUESTION = "Where is my order?"


@dataclass(frozen=True)
class Answer:
    """What came back: the text (noise, from a model with random weights), in how many pieces, and what was counted."""

    text: str
    pieces: int
    prompt_tokens: int
    completion_tokens: int


class Chat:
    """One model behind one address."""

    def __init__(self, client: OpenAI, model: str) -> None:
        self._client = client
        self._model = model

    def models(self) -> list[str]:
        """Ids of the models that the server says it has."""
        return [model.id for model in self._client.models.list()]

    def ask(self, question: str = QUESTION, *, tokens: int = 16) -> Answer:
        """One answer in one piece."""
        answer = self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": question}],
            max_tokens=tokens,
            temperature=0,
        )
        assert answer.usage is not None, "the server counts no tokens"
        text = answer.choices[0].message.content or ""
        return Answer(text, 1, answer.usage.prompt_tokens, answer.usage.completion_tokens)

    def stream(self, question: str = QUESTION, *, tokens: int = 16) -> Answer:
        """One answer as it is made, piece by piece."""
        chunks = self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": question}],
            max_tokens=tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces: list[str] = []
        prompt_tokens = completion_tokens = 0
        for chunk in chunks:
            pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
            if chunk.usage is not None:
                prompt_tokens, completion_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        return Answer("".join(pieces), len(pieces), prompt_tokens, completion_tokens)


@contextmanager
def chat(address: str, model: str, *, timeout: float = 30, key: str = "none") -> Iterator[Chat]:
    """A client of ``model`` at ``host:port``. It never tries again: a lost request must show."""
    with (
        DefaultHttpxClient(trust_env=False, timeout=timeout) as http,
        OpenAI(base_url=f"http://{address}/v1", api_key=key, max_retries=0, http_client=http) as client,
    ):
        yield Chat(client, model)
