"""Masks what detectors find in a text that comes in pieces. Pure; guardrails.py and redaction.py use it.

Whatever the pieces, the result is that of the whole text. So a match counts once it can neither grow nor be joined by
an earlier one: each detector tells where a match may have begun that is not over yet, and only text before that goes
out. That place is never further back than a detector's longest match, so what is held back has a bound.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

CONTEXT = 80
"""Characters before a place that a detector may look at: what was sent already is kept for so long."""

Trim = Callable[[str, int, int], tuple[bool, int]]
"""From text, begin and end of a match: whether it counts, and where to go on, which is its end if it does."""
Tail = Callable[[str, int], int]
"""From text and the first place to think of: where a match may begin that the end of the text has cut off."""
View = Callable[[str], str]
"""What detectors see of a text; of the same length, one character for one."""


def whole(text: str, begin: int, end: int) -> tuple[bool, int]:
    """All of the match."""
    return True, end


def run_of(belongs: Callable[[str], bool]) -> Tail:
    """For matches that hold such characters alone: the last unbroken run of them."""

    def tail(text: str, floor: int) -> int:
        place = len(text)
        while place > floor and belongs(text[place - 1]):
            place -= 1
        return place

    return tail


@dataclass(frozen=True)
class Detector:
    """Finds one kind of thing."""

    label: str
    """What stands in its place."""
    pattern: re.Pattern[str]
    """It may look one character ahead of a match, and CONTEXT behind it."""
    longest: int
    """Characters of the longest match, that one included."""
    tail: Tail
    trim: Trim = whole
    needs: str = ""
    """A text without this holds no match."""

    def unfinished(self, text: str) -> int:
        """Where a match may begin that the end of the text has cut off."""
        return self.tail(text, max(0, len(text) - self.longest))

    def find(self, text: str, start: int, limit: int) -> Iterator[tuple[int, int]]:
        """Places that begin from `start` on and before `limit`, from left to right, that do not overlap."""
        if self.needs not in text:
            return
        while (found := self.pattern.search(text, start)) and found.start() < limit:
            counts, start = self.trim(text, found.start(), found.end())
            if counts:
                yield found.start(), start


class Masker:
    """One text. Of overlapping matches the first gives its label, and all of them are gone."""

    def __init__(self, detectors: Sequence[Detector], view: View = str) -> None:
        self._detectors = detectors
        self._see = view
        self._text = ""
        self._view = ""
        self._from = [0] * len(detectors)
        self._done = 0
        """So far the text has gone out, or has been masked."""
        self.count = 0
        """Matches so far."""

    def feed(self, text: str) -> str:
        """What can go out now."""
        self._text += text
        self._view += self._see(text)
        return self._out(min((each.unfinished(self._view) for each in self._detectors), default=len(self._view)))

    def whole(self, text: str) -> str:
        """A text that is complete."""
        self._text, self._view = text, self._see(text)
        return self.end()

    def end(self) -> str:
        """The rest."""
        return self._out(len(self._view))

    def _out(self, limit: int) -> str:
        out = []
        for begin, end, label in sorted(self._hits(limit), key=lambda hit: (hit[0], -hit[1])):
            if begin >= self._done:
                out += [self._text[self._done : begin], label]
                self.count += 1
            self._done = max(self._done, end)
        out.append(self._text[self._done : limit])
        self._done = max(self._done, limit)
        self._forget()
        return "".join(out)

    def _hits(self, limit: int) -> Iterator[tuple[int, int, str]]:
        for index, detector in enumerate(self._detectors):
            for begin, end in detector.find(self._view, self._from[index], limit):
                yield begin, end, detector.label
                self._from[index] = end
            self._from[index] = max(self._from[index], limit)

    def _forget(self) -> None:
        gone = max(0, min(self._done, *self._from, len(self._text)) - CONTEXT) if self._from else self._done
        if gone:
            self._text, self._view = self._text[gone:], self._view[gone:]
            self._done -= gone
            self._from = [place - gone for place in self._from]
