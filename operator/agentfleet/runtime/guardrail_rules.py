"""The kinds of guardrails, for whole texts and for those that come in pieces. Pure. guardrails.py puts them in order.

Expressions of users are those that gateway/patterns.py takes: searched in time linear in the text, whoever wrote it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry

from agentfleet.gateway import patterns
from agentfleet.gateway.pattern_extent import alphabet, longest
from agentfleet.runtime import pii
from agentfleet.runtime.config import Builtin
from agentfleet.runtime.scanning import Detector, Masker, View, run_of

Action = Literal["Reject", "Mask", "Warn"]
MAX_MATCH = 1024
"""Characters of the longest match that Mask takes: so much of a stream may have to be held back."""
MAX_TEXT = 500_000
"""Characters of one text that are looked at: it bounds the time of the checks."""
MAX_JSON = 200_000
"""Characters that are read as JSON."""
_PIECE = 16_384
"""Characters that are searched at once: a few milliseconds."""
MASK = "[REDACTED]"
_HIGH_BYTE = re.compile(r"(?:^|[^\\])(?:\\\\)*\\x[89a-fA-F]")


@dataclass(frozen=True)
class Found:
    """What a rule has to say of a text."""

    what: str
    """Without content."""


class Flow(Protocol):
    """One text that comes in pieces, under one rule that does not hold it."""

    cut: bool

    def feed(self, text: str) -> str:
        """What may go on."""
        ...

    def end(self, text: str) -> tuple[str, Found | None]:
        """The last piece, and what there is to say."""
        ...


class Rule(Protocol):
    """One guardrail."""

    kind: str
    action: Action
    holds: bool
    """Whether an answer has to be complete before any of it may go out."""

    def judge(self, text: str) -> tuple[str, Found | None]:
        """The text as it may go on."""
        ...

    def flow(self) -> Flow:
        """For a new text."""
        ...


class PatternRule:
    """Things that must not occur: a user's expression, or personal data."""

    def __init__(self, kind: str, action: Action, what: str, detectors: Sequence[Detector], view: View) -> None:
        self.kind = kind
        self.action = action
        self.holds = action == "Reject"
        self._what = what
        self._detectors = detectors
        self._view = view

    @classmethod
    def of_expression(cls, pattern: str, action: Action) -> "PatternRule":
        """ValueError where the expression is not taken."""
        return cls("Regex", action, "it matches an expression that is not allowed", [_detector(pattern, action)], str)

    @classmethod
    def of_personal_data(cls, builtins: Sequence[Builtin], action: Action) -> "PatternRule":
        """Any of these."""
        detectors = [detector for name in builtins for detector in pii.DETECTORS[name]]
        return cls("PII", action, f"it holds personal data ({', '.join(builtins)})", detectors, pii.fold)

    def judge(self, text: str) -> tuple[str, Found | None]:
        masker = self.masker()
        # In pieces, of which the result is the same: one search through a large text would hold up all other threads.
        step = _PIECE if all(detector.longest <= MAX_MATCH + 2 for detector in self._detectors) else len(text) or 1
        pieces = [masker.feed(text[begin : begin + step]) for begin in range(0, len(text), step)]
        masked = "".join([*pieces, masker.end()])
        return masked if self.action == "Mask" else text, self.found(masker.count)

    def flow(self) -> Flow:
        return _Masking(self) if self.action == "Mask" else _Watching(self)

    def masker(self) -> Masker:
        return Masker(self._detectors, self._view)

    def found(self, count: int) -> Found | None:
        """Counted: it may matter whether it was one number or a list."""
        return Found(f"{self._what}, {count} times" if count > 1 else self._what) if count else None


class _Masking:
    """Holds back what a match may be part of."""

    cut = False

    def __init__(self, rule: PatternRule) -> None:
        self._rule = rule
        self._masker = rule.masker()

    def feed(self, text: str) -> str:
        return self._masker.feed(text)

    def end(self, text: str) -> tuple[str, Found | None]:
        rest = self._masker.feed(text) + self._masker.end()
        return rest, self._rule.found(self._masker.count)


