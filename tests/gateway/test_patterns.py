"""Which regular expressions are taken, and that HAProxy's PCRE2 and Python find the same with those."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.gateway.patterns import MAX_LENGTH, check, compiled
from tests.gateway import matching


@pytest.mark.parametrize(
    "pattern",
    [
        r"EMP-\d{6}",
        r"(?i)project\s{1,3}(?:falcon|heron)",
        r"(?i)password\s*[:=]\s*\S+",
        r"\b\d{3}-\d{2}-\d{4}\b",
        r'"[^"]*"',
        r"^\s*from\b",
        r"foo\s*$",
        r"a.{0,200}b",
        r"\d+",
        r"(a|b){1,9}c",
        r"[\w.-]{1,64}@example\.com",
        r"机密|SULIT",
        r"(?:é|è){2}",
        r"\x20\xc3\xa9\n\t",
        r"[]-]".replace("]", r"\]", 1),
        r"x{3}?y",
        r"(?<![\d.])\d{6}\b",
        r"(?i)(?<=[a-z])\d",
        r"}x]",
    ],
)
def test_taken(pattern: str) -> None:
    check(pattern)
    compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "position", "instead"),
    [
        (r"(a+)+b", 5, "write {0,50}"),
        (r"\d+-", 3, "leave the + out"),
        (r"\s*x", 3, "leave it and what it repeats out"),
        (r"\d{3,}-", 3, "write {3}"),
        (r"a.*b", 3, "write {0,200}"),
        (r"=\w*id", 4, "write {0,200}"),
        (r"a\b\w+", None, None),  # the end may be open
        (r"\b\w+\b", 5, "leave the + out"),
        (r"a.{0,200}b.{0,200}c", 0, "40401 ways"),
        (r"(?:\d{1,64}-?){1,64}x", 0, "very many ways"),
        (r"(?:a|aa){1,40}b", 0, "very many ways"),
        (r"((((a{1000}){1000}){1000}))", 0, "1000000 elements"),
        (r"(a)\1", 4, "back-references are not"),
        (r"a(?=b)", 2, "look-ahead"),
        (r"a(?!b)", 2, "look-ahead"),
        (r"(?<=ab)c", 1, "one character or class"),
        (r"(?<!a?)b", 1, "one character or class"),
        (r"(?<!a|b)b", 1, "one character or class"),
        (r"(?<!)b", 1, "one character or class"),
        (r"(?<!é)b", 1, "one character or class"),
        (r"(?<!a)*b", 7, "cannot be repeated"),
        (r"(?P<n>a)", 1, "write (?:"),
        (r"(?<n>a)", 1, "write (?:"),
        (r"(?P=n)a", 1, "write the text again"),
        (r"(?>a)b", 1, "write (?:"),
        (r"(a)?(?(1)b|c)", 5, "one alternative for each case"),
        (r"a(?#b)", 2, "leave it out"),
        (r"a(?i)b", 2, "only (?i) at the very start"),
        (r"(?s)a", 1, "only (?i) at the very start"),
        (r"(?i:a)", 1, "only (?i) at the very start"),
        (r"a++", 3, "leave the + out"),
        (r"a**", 3, "write one"),
        (r"a{2}{3}", 5, "write one"),
        (r"a{,3}", 2, r"write \{"),
        (r"{a", 1, r"write \{"),
        (r"a{3,2}", 2, "at least the first"),
        (r"a{0}b", 2, "not 0"),
        (r"a{1001}", 2, "at most 1000"),
        (r"*a", 1, r"write \*"),
        (r"^*a", 2, "cannot be repeated"),
        (r"a\b?", 4, "cannot be repeated"),
        (r"a\Z", 2, "write ^ or $"),
        (r"a\B", 2, r"write \w"),
        (r"a\v", 2, r"write \s"),
        (r"\N{DASH}", 1, r"write \s"),
        (r"\Qa\E", 1, "needs no backslash"),
        (r"\012", 1, r"a byte is \x"),
        (r"\x1", 1, r"such as \x20"),
        ("a\\", 2, r"write \\"),
        (r"\ä", 1, "needs no backslash"),
        (r"[[:alpha:]]", 2, r"write \["),
        (r"[]a]", 2, r"write \]"),
        (r"[a--b]", 3, "lower to the higher"),
        (r"[a&&b]", 3, "one is enough"),
        (r"[z-a]", 3, "lower to the higher"),
        (r"[\d-z]", 4, r"write \-"),
        (r"[a", 1, r"write \["),
        (r"(a", 1, r"write \("),
        (r"a)", 2, r"write \)"),
        (r"[ä]", 2, "write (?:ä|…)"),
        (r"aä+", 3, "write (?:ä)"),
        ("a b", 2, r"write \s"),
        ("a\nb", 2, r"write \n"),
        ("a\0b", 2, r"write \n"),
        ("a\ud800", 2, "leave it out"),
        ("#a", 1, r"write \#"),
    ],
)
def test_refused(pattern: str, position: int | None, instead: str | None) -> None:
    if instead is None:
        check(pattern)
        return
    with pytest.raises(ValueError, match="pattern") as caught:
        check(pattern)
    assert instead in str(caught.value)
    assert not position or f"character {position}:" in str(caught.value)


@pytest.mark.parametrize("pattern", ["a?", "a|", "^", "(?:a?b?)", "(?i)", r"\b", "$"])
def test_what_matches_nothing_at_all_matches_every_request(pattern: str) -> None:
    with pytest.raises(ValueError, match="every request"):
        check(pattern)


@pytest.mark.parametrize("pattern", ["", "a" * (MAX_LENGTH + 1)])
def test_length(pattern: str) -> None:
    with pytest.raises(ValueError, match=f"1 to {MAX_LENGTH}"):
        check(pattern)


@given(st.one_of(st.text(max_size=40), st.text(alphabet=r"ab1-.\[](){}|?*+^$:<=!,sdwxä#&", max_size=24)))
def test_hostile_text_is_taken_or_refused_in_one_line(pattern: str) -> None:
    try:
        check(pattern)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert not set(pattern) & set(" \t\n\r\v\f\0") and not pattern.startswith("#")
    compiled(pattern)


class _Generator:
    """Patterns of the grammar over few letters, so that they often match."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 reproducible, not secret

    def pattern(self) -> str:
        return self._random.choice(["", "", "(?i)"]) + self._choice(2)

    def text(self) -> bytes:
        pieces = ["a", "b", "A", "1", "23", "-", " ", "\n", "_", "é", "中", "ab1", "aaaa", "\0"]
        return "".join(self._random.choices(pieces, k=self._random.randint(0, 12))).encode()

    def _choice(self, depth: int) -> str:
        return "|".join(self._sequence(depth) for _ in range(self._random.choice([1, 1, 1, 2])))

    def _sequence(self, depth: int) -> str:
        parts = (self._atom(depth) + self._repeat() for _ in range(self._random.randint(1, 4)))
        return "".join(parts)

    def _atom(self, depth: int) -> str:
        if depth and self._random.random() < 0.25:
            return self._random.choice(["(", "(?:"]) + self._choice(depth - 1) + ")"
        return self._random.choice(
            ["a", "b", "A", "1", "-", "中", r"\d", r"\w", r"\s", r"\S", r"\W", ".", "[ab]", "[^a1]", "[a-c-]", r"\xc3"]  # noqa: RUF005
            + [r"\b", "^", "$", r"\n", r"\x20", r"[\w-]", r"[^\s]", r"\-"]
            + [r"(?<=a)", r"(?<![\w-])"]
        )

    def _repeat(self) -> str:
        return self._random.choice(["", "", "", "", "?", "*", "+", "{2}", "{1,3}", "{0,2}?", "{2,}", "??"])


