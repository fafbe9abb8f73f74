"""What a request is about: by keywords, by resemblance to examples, or by what a model says. Pure.

The decider asks this once for each conversation, so it is Python only. Keywords come first, as users can foresee what
they do. Examples are compared by the words and pieces of words that they share, weighted by how rare those are; without
a clear winner there is no intent, and the caller takes its default. `by_embedding` compares vectors that the caller got
from a model; judge.py asks one.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from typing import Literal

from agentfleet.gateway.decider_config import IntentText
from agentfleet.gateway.words import UNMEANT, hints, preset

LOOKED_AT = 2000
"""Characters of a text that are compared with examples: what a request is about shows where it begins."""
LIKENESS = 0.35
"""Least resemblance to examples, from 0 to 1."""
LEAD = 0.05
"""Least distance between the best and the second intent."""
EMBEDDING_LIKENESS = 0.3
EMBEDDING_LEAD = 0.02
"""The same for embeddings, whose cosines lie closer together."""
_SPACED = r"[a-z0-9\u00c0-\u02ff\u0370-\u058f\u1e00-\u1fff]"
"""Letters of scripts that put spaces between words: Latin, Greek, Cyrillic, Armenian."""
_WORD = re.compile(_SPACED + r"+(?:['\u2019]" + _SPACED + r"+)?|[\u0590-\u0dff]+|[\u0e00-\u1dff\u2e80-\U0003ffff]+")
_SYMBOLS = re.compile(r"[a-z0-9]+(?:\+\+|#)")
"""c++, c#: words that end in a symbol."""
_IN_SPACED = re.compile(_SPACED)


@dataclass(frozen=True)
class Verdict:
    """What a text is about, and how that was found."""

    intent: str | None
    score: float = 0.0
    """1 for keywords, the resemblance to an example, or the share of its hints in all that were found."""
    by: Literal["keyword", "example", "hints", "embedding", "none"] = "none"
    matched: str = ""
    """The keyword, the example that is most alike, or one of the hints."""


NOTHING = Verdict(None)


class Intents:
    """The intents of one route, made ready for comparing."""

    def __init__(self, intents: Sequence[IntentText], likeness: float = LIKENESS, lead: float = LEAD) -> None:
        self._names = [intent.name for intent in intents]
        ready_made = [not intent.keywords for intent in intents]
        unmeant = UNMEANT if any(ready_made) else ()
        self._keywords = _Lookup(
            [
                preset(intent.name) if ready else intent.keywords
                for intent, ready in zip(intents, ready_made, strict=True)
            ],
            unmeant,
        )
        self._hints = _Lookup(
            [hints(name) if ready else () for name, ready in zip(self._names, ready_made, strict=True)], unmeant
        )
        self._examples = _Examples(intents)
        self._likeness = likeness
        self._lead = lead

    def classify(self, text: str) -> Verdict:
        """By keyword, else by example, else by the most hints, else no intent."""
        lowered = text.lower()
        stems = _stems(lowered)
        keyword = min(self._keywords.find(lowered, stems), default=None)
        if keyword is not None:
            return Verdict(self._names[keyword[0]], 1.0, "keyword", keyword[1])
        best, second = self._examples.compare(lowered)
        if best.cosine >= self._likeness and best.cosine - second.cosine >= self._lead:
            return Verdict(best.intent, best.cosine, "example", best.example)
        return self._most_hints(lowered, stems)

    def _most_hints(self, lowered: str, stems: list[str]) -> Verdict:
        found = set(self._hints.find(lowered, stems))
        counts = Counter(rank for rank, _ in found).most_common(2)
        if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
            return NOTHING
        rank, number = counts[0]
        return Verdict(self._names[rank], number / len(found), "hints", min(word for own, word in found if own == rank))


def by_embedding(
    vector: Sequence[float],
    prototypes: Mapping[str, Sequence[Sequence[float]]],
    likeness: float = EMBEDDING_LIKENESS,
    lead: float = EMBEDDING_LEAD,
) -> Verdict:
    """The intent with the nearest prototype, by cosine; prototypes are the embeddings of its examples."""
    ranking = sorted(
        ((max(cosine(vector, each) for each in vectors), name) for name, vectors in prototypes.items() if vectors),
        key=lambda each: -each[0],
    )
    if not ranking or ranking[0][0] < likeness or (len(ranking) > 1 and ranking[0][0] - ranking[1][0] < lead):
        return NOTHING
    return Verdict(ranking[0][1], ranking[0][0], "embedding")


