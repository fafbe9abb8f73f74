"""How far a match of a regular expression reaches: what a stream has to hold back so that none is cut in two. Pure."""

from collections.abc import Callable, Iterable

from agentfleet.gateway.pattern_cost import Assertion, Byte, Choice, Node, Repeat, Sequence


def longest(node: Node) -> int | None:
    """Bytes of the longest match; None is without bound."""
    match node:
        case Byte():
            return 1
        case Assertion():
            return 0
        case Sequence(parts):
            return _bounded(map(longest, parts), sum)
        case Choice(branches):
            return _bounded(map(longest, branches), max)
        case Repeat(body, _, high):
            each = longest(body)
            return None if high is None or each is None else each * high


def alphabet(node: Node) -> int:
    """The bytes that a match can hold; bit n stands for byte n."""
    match node:
        case Byte(bits):
            return bits
        case Assertion():
            return 0
        case Sequence(parts) | Choice(parts):
            union = 0
            for part in parts:
                union |= alphabet(part)
            return union
        case Repeat(body):
            return alphabet(body)


def _bounded(lengths: Iterable[int | None], total: Callable[[list[int]], int]) -> int | None:
    every = list(lengths)
    known = [length for length in every if length is not None]
    return total(known) if len(known) == len(every) else None
