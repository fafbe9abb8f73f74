"""How well requests are classified: accuracy and confusion on the labelled requests, as tables in Markdown.

`python -m tests.gateway.quality` writes them into operator/docs/classification.md.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from agentfleet.gateway import complexity, sensitivity
from agentfleet.gateway.decider_config import IntentText
from agentfleet.gateway.intents import Intents
from agentfleet.gateway.types import SENSITIVITIES, TIERS
from agentfleet.gateway.words import PRESETS
from tests.gateway.labels import Labelled, Split, requests

PAGE = Path(__file__).parents[2] / "operator/docs/classification.md"
NONE = "none"
WORDS, EXAMPLES, BOTH = "intent, ready-made words", "intent, train split as examples only", "intent, both"
HEURISTIC, PATTERNS = "complexity, heuristic", "sensitivity, all built-in patterns"
_UNKNOWN = "-own"
"""Makes a name that has no ready-made words."""
SPLITS: tuple[Split, ...] = ("train", "test")
LANGUAGES: dict[str, Callable[[str], bool]] = {
    "English": lambda language: language == "en",
    "Chinese": lambda language: language == "zh",
    "Malay": lambda language: language == "ms",
    "ten others": lambda language: language not in {"en", "zh", "ms"},
    "all": lambda language: True,
}

Outcome = tuple[str, str]
"""What a request is, and what it was taken for."""
Judge = Callable[[Labelled], Outcome]


@cache
def _intents(*, words: bool, examples: bool) -> Intents:
    """By ready-made words, which go by the name, and by the requests of the train split as examples."""
    return Intents(
        [
            IntentText(
                name if words else name + _UNKNOWN,
                examples=tuple(each.text for each in requests("train") if each.intent == name) if examples else (),
            )
            for name in PRESETS
        ]
    )


def _by_intents(*, words: bool, examples: bool) -> Judge:
    def judge(each: Labelled) -> Outcome:
        found = _intents(words=words, examples=examples).classify(each.text).intent
        return each.intent or NONE, (found or NONE).removesuffix(_UNKNOWN)

    return judge


def by_heuristic(each: Labelled) -> Outcome:
    """Unsure is Moderate, the default."""
    return each.complexity, complexity.classify(each.text.encode(), each.prompt_tokens) or "Moderate"


_EVERYTHING = sensitivity.ordered(sensitivity.builtin(sensitivity.BUILTINS))


def by_patterns(each: Labelled) -> Outcome:
    return each.sensitivity, sensitivity.classify(each.body, _EVERYTHING)


JUDGES: dict[str, Judge] = {
    WORDS: _by_intents(words=True, examples=False),
    EXAMPLES: _by_intents(words=False, examples=True),
    BOTH: _by_intents(words=True, examples=True),
    HEURISTIC: by_heuristic,
    PATTERNS: by_patterns,
}


def outcomes(judge: Judge, split: Split, language: str = "all") -> Counter[Outcome]:
    """How often what was taken for what."""
    return Counter(judge(each) for each in requests(split) if LANGUAGES[language](each.language))


def late(judge: Judge) -> Counter[Outcome]:
    """The same for the requests that were written last."""
    return Counter(judge(each) for each in requests("test") if each.late)


def accuracy(counts: Counter[Outcome]) -> float:
    return sum(number for (truth, found), number in counts.items() if truth == found) / counts.total()


def wrong(counts: Counter[Outcome]) -> float:
    """Share that was taken for something else; unsure is not wrong."""
    return sum(number for (truth, found), number in counts.items() if found not in {truth, NONE}) / counts.total()


def tables() -> str:
    """The part of the page that is generated."""
    return "\n".join(
        [
            *_accuracies(),
            "",
            *_latest(),
            "",
            "Confusion on the test split; a row is what the request is, a column what it was taken for.",
            "",
            *_confusion(WORDS, [*PRESETS, NONE]),
            "",
            *_confusion(HEURISTIC, list(TIERS)),
            "",
            *_confusion(PATTERNS, list(SENSITIVITIES)),
            "",
        ]
    )


def _accuracies() -> list[str]:
    sizes = [
        " / ".join(str(sum(each(request.language) for request in requests(split))) for split in SPLITS)
        for each in LANGUAGES.values()
    ]
    lines = [_row(["correct, train / test", *LANGUAGES]), _row(["---"] * (1 + len(LANGUAGES)))]
    lines.append(_row(["requests", *sizes]))
    for name, judge in JUDGES.items():
        cells = [
            " / ".join(_percent(accuracy(outcomes(judge, split, language))) for split in SPLITS)
            for language in LANGUAGES
        ]
        if name in {EXAMPLES, BOTH}:  # the train split is what it was given
            cells = [f"- / {cell.rpartition(' / ')[2]}" for cell in cells]
        lines.append(_row([name, *cells]))
    return lines


def _latest() -> list[str]:
    lines = [_row(["test requests written last", "correct", "unsure", "wrong"]), _row(["---"] * 4)]
    for name, judge in JUDGES.items():
        counts = late(judge)
        right, other = accuracy(counts), wrong(counts)
        unsure = "" if name in {HEURISTIC, PATTERNS} else _percent(1 - right - other)
        lines.append(_row([f"{name} ({counts.total()})", _percent(right), unsure, _percent(other)]))
    return lines


def _confusion(name: str, labels: Sequence[str]) -> list[str]:
    counts = outcomes(JUDGES[name], "test")
    lines = [_row([name, *labels]), _row(["---"] * (1 + len(labels)))]
    for truth in labels:
        lines.append(_row([truth, *(str(counts[truth, found] or "") for found in labels)]))
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def builtins() -> str:
    """The table of built-in patterns."""
    rows = [_row(["built-in", "class", "finds"]), _row(["---"] * 3)]
    for name, each in sensitivity.BUILTINS.items():
        classes = sorted({level for _, level in each.patterns}, key=SENSITIVITIES.index)
        rows.append(_row([f"`{name}`", ", ".join(classes), each.description]))
    return "\n".join(["", *rows, "", ""])


def page() -> str:
    """The whole page with the tables of now."""
    text = PAGE.read_text(encoding="utf-8")
    for name, part in (("measured", f"\n{tables()}\n"), ("built-ins", builtins())):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + part + end + after
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
