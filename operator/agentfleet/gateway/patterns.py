r"""Which regular expressions of users are taken. Pure.

They are evaluated twice: by PCRE2 (without UTF mode) in HAProxy, and by Python's `re` on bytes in policy.py. This is a
grammar of what both read alike, in time linear in the text (pattern_cost.py), and what can stand in a line of a map
file. What the grammar does not name is refused, so a new feature of either engine cannot slip in.

A text is searched for a match, as UTF-8 bytes: `.`, `\d`, `\w`, `\s`, `\b` and `(?i)` know ASCII only.
"""

import re
import string
from functools import lru_cache

from agentfleet.gateway.pattern_cost import Assertion, Byte, Choice, Node, Refused, Repeat, Sequence, check_cost

MAX_LENGTH = 256
MAX_REPEAT = 1000

_ALL = (1 << 256) - 1
_DIGIT = sum(1 << byte for byte in string.digits.encode())
_WORD = sum(1 << byte for byte in (string.ascii_letters + string.digits + "_").encode())
_UPPER = sum(1 << byte for byte in string.ascii_uppercase.encode())
_LOWER = sum(1 << byte for byte in string.ascii_lowercase.encode())
_SPACE = sum(1 << byte for byte in b" \t\n\v\f\r")
_SETS = {"d": _DIGIT, "D": _ALL ^ _DIGIT, "w": _WORD, "W": _ALL ^ _WORD, "s": _SPACE, "S": _ALL ^ _SPACE}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_REPEATS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_BOUNDS = re.compile(r"\{([0-9]{1,6})(,?)([0-9]{0,6})\}")
_ASSERTIONS = {"^": True, "$": False}
_GROUPS = {
    "(?=": "look-ahead is not allowed",
    "(?!": "look-ahead is not allowed",
    "(?P=": "a back-reference is not allowed: write the text again",
    "(?P<": "a group needs no name: write (?: … )",
    "(?<": "a group needs no name: write (?: … )",
    "(?>": "an atomic group is not allowed: write (?: … )",
    "(?(": "a conditional is not allowed: write one alternative for each case",
    "(?#": "a comment is not allowed: leave it out",
}
_LOOK_BEHIND = ("(?<=", "(?<!")
_TWICE = ("--", "&&", "~~", "||")
"""Python warns of these in a class: they may become operators."""


def check(pattern: str, max_length: int = MAX_LENGTH) -> Node:
    """Its syntax tree. Raises ValueError that says where, what is not allowed and what to write instead."""
    if not 0 < len(pattern) <= max_length:
        raise ValueError(f"pattern of {len(pattern)} characters: 1 to {max_length} are allowed")
    try:
        node = _Parser(pattern).parse()
        check_cost(node)
    except Refused as error:
        place = f", character {error.position + 1}" if error.position is not None else ""
        raise ValueError(f"pattern {pattern!r}{place}: {error.message}") from None
    if node.nullable:
        raise ValueError(f"pattern {pattern!r} matches an empty text too, so every request: make one part of it needed")
    return node


def parsed(pattern: str) -> Node:
    """The syntax tree of a pattern that `check` takes."""
    return _Parser(pattern).parse()


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[bytes]:
    """The pattern as Python runs it."""
    return re.compile(pattern.encode())