def centroid(vectors: Sequence[Sequence[float]]) -> list[float]:
    """The middle of several directions: one prototype of an intent, however many examples it has."""
    lengths = [math.hypot(*vector) or 1.0 for vector in vectors]
    units = ([number / length for number in vector] for vector, length in zip(vectors, lengths, strict=True))
    return [math.fsum(numbers) / len(vectors) for numbers in zip(*units, strict=True)]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of the angle between two vectors of one length; 0 if either is all zeros."""
    if len(one) != len(other):
        raise ValueError(f"vectors of {len(one)} and {len(other)} numbers: both must be of one embedding model")
    length = math.hypot(*one) * math.hypot(*other)
    return sum(map(mul, one, other)) / length if length else 0.0


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A word without the endings of English plurals and verb forms: refunds, refunded and refunding are refund."""
    if "'" in word or "\u2019" in word:
        word = re.sub("['\u2019]s$", "", word)
    if not word.isascii() or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("es") and word[-3] in "sxz":
        word = word[:-2]
    elif word.endswith("s") and word[-2] not in "su":
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == "e":
        return word[:-1]
    if len(word) > 4 and word[-1] == word[-2]:
        return word[:-1]
    return word


def _stems(lowered: str) -> list[str]:
    return [stem(word) for word in _WORD.findall(lowered)]


_Found = tuple[int, str]
"""Place of its intent in the list, and the word or phrase."""
_NO_INTENT = -1


class _Lookup:
    """Finds words of intents in one pass over the words of a text, and those of other scripts as parts of it."""

    def __init__(self, words: Sequence[Iterable[str]], unmeant: Iterable[str]) -> None:
        self._phrases: dict[str, dict[tuple[str, ...], _Found]] = {}
        """By their first stem; the longest first, so that an "error code" is no code."""
        self._parts: list[tuple[str, _Found]] = []
        for rank, phrases in [*enumerate(words), (_NO_INTENT, unmeant)]:
            for phrase in phrases:
                self._add(phrase, rank)
        for first, known in self._phrases.items():
            self._phrases[first] = dict(sorted(known.items(), key=lambda item: -len(item[0])))
        self._parts.sort(key=lambda part: -len(part[0]))

    def _add(self, phrase: str, rank: int) -> None:
        lowered = phrase.lower().strip()
        stems = tuple(_stems(lowered))
        if stems and _IN_SPACED.match(lowered) and not _SYMBOLS.fullmatch(lowered):
            self._phrases.setdefault(stems[0], {}).setdefault(stems, (rank, phrase))
        elif lowered:
            self._parts.append((lowered, (rank, phrase)))

    def find(self, lowered: str, stems: list[str]) -> Iterator[_Found]:
        """Everything that is there, in no order; `stems` are the text's."""
        covered = 0
        for at, first in enumerate(stems):
            if at < covered or first not in self._phrases:
                continue
            for phrase, found in self._phrases[first].items():
                if phrase == tuple(stems[at : at + len(phrase)]):
                    covered = at + len(phrase)
                    if found[0] != _NO_INTENT:
                        yield found
                    break
        for part, found in self._parts:
            if part in lowered:
                lowered = lowered.replace(part, "\0")
                yield found


@dataclass(frozen=True)
class Likeness:
    """How much a text resembles an example."""

    cosine: float
    intent: str | None
    example: str


_UNLIKE = Likeness(0.0, None, "")


class _Examples:
    """TF-IDF vectors of the examples, as an inverted index."""

    def __init__(self, intents: Sequence[IntentText]) -> None:
        self._labels = [(intent.name, example) for intent in intents for example in intent.examples]
        counts = [Counter(_features(example.lower())) for _, example in self._labels]
        documents = Counter(feature for count in counts for feature in count)
        self._rarity = {feature: math.log(1 + len(counts) / number) for feature, number in documents.items()}
        self._unknown = math.log(1 + len(counts))
        self._index: dict[str, list[tuple[int, float]]] = {}
        for number, count in enumerate(counts):
            vector = self._weigh(count)
            for feature, weight in vector.items():
                self._index.setdefault(feature, []).append((number, weight))

    def compare(self, lowered: str) -> tuple[Likeness, Likeness]:
        """The most alike example, and the most alike one of any other intent."""
        cosines = [0.0] * len(self._labels)
        for feature, weight in self._weigh(Counter(_features(lowered[:LOOKED_AT]))).items():
            for number, other in self._index.get(feature, ()):
                cosines[number] += weight * other
        by_intent: dict[str, Likeness] = {}
        for (name, example), cosine in zip(self._labels, cosines, strict=True):
            if name not in by_intent or cosine > by_intent[name].cosine:
                by_intent[name] = Likeness(cosine, name, example)
        ranking = sorted(by_intent.values(), key=lambda each: -each.cosine)
        best, second, *_ = *ranking, _UNLIKE, _UNLIKE
        return best, second

    def _weigh(self, count: Mapping[str, int]) -> dict[str, float]:
        weights = {
            feature: (1 + math.log(number)) * self._rarity.get(feature, self._unknown)
            for feature, number in count.items()
        }
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {feature: weight / length for feature, weight in weights.items()}


def _features(lowered: str) -> Iterator[str]:
    """Stems, pieces of four letters of longer words, and pairs of characters where there are no spaces."""
    for word in _WORD.findall(lowered):
        if word[0] >= "\u0590" and not "\u1e00" <= word[0] <= "\u1fff":
            yield from (word[i : i + 2] for i in range(max(1, len(word) - 1)))
            continue
        base = stem(word)
        yield base
        if len(base) > 4:
            yield from (f"{base[i : i + 4]}-" for i in range(len(base) - 3))
