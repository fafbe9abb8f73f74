"""Intent and complexity of one request. Whatever goes wrong or takes too long, the answer is "not known": the gateway
then goes on with its default.

Keywords and examples are looked up at once; only where they do not tell, and the route wants it, a model is asked.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import aiohttp

from agentfleet.decider.models import ModelClient, ModelFailed
from agentfleet.gateway import judge
from agentfleet.gateway.decider_config import DeciderConfig
from agentfleet.gateway.intents import Intents, by_embedding, centroid

log = logging.getLogger(__name__)

MOST_ASKED = 64
"""Questions to models at once; more are not asked, so that a slow model cannot pile them up."""
RETRY = 5.0
"""Seconds until a model that has not yet embedded the examples is asked again."""
_LEVELS: Mapping[str, str] = {str(level): meaning for level, meaning in judge.LEVELS.items()}
_MARGIN = 0.95
"""Share of the time limit that a model gets: HAProxy counts the whole call."""


class Classifier:
    """What a route's texts are compared with, and the models that are asked."""

    def __init__(self, config: DeciderConfig, session: aiohttp.ClientSession) -> None:
        self._config = config
        self._intents = Intents(config.intents)
        self._choices = {each.name: each.description for each in config.intents}
        self._intent_model = ModelClient(session, config.intent_model) if config.intent_model else None
        self._complexity_model = ModelClient(session, config.complexity_model) if config.complexity_model else None
        self._prototypes: dict[str, list[list[float]]] = {}
        self._asked = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """(intent or complexity, how it was found or why not) → requests."""

    async def start(self) -> None:
        """Has the examples embedded, which is kept; a model that is not up yet is asked until it is."""
        if self._config.intent_method != "Embedding" or self._intent_model is None or not self._config.intents:
            return
        names, texts = [], []
        for intent in self._config.intents:
            for text in intent.examples or (intent.description or intent.name,):
                names.append(intent.name)
                texts.append(text)
        while not self._prototypes:
            try:
                vectors = await self._intent_model.embed(texts)
            except (ModelFailed, OSError) as error:
                log.warning("examples of intents are not embedded yet: %s", error)
                await asyncio.sleep(RETRY)
                continue
            by_name: dict[str, list[list[float]]] = {}
            for name, vector in zip(names, vectors, strict=True):
                by_name.setdefault(name, []).append(vector)
            # One for each intent: thousands of examples would hold up everything else that the decider does.
            self._prototypes = {name: [centroid(each)] for name, each in by_name.items()}

    async def intent(self, text: str) -> str | None:
        """The name of the intent; None where it is not known."""
        verdict = self._intents.classify(text)
        method = self._config.intent_method
        if verdict.by == "keyword" or method == "Keywords" or self._intent_model is None:
            return self._found("intent", verdict.by, verdict.intent)
        return await self._ask("intent", self._embedded if method == "Embedding" else self._judged, text)

    async def complexity(self, text: str) -> str | None:
        """Simple, Moderate or Complex, as a model says; None where it is not known."""
        if self._complexity_model is None:
            return None
        return await self._ask("complexity", self._weighed, text)

    async def _ask(self, what: str, how: Callable[[str], Awaitable[str | None]], text: str) -> str | None:
        if self._asked >= MOST_ASKED:
            return self._found(what, "busy", None)
        self._asked += 1
        try:
            found = await how(text)
        except (ModelFailed, OSError) as error:
            log.info("%s not known: %s", what, error)
            return self._found(what, "failed", None)
        finally:
            self._asked -= 1
        return self._found(what, "model" if found else "none", found)

    async def _embedded(self, text: str) -> str | None:
        if not self._prototypes or self._intent_model is None:
            raise ModelFailed("the examples are not embedded yet")
        timeout = _MARGIN * self._config.intent_ms / 1000
        (vector,) = await self._intent_model.embed([text[: judge.MAX_TEXT]], timeout)
        try:
            return by_embedding(vector, self._prototypes).intent
        except ValueError as error:  # another model is served there now
            raise ModelFailed(str(error)) from error

    async def _judged(self, text: str) -> str | None:
        return await self._choose(self._intent_model, self._choices, text, self._config.intent_ms)

    async def _weighed(self, text: str) -> str | None:
        return await self._choose(self._complexity_model, _LEVELS, text, self._config.complexity_ms)

    async def _choose(self, model: ModelClient | None, choices: Mapping[str, str], text: str, ms: int) -> str | None:
        if model is None:
            return None
        reply = await model.reply(judge.question(choices, text), judge.ANSWER_TOKENS, _MARGIN * ms / 1000)
        return judge.answer(reply, choices)

    def _found(self, what: str, how: str, found: str | None) -> str | None:
        self.outcomes[what, how] += 1
        return found