def _taken(pattern: str) -> bool:
    try:
        check(pattern)
    except ValueError:
        return False
    return True


LONG = [
    text * (60_000 // len(text))
    for text in (
        b"a",
        b"1",
        b"-",
        b" ",
        b"ab",
        b"a1",
        b"a-",
        b"aA1- \n",
        "中".encode(),
        b"\xff\xc3\x00",
        b"a\n",
        b"a\x00b1 ",
    )
]
"""What makes a search go back as far as it can."""


def test_haproxy_finds_what_python_finds(tmp_path: Path) -> None:
    """Of PCRE2 giving up on a long text HAProxy says nothing but "not found": that must not happen either."""
    generator = _Generator(20261121)
    patterns = [pattern for pattern in (generator.pattern() for _ in range(1500)) if _taken(pattern)][:300]
    assert len(patterns) == 300
    texts = [*(generator.text() for _ in range(100)), *LONG]
    positive = 0
    with matching.each(tmp_path, patterns) as found:
        for text in texts:
            expected = "".join("01"[re.search(pattern.encode(), text) is not None] for pattern in patterns)
            answer = found(text)
            differing = [pattern for pattern, a, b in zip(patterns, answer, expected, strict=True) if a != b]
            assert not differing, f"on {text[:60]!r}: {differing}"
            positive += expected.count("1")
    assert 0.1 < positive / len(texts) / len(patterns) < 0.9, "the texts tell nothing"


def test_what_is_refused_would_be_missed(tmp_path: Path) -> None:
    """Why so much is refused: PCRE2's stack is at its end, and HAProxy takes that for "not found"."""
    pattern, text = r"(?:a|b)*c", b"ab" * 30_000 + b"c"
    with pytest.raises(ValueError, match="without bound"):
        check(pattern)
    assert re.search(pattern.encode(), text)
    with matching.each(tmp_path, [pattern]) as found:
        assert found(text) == "0"