class _Watching:
    """Lets everything pass at once, and judges a copy in the end."""

    cut = False

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._pieces: list[str] = []
        self._room = MAX_TEXT

    def feed(self, text: str) -> str:
        self._pieces.append(text[: self._room])
        self._room -= len(self._pieces[-1])
        return text

    def end(self, text: str) -> tuple[str, Found | None]:
        self.feed(text)
        return text, self._rule.judge("".join(self._pieces))[1]


class LengthRule:
    """At most so many characters; Mask cuts what is beyond."""

    kind = "MaxLength"

    def __init__(self, most: int, action: Action) -> None:
        if most < 1:
            raise ValueError(f"guardrail MaxLength: maxLength {most}: at least 1")
        self.most = most
        self.action = action
        self.holds = action == "Reject"

    def judge(self, text: str) -> tuple[str, Found | None]:
        return text[: self.most] if self.action == "Mask" else text, self.found(len(text))

    def flow(self) -> Flow:
        return _Counting(self)

    def cuts(self, text: str) -> bool:
        """Whether something of it is lost."""
        return self.action == "Mask" and len(text) > self.most

    def found(self, length: int) -> Found | None:
        """What there is to say of a text so long."""
        return Found(f"it is longer than {self.most} characters") if length > self.most else None


class _Counting:
    def __init__(self, rule: LengthRule) -> None:
        self._rule = rule
        self._length = 0
        self.cut = False

    def feed(self, text: str) -> str:
        left = max(0, self._rule.most - self._length)
        self._length += len(text)
        if self._rule.action != "Mask":
            return text
        self.cut = self._length > self._rule.most
        return text[:left]

    def end(self, text: str) -> tuple[str, Found | None]:
        return self.feed(text), self._rule.found(self._length)


class JsonRule:
    """JSON of one shape."""

    kind = "JSONSchema"

    def __init__(self, schema: Mapping[str, Any] | None, action: Action) -> None:
        if action == "Mask":
            raise ValueError("guardrail JSONSchema: action Mask has no meaning here: use Reject or Warn")
        if schema is None:
            raise ValueError("guardrail JSONSchema: it has no schema")
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"guardrail JSONSchema, at {error.json_path}: {error.message}") from error
        for pattern in _patterns(schema):
            patterns.check(pattern)
        # an empty registry: a $ref that leads elsewhere is an error, and is never fetched
        self._validator = Draft202012Validator(schema, registry=Registry())
        self.action: Action = action
        self.holds = action == "Reject"

    def judge(self, text: str) -> tuple[str, Found | None]:
        what = self._wrong(text)
        return text, Found(what) if what else None

    def flow(self) -> Flow:
        return _Watching(self)

    def _wrong(self, text: str) -> str:
        if len(text) > MAX_JSON:
            return f"it is longer than the {MAX_JSON} characters that are read as JSON"
        try:
            value = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return "it is not JSON"
        error = next(iter(self._validator.iter_errors(value)), None)
        # the path is made of the text's own keys, so only the schema's word is told
        return f"it is not JSON as the schema wants it ({error.validator})" if error else ""


def _detector(pattern: str, action: Action) -> Detector:
    node = patterns.check(pattern)
    if _HIGH_BYTE.search(pattern):
        raise ValueError(f"pattern {pattern!r}: \\x80 to \\xff are bytes of longer characters: write the character")
    length = longest(node)
    if action == "Mask" and (length is None or length > MAX_MATCH):
        what = "has no longest match" if length is None else f"matches up to {length} characters"
        raise ValueError(
            f"pattern {pattern!r} {what}, at most {MAX_MATCH} can be masked: bound its repeats, such as {{1,200}}"
        )
    # $ also holds before a newline that ends the text, of which in a stream nobody knows yet whether it does
    bits = alphabet(node) | (1 << ord("\n") if "$" in pattern else 0)

    def belongs(character: str) -> bool:
        code = ord(character)
        return bool(bits >> code & 1) if code < 128 else bits >> 128 > 0

    # without a bound only the end of the text tells, which is when Reject and Warn are judged
    return Detector(MASK, re.compile(pattern, re.ASCII), (length or 10**9) + 2, run_of(belongs))


def _patterns(schema: Any) -> Iterator[str]:
    """Expressions in a schema, wherever they stand; also in what is no schema, such as a default."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        if isinstance(schema.get("patternProperties"), Mapping):
            yield from schema["patternProperties"]
        for value in schema.values():
            yield from _patterns(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _patterns(value)


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")
