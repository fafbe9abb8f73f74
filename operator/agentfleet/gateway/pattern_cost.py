"""The syntax tree of a regular expression, and a bound on the work of searching a text for it. Pure.

patterns.py builds the tree. HAProxy gives PCRE2 neither a larger stack nor a way to tell "gave up" from "not found",
so an expression that can exhaust PCRE2's limits would let sensitive text pass: such ones are refused here.

A search is linear when, at each place of the text where it may start, there are few ways to go on. Ways are counted
from the sets of bytes that can come next: where these are disjoint, one byte decides.
"""

from dataclasses import dataclass
from functools import reduce
from operator import or_

MAX_WAYS = 1000
"""Ways to match from one place of a text."""
MAX_SIZE = 2000
"""Elements once the repeats of groups are written out, which is what PCRE2 does with them."""
_MANY = 10**9
"""Ways beyond which counting on makes no difference."""


class Refused(ValueError):
    """The expression is not taken; `position` counts characters from 0, None is all of it."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


@dataclass(frozen=True)
class Byte:
    """One byte out of a set; bit n of `bits` stands for byte n."""

    bits: int
    nullable = False
    size = 1

    @property
    def first(self) -> int:
        return self.bits

    @property
    def last(self) -> int:
        return self.bits


@dataclass(frozen=True)
class Assertion:
    r"""`^`, `$` or `\b`: takes no text, and may fail."""

    is_start: bool
    nullable = True
    size = 1
    first = 0
    last = 0


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    parts: "tuple[Node, ...]"

    @property
    def nullable(self) -> bool:
        return all(part.nullable for part in self.parts)

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def first(self) -> int:
        return _leading(self.parts)

    @property
    def last(self) -> int:
        bits = 0
        for part in reversed(self.parts):
            bits |= part.last
            if not part.nullable:
                break
        return bits


@dataclass(frozen=True)
class Choice:
    """One of several."""

    branches: "tuple[Node, ...]"

    @property
    def nullable(self) -> bool:
        return any(branch.nullable for branch in self.branches)

    @property
    def size(self) -> int:
        return sum(branch.size for branch in self.branches)

    @property
    def first(self) -> int:
        return reduce(or_, (branch.first for branch in self.branches), 0)

    @property
    def last(self) -> int:
        return reduce(or_, (branch.last for branch in self.branches), 0)

    @property
    def decided(self) -> bool:
        """The next byte tells which branch it is."""
        bits = 0
        for branch in self.branches:
            if branch.nullable or bits & branch.first:
                return False
            bits |= branch.first
        return True


@dataclass(frozen=True)
class Repeat:
    """`low` to `high` times; None is without bound."""

    body: "Node"
    low: int
    high: int | None
    position: int

    @property
    def nullable(self) -> bool:
        return self.low == 0 or self.body.nullable

    @property
    def size(self) -> int:
        # PCRE2 has an own instruction for the repeat of a single byte.
        times = 1 if isinstance(self.body, Byte) else self.high or self.low + 1
        return self.body.size * times

    @property
    def first(self) -> int:
        return self.body.first

    @property
    def last(self) -> int:
        return self.body.last


Node = Byte | Assertion | Sequence | Choice | Repeat


@dataclass(frozen=True)
class _Before:
    """What was matched last: one byte of `bits`, or nothing, with the search `loose`: free to start anywhere."""

    bits: int
    loose: bool


@dataclass(frozen=True)
class _After:
    """What comes next: one byte of `bits`, if it is not the end, and an assertion first if `asserted`."""

    bits: int
    asserted: bool


def check_cost(node: Node) -> None:
    """Raises Refused."""
    if node.size > MAX_SIZE:
        raise Refused(f"its repeats written out are {node.size} elements, at most {MAX_SIZE}: repeat groups less often")
    ways = _ways(node, _Before(0, loose=True), _After(0, asserted=False))
    if ways > MAX_WAYS:
        count = "very many" if ways >= _MANY else str(ways)
        raise Refused(
            f"a text can be matched in {count} ways from one place, at most {MAX_WAYS}: "
            "shorten repeats that are followed by something they match themselves"
        )


def _ways(node: Node, before: _Before, after: _After) -> int:
    match node:
        case Byte() | Assertion():
            return 1
        case Sequence(parts):
            return _ways_in_order(parts, before, after)
        case Choice(branches):
            ways = [_ways(branch, before, after) for branch in branches]
            return min(_MANY, max(ways) if node.decided else sum(ways))
        case Repeat(high=None):
            _check_unbounded(node, before, after)
            return 1
        case Repeat():
            return _ways_of_repeat(node, before, after)


def _ways_in_order(parts: tuple[Node, ...], before: _Before, after: _After) -> int:
    ways = 1
    for index, part in enumerate(parts):
        rest = parts[index + 1 :]
        bits = _leading(rest)
        if all(each.nullable for each in rest):
            bits |= after.bits
        follows = _After(bits, _asserted(rest, after))
        ways = min(_MANY, ways * _ways(part, before, follows))
        if isinstance(part, Assertion):
            before = _Before(before.bits, loose=before.loose and not part.is_start)
        elif part.nullable:
            before = _Before(before.bits | part.last, before.loose)
        else:
            before = _Before(part.last, loose=False)
    return ways


def _leading(parts: tuple[Node, ...]) -> int:
    bits = 0
    for part in parts:
        bits |= part.first
        if not part.nullable:
            break
    return bits


def _asserted(rest: tuple[Node, ...], after: _After) -> bool:
    for part in rest:
        if not part.nullable:
            return False
        if _holds_assertion(part):
            return True
    return after.asserted


def _holds_assertion(node: Node) -> bool:
    match node:
        case Assertion():
            return True
        case Sequence(parts):
            return any(_holds_assertion(part) for part in parts)
        case Choice(branches):
            return any(_holds_assertion(branch) for branch in branches)
        case Repeat(body):
            return _holds_assertion(body)
        case _:
            return False


def _check_unbounded(node: Repeat, before: _Before, after: _After) -> None:
    """Linear only when it cannot start at each place of a run that it takes, nor end there in more than one place."""
    if not isinstance(node.body, Byte):
        raise Refused("a group may not be repeated without bound: write {0,50} for example", node.position)
    bits = node.body.bits
    if not after.bits and not after.asserted:
        return  # nothing follows: whatever it takes, the search is over
    if before.loose:
        instead = {0: "leave it and what it repeats out", 1: "leave the + out"}.get(node.low, f"write {{{node.low}}}")
        raise Refused(
            f"a repeat without bound may not come first, and need not, as a match may start anywhere: {instead}",
            node.position,
        )
    if before.bits & bits:
        raise Refused(
            "a repeat without bound may not come after something that it matches itself: "
            f"write {{{node.low},200}} for example",
            node.position,
        )
    if after.bits & bits:
        raise Refused(
            "a repeat without bound may not be followed by something that it matches itself: "
            f"write {{{node.low},200}} for example",
            node.position,
        )


def _ways_of_repeat(node: Repeat, before: _Before, after: _After) -> int:
    body, high = node.body, node.high or 0
    if high > 1:
        inner_before = _Before(before.bits | body.last, before.loose)
        inner_after = _After(after.bits | body.first, after.asserted)
    else:
        inner_before, inner_after = before, after
    inner = _ways(body, inner_before, inner_after)
    ends = 1
    if body.nullable or after.asserted or after.bits & body.first:
        ends = high - node.low + 1
    within = _MANY if inner > 1 and high > 30 else inner**high  # 2**30 is beyond _MANY
    return min(_MANY, ends * within)