class _Parser:
    """Recursive descent over the characters of a pattern."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._ignores_case = False

    def parse(self) -> Node:
        self._check_characters()
        if self._text.startswith("(?i)"):
            self._ignores_case = True
            self._at = 4
        node = self._choice()
        if self._at < len(self._text):
            raise self._refused("this ) closes nothing: write \\)")
        return node

    def _check_characters(self) -> None:
        for index, character in enumerate(self._text):
            if character in " \t":
                raise Refused("a space or tab is not allowed: write \\s or \\x20", index)
            if ord(character) < 32 or ord(character) == 127:
                raise Refused(f"control character {character!r} is not allowed: write \\n or \\x{{two digits}}", index)
            if "\ud800" <= character <= "\udfff":
                raise Refused("half of a surrogate pair is no character: leave it out", index)
        if self._text.startswith("#"):
            raise Refused("a # in front would be a comment: write \\#", 0)

    def _choice(self) -> Node:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._at < len(self._text) and self._peek() not in "|)":
            start = self._at
            atom = self._atom()
            parts.append(self._repeated(atom, start))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _atom(self) -> Node:
        character = self._peek()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character in "*+?":
            raise self._refused(f"nothing to repeat before {character}: write \\{character} for the character itself")
        if character == "{":
            raise self._refused("a { that begins no repeat such as {2,5}: write \\{")
        self._at += 1
        if character in _ASSERTIONS:
            return Assertion(is_start=_ASSERTIONS[character])
        if character == ".":
            return Byte(_ALL ^ (1 << ord("\n")))
        return self._literal(character)

    def _literal(self, character: str) -> Node:
        encoded = [Byte(self._fold(1 << byte)) for byte in character.encode()]
        return encoded[0] if len(encoded) == 1 else Sequence(tuple(encoded))

    def _group(self) -> Node:
        opening = self._at
        if self._text.startswith(_LOOK_BEHIND, opening):
            return self._look_behind()
        for prefix, message in _GROUPS.items():
            if self._text.startswith(prefix, opening):
                raise self._refused(message)
        if self._text.startswith("(?", opening) and not self._text.startswith("(?:", opening):
            raise self._refused("flags are not allowed here: only (?i) at the very start")
        self._at += 3 if self._text.startswith("(?:", opening) else 1
        node = self._choice()
        if not self._take(")"):
            raise Refused("this ( is not closed: add ), or write \\(", opening)
        return node

    def _look_behind(self) -> Node:
        """Of one byte: it costs nothing, and lets a search begin at the rarer bytes behind it."""
        opening = self._at
        self._at += len(_LOOK_BEHIND[0])
        node = self._atom() if self._peek() not in ("", ")", "|") else None
        if not isinstance(node, Byte) or not self._take(")"):
            raise Refused("look-behind is not allowed, but for one character or class, such as (?<![a-z])", opening)
        return Assertion(is_start=False)

    def _escape(self) -> Node:
        character = self._text[self._at + 1 : self._at + 2]
        if character == "b":
            self._at += 2
            return Assertion(is_start=False)
        return Byte(self._fold(self._escaped()))

    def _escaped(self) -> int:
        """The set of an escape, in a class or outside."""
        start = self._at
        character = self._text[start + 1 : start + 2]
        self._at += 2
        if character in _SETS:
            return _SETS[character]
        if character in _CONTROLS:
            return 1 << ord(_CONTROLS[character])
        if character == "x":
            digits = self._text[start + 2 : start + 4]
            if len(digits) < 2 or not set(digits) <= set(string.hexdigits):
                raise Refused("\\x needs two hexadecimal digits, such as \\x20", start)
            self._at += 2
            return 1 << int(digits, 16)
        if character and character in string.punctuation:
            return 1 << ord(character)
        raise Refused(_about_escape(character), start)

    def _class(self) -> Node:
        opening = self._at
        self._at += 1
        negated = self._take("^")
        bits = 0
        first = self._at
        while not (self._peek() == "]" and self._at > first):
            self._check_class_item(opening)
            low = self._class_item()
            if self._peek() == "-" and self._peek(1) not in ("]", ""):
                bits |= self._range(low)
            else:
                bits |= low
        self._at += 1
        bits = self._fold(bits)
        return Byte(_ALL ^ bits if negated else bits)

    def _check_class_item(self, opening: int) -> None:
        character = self._peek()
        if not character:
            raise Refused("this [ is not closed: add ], or write \\[", opening)
        if character in "[]":
            raise self._refused(f"a {character} inside of [ ]: write \\{character}")
        if self._text.startswith(_TWICE, self._at):
            raise self._refused(f"{character * 2} inside of [ ]: one is enough")

    def _class_item(self) -> int:
        character = self._peek()
        if character == "\\":
            return self._escaped()
        if ord(character) > 127:
            raise self._refused(f"{character} is several bytes and cannot stand in [ ]: write (?:{character}|…)")
        self._at += 1
        return 1 << ord(character)

    def _range(self, low: int) -> int:
        hyphen = self._at
        self._at += 1
        self._check_class_item(hyphen)
        high = self._class_item()
        if low.bit_count() > 1 or high.bit_count() > 1:
            raise Refused("a range needs a character on each side: write \\- for the character itself", hyphen)
        if high < low:
            raise Refused("a range runs from the lower to the higher character", hyphen)
        return (high << 1) - low  # all bits from low to high

    def _repeated(self, atom: Node, start: int) -> Node:
        at = self._at
        bounds = self._bounds()
        if bounds is None:
            return atom
        if isinstance(atom, Assertion):
            raise Refused("an anchor or \\b cannot be repeated", at)
        if isinstance(atom, Sequence) and ord(self._text[start]) > 127:
            raise Refused(f"{self._text[start]} is several bytes: write (?:{self._text[start]}) before the repeat", at)
        if not self._take("?") and self._peek() == "+":
            raise self._refused("a possessive repeat is not allowed: leave the + out")
        if self._peek() in ("*", "+", "?") or self._text.startswith("{", self._at):
            raise self._refused("a repeat of a repeat is not allowed: write one")
        return Repeat(atom, *bounds, at)

    def _bounds(self) -> tuple[int, int | None] | None:
        character = self._peek()
        if character in _REPEATS:
            self._at += 1
            return _REPEATS[character]
        if character != "{":
            return None
        found = _BOUNDS.match(self._text, self._at)
        if found is None:
            raise self._refused("a { that begins no repeat such as {2,5}: write \\{")
        low = int(found[1])
        high = low if not found[2] and not found[3] else int(found[3]) if found[3] else None
        if max(low, high or 0) > MAX_REPEAT:
            raise self._refused(f"at most {MAX_REPEAT} repeats")
        if high is not None and (high < low or high == 0):
            raise self._refused(f"{found[0]} repeats never: the second number is at least the first, and not 0")
        self._at = found.end()
        return low, high

    def _fold(self, bits: int) -> int:
        if not self._ignores_case:
            return bits
        upper, lower = bits & _UPPER, bits & _LOWER
        return bits | upper << 32 | lower >> 32

    def _peek(self, offset: int = 0) -> str:
        return self._text[self._at + offset : self._at + offset + 1]

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def _refused(self, message: str) -> Refused:
        return Refused(message, self._at)


def _about_escape(character: str) -> str:
    if not character:
        return "a backslash at the end: write \\\\ for the character itself"
    if character.isdecimal():
        return f"\\{character} is not allowed: back-references are not, and a byte is \\x and two digits"
    if character in "AZzG":
        return f"\\{character} is not allowed: write ^ or $"
    if character in "vVhHRNX":
        return f"\\{character} is not allowed: write \\s, or a class such as [^\\n]"
    if character == "B":
        return "\\B is not allowed: write \\w where a word shall go on"
    return f"\\{character} is not allowed: {character} needs no backslash, or has no meaning that both engines share"
