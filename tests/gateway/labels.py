"""The labelled requests, written for this project: `labelled/train.jsonl`, by which words and thresholds were chosen,
and `labelled/test.jsonl`, which is only reported on.

Of the latter a part is `late`: written when all words and sizes had been chosen. All are by one author, so that the
others share habits with the words.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

from agentfleet.gateway.types import Complexity, Sensitivity

Split = Literal["train", "test"]

_FOLDER = Path(__file__).parent / "labelled"


@dataclass(frozen=True)
class Labelled:
    """One request and what it is."""

    id: str
    split: Split
    language: str
    """ISO 639-1."""
    text: str
    intent: str | None
    complexity: Complexity
    sensitivity: Sensitivity

    @property
    def late(self) -> bool:
        return self.id.startswith("late-")

    @property
    def body(self) -> bytes:
        """A request with it, JSON escapes resolved, as patterns see it."""
        return f'{{"model":"auto","max_tokens":4096,"messages":[{{"role":"user","content":"{self.text}"}}]}}'.encode()

    @property
    def prompt_tokens(self) -> int:
        return -(-len(self.body) // 4)


@cache
def requests(split: Split) -> tuple[Labelled, ...]:
    """All of one split, in order."""
    lines = (_FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Labelled(**cast(dict[str, str], json.loads(line))) for line in lines)  # type: ignore[arg-type]
