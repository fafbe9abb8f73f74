"""Who speaks next: asked of the agent's own model, else told from words, else nobody in particular.

The model gets names and descriptions and must answer with one of them (as JSON by schema, which engines enforce); any
other answer, an error or silence means that it is unsure. It never makes a run fail.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import openai

from agentfleet.runtime.config import Member
from agentfleet.runtime.model import Model
from agentfleet.runtime.types import Task, Usage

UNSURE = "unsure"
_TIMEOUT = 10.0
_MOST_TOKENS = 64
_SHORTEST_WORD = 5
"""Shorter ones, such as that and with, say little in most languages."""
_STEM = 6
"""Letters in which words of one family agree: schedule and scheduling, technical and technician."""

Headers = Callable[[Task], Mapping[str, str]]
"""What goes with calls of the model."""

log = logging.getLogger(__name__)


class Selector:
    """Picks members; `spent` sums what that cost since the selector was made, so it is made for each run."""

    def __init__(self, model: Model | None, members: Sequence[Member], instructions: str, headers: Headers) -> None:
        self._model = model
        self._members = members
        self._instructions = instructions
        self._headers = headers
        self.spent = Usage()

    async def for_request(self, text: str, before: str, current: str | None, task: Task) -> Member:
        """Who should answer `text`: the model's choice, seeing what was said `before`; unsure, by the words.

        Unsure still, the member that answered last stays in charge; at the beginning it is the last of the list.
        """
        question = f"Which of these agents should answer the request? Answer {UNSURE!r} if none clearly fits."
        chosen = await self.pick(question, f"{before}\n\nThe request:\n{text}" if before else text, task)
        return self.named(chosen) or by_words(text, self._members) or self.named(current) or self._members[-1]

    async def pick(self, question: str, text: str, task: Task, more: Sequence[str] = (UNSURE,)) -> str | None:
        """The name of a member or one of `more`; None where there is no model, or no sound answer."""
        if self._model is None:
            return None
        options = [*(member.name for member in self._members), *more]
        listed = "\n".join(f"- {member.name}: {member.description}" for member in self._members)
        system = f"{self._instructions}\n\n{question}\n{listed}".strip()
        try:
            answer = await self._model.client.with_options(timeout=_TIMEOUT).chat.completions.create(
                model=self._model.id,
                messages=[{"role": "system", "content": system}, {"role": "user", "content": text}],
                temperature=0,
                response_format={"type": "json_schema", "json_schema": _schema(options)},
                extra_body={"max_tokens": _MOST_TOKENS},  # which all engines know, unlike max_completion_tokens
                extra_headers=dict(self._headers(task)),
            )
        except openai.OpenAIError as error:
            log.warning("no member was picked by the model: %s", type(error).__name__, extra={"key": task.id})
            return None
        if answer.usage:
            self.spent += Usage(answer.usage.prompt_tokens, answer.usage.completion_tokens, 1)
        return chosen_of((answer.choices[0].message.content or "") if answer.choices else "", options)

    def named(self, name: str | None) -> Member | None:
        """The member of that name."""
        return next((member for member in self._members if member.name == name), None)


def chosen_of(text: str, options: Sequence[str]) -> str | None:
    """What an answer names: by the schema, or as the only name in it from a model that was not held to the schema."""
    try:
        told: Any = json.loads(text)
    except ValueError:
        named = [option for option in options if re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)]
        return named[0] if len(named) == 1 else None
    choice = told.get("choice") if isinstance(told, dict) else told
    return choice if choice in options else None


def by_words(text: str, members: Sequence[Member]) -> Member | None:
    """The member whose name and description share most words with `text`; None where none is ahead."""
    asked = _stems(text)
    ranked = sorted(((len(asked & _stems(f"{m.name} {m.description}")), m) for m in members), key=lambda each: -each[0])
    best, second = ranked[0], ranked[1] if len(ranked) > 1 else (0, ranked[0][1])
    return best[1] if best[0] > second[0] else None


def _stems(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.casefold().replace("_", " "))
    return frozenset(word[:_STEM] for word in words if len(word) >= _SHORTEST_WORD)


def _schema(options: Sequence[str]) -> Any:
    choice = {"type": "string", "enum": list(options)}
    return {
        "name": "choice",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"choice": choice},
            "required": ["choice"],
            "additionalProperties": False,
        },
    }
