"""The heuristic of complexity: the document's words, sizes, and HAProxy's reading of the same list."""

from pathlib import Path

import pytest

from agentfleet.gateway.complexity import (
    HEURISTIC,
    LONG_PROMPT,
    LONG_TEXT,
    SHORT_PROMPT,
    SHORT_TEXT,
    classify,
)
from agentfleet.gateway.patterns import check
from agentfleet.gateway.types import Complexity
from tests.gateway import labels, matching

PLAIN = b"zzz "


def test_every_pattern_is_safe_and_fits_a_map_file() -> None:
    for regex, _ in HEURISTIC:
        check(regex, max_length=4096)


@pytest.mark.parametrize(
    ("text", "complexity"),
    [
        ("simple", "Simple"),
        ("Route this to whoever is free", "Simple"),
        ("CLASSIFY the following review", "Simple"),
        ("complex", "Complex"),
        ("I need an analysis of the quarter", "Complex"),
        ("research", "Complex"),
        ("a simple analysis", "Simple"),  # the first of the document's lines wins
        ("Please classify this complex contract", "Simple"),
        ("reroute the simpler one", "Simple"),  # short, but by none of the words
        ("complexity", "Simple"),
    ],
)
def test_the_documents_words(text: str, complexity: Complexity) -> None:
    assert classify(text.encode(), 10) == complexity


def test_words_count_where_a_request_begins_not_in_what_is_pasted_below() -> None:
    pasted = "Tell me more.\n" + "x" * 300 + " simple research"
    assert classify(pasted.encode(), 100) is None


@pytest.mark.parametrize(
    ("text", "tokens", "complexity"),
    [
        (b"", 10, "Simple"),
        ((PLAIN * 40)[:SHORT_TEXT], SHORT_PROMPT, "Simple"),
        ((PLAIN * 40)[:SHORT_TEXT], SHORT_PROMPT + 1, None),  # it refers to what came before
        ((PLAIN * 40)[: SHORT_TEXT + 1], 10, None),
        ((PLAIN * 2000)[: LONG_TEXT - 1], 1500, None),
        ((PLAIN * 2000)[:LONG_TEXT], 1500, "Complex"),
        (b"ok", LONG_PROMPT - 1, None),
        (b"ok", LONG_PROMPT, "Complex"),
        (b"\xff\x00\xfe", 10, "Simple"),
    ],
)
def test_sizes(text: bytes, tokens: int, complexity: Complexity | None) -> None:
    assert classify(text, tokens) == complexity


def test_haproxy_finds_what_python_finds(tmp_path: Path) -> None:
    """With sizes that decide nothing, what is left are the words."""
    texts = [each.text.encode() for split in ("train", "test") for each in labels.requests(split)]
    texts += [b"", PLAIN * 2000, b"compare " * 1000, "\u5206\u6790".encode() * 1000, b"\xe0\xa4\x95" * 45, b"a\0why"]
    with matching.first(tmp_path, HEURISTIC) as found:
        for text in texts:
            padded = text + b" " * (SHORT_TEXT + 1 - len(text))
            short = padded[: LONG_TEXT - 1]
            assert found(short) == (classify(short, SHORT_PROMPT) or "none"), short[:80]
