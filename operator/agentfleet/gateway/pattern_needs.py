"""What a text must hold for a regular expression to match: a cheap look at it spares the expression. Pure.

Most built-in patterns look for numbers, and some for words of other scripts, while most texts have neither. So HAProxy
looks for those only in a text that a gate lets through. That no gate holds back what a pattern would find follows from
the pattern's syntax tree, for users' patterns as for built-in ones; where it does not follow, there is no gate.
"""

from functools import lru_cache
from itertools import chain
from typing import Literal

from agentfleet.gateway.pattern_cost import Assertion, Byte, Choice, Node, Refused, Repeat, Sequence
from agentfleet.gateway.patterns import parsed

Need = Literal["digits", "bytes"]

DIGITS, GAP = 5, 6
"""So many digits, with at most so many bytes from one to the next: rarer than the numbers in most requests."""
GATES: dict[Need, str] = {"digits": rf"\d(?:\D{{0,{GAP}}}\d){{{DIGITS - 1}}}", "bytes": r"[\x80-\xff]"}
"""Regular expressions; both look at each byte about once."""

_DIGIT = sum(1 << byte for byte in b"0123456789")
_NOT_ASCII = sum(1 << byte for byte in range(128, 256))
_ENDLESS = 10**9

_Piece = int | None
"""Of a match: None is a byte that is a digit for certain, a number is at most so many bytes of any kind."""


@lru_cache(maxsize=1024)
def need(pattern: str) -> Need | None:
    """The gate that lets through each text in which this pattern finds something; None where there is none.

    Nor is there one for what is no pattern that `patterns.check` takes.
    """
    try:
        node = parsed(pattern)
    except Refused:
        return None
    if _row(node) >= DIGITS:
        return "digits"
    return "bytes" if _has(node, _NOT_ASCII) else None


def _has(node: Node, bits: int) -> bool:
    """Each match has a byte out of these."""
    match node:
        case Byte():
            return node.bits & ~bits == 0
        case Sequence(parts):
            return any(_has(part, bits) for part in parts)
        case Choice(branches):
            return all(_has(branch, bits) for branch in branches)
        case Repeat(body, low):
            return low > 0 and _has(body, bits)
        case Assertion():
            return False


def _row(node: Node) -> int:
    """So many digits at least stand in a row in each match, with at most GAP bytes from one to the next."""
    match node:
        case Choice(branches):
            return min(_row(branch) for branch in branches)
        case Sequence(parts):
            return max([_longest(_pieces(node)), *(_row(part) for part in parts)])
        case Repeat(body, low):
            return max(_longest(_pieces(node)), _row(body) if low else 0)
        case _:
            return _longest(_pieces(node))


def _longest(pieces: list[_Piece]) -> int:
    most = row = gap = 0
    for piece in pieces:
        if piece is not None:
            gap += piece
            continue
        row = row + 1 if gap <= GAP else 1
        most, gap = max(most, row), 0
    return most


def _pieces(node: Node) -> list[_Piece]:
    match node:
        case Byte():
            return [None] if node.bits & ~_DIGIT == 0 else [1]
        case Assertion():
            return []
        case Sequence(parts):
            return list(chain.from_iterable(map(_pieces, parts)))
        case Choice(branches):
            return [max(_length(branch) for branch in branches)]
        case Repeat(body, low, high):
            more = _ENDLESS if high is None else (high - low) * _length(body)
            return [*_pieces(body) * low, more]


def _length(node: Node) -> int:
    """At most."""
    return sum(1 if piece is None else piece for piece in _pieces(node))
