"""Reads the header of a GGUF file: its metadata and the shapes of its tensors. Never the weights.

The format is the GGUF specification's, versions 2 and 3, little endian: `GGUF`, version, number of tensors, number of
keys, the keys with typed values, then a name, dimensions, type and offset for each tensor. The file comes from
outside, and every number in it may be a lie: nothing is allocated or repeated on its word. ModelFailed BadSource says
what is off.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from agentfleet.sidecar.failures import BAD_SOURCE, ModelFailed

Value = int | float | bool | str
Read = Callable[[int, int], bytes]
"""At most so many bytes (second) from an offset on (first); fewer only at the end of the file."""

MAGIC = b"GGUF"
VERSIONS = (2, 3)

LARGEST_HEADER = 64 * 2**20
"""The largest vocabularies of today make headers of about 20 MB."""
MOST_TENSORS = 100_000
MOST_KEYS = 10_000
MOST_DIMENSIONS = 8
LONGEST_KEY = 65_535
LONGEST_STRING = 16 * 2**20
KEPT_STRING = 4096
"""Longer values, chat templates above all, are noted as being there, by their first characters."""
KEPT_NUMBERS = 4096
"""Numbers of an array that are kept: per-layer values are; token scores are not."""
DEEPEST_ARRAY = 4

_WINDOW = 2**20

_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d"}
"""Type → how struct writes it."""


@dataclass(frozen=True, slots=True)
class Array:
    """An array: its length, and its first numbers, where it is one of numbers."""

    length: int
    numbers: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says."""

    metadata: dict[str, Value | Array]
    tensors: dict[str, int]
    """Name → number of elements."""


def read_header(read: Read, name: str) -> Header:
    """The header of the file that `read` reads; `name` is for messages."""
    cursor = _Cursor(read, name)
    if cursor.take(4) != MAGIC:
        raise cursor.bad("it does not begin with GGUF")
    version = cursor.number("I")
    if version not in VERSIONS:
        raise cursor.bad(f"version {version} is none of {', '.join(map(str, VERSIONS))}, little endian")
    tensors = cursor.count(MOST_TENSORS, "tensors")
    keys = cursor.count(MOST_KEYS, "keys")
    metadata: dict[str, Value | Array] = {}
    for _ in range(keys):
        key = cursor.string(LONGEST_KEY)
        metadata[key] = _value(cursor, int(cursor.number("I")))
    return Header(metadata, dict(_tensor(cursor) for _ in range(tensors)))


def _value(cursor: "_Cursor", kind: int) -> Value | Array:
    if kind == _STRING:
        return cursor.string(LONGEST_STRING)
    if kind == _ARRAY:
        return _array(cursor, 1)
    if kind not in _NUMBERS:
        raise cursor.bad(f"there is no type {kind}")
    return cursor.number(_NUMBERS[kind])


def _array(cursor: "_Cursor", depth: int) -> Array:
    kind = int(cursor.number("I"))
    length = int(cursor.number("Q"))
    if kind in _NUMBERS:
        form = _NUMBERS[kind]
        kept = min(length, KEPT_NUMBERS)
        content = cursor.take(kept * struct.calcsize("<" + form))
        cursor.skip((length - kept) * struct.calcsize("<" + form))
        return Array(length, struct.unpack(f"<{kept}{form}", content))
    # Each element takes bytes of the file, so that a wrong length ends at the file's end.
    if kind == _STRING:
        for _ in range(length):
            cursor.skip(cursor.length(LONGEST_STRING))
    elif kind == _ARRAY and depth < DEEPEST_ARRAY:
        for _ in range(length):
            _array(cursor, depth + 1)
    else:
        raise cursor.bad(f"there is no array of type {kind} here")
    return Array(length)


def _tensor(cursor: "_Cursor") -> tuple[str, int]:
    name = cursor.string(LONGEST_KEY)
    dimensions = int(cursor.number("I"))
    if dimensions > MOST_DIMENSIONS:
        raise cursor.bad(f"tensor {name!r} has {dimensions} dimensions")
    elements = 1
    for _ in range(dimensions):
        elements *= int(cursor.number("Q"))
    cursor.skip(4 + 8)  # type and offset
    return name, elements


class _Cursor:
    """A place in the file that moves forward only, over a window of bytes."""

    def __init__(self, read: Read, name: str) -> None:
        self._read = read
        self._name = name
        self._window = b""
        self._begin = 0
        self._position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start = self._position - self._begin
        if start + count > len(self._window):
            self._fill(count)
            start = 0
        self._position += count
        return self._window[start : start + count]

    def skip(self, count: int) -> None:
        """Moves on without reading."""
        self._position += count
        if self._position > LARGEST_HEADER:
            raise self.bad(f"its header is longer than {LARGEST_HEADER} bytes")

    def number(self, form: str) -> int | float | bool:
        """A number, in struct's notation."""
        found: int | float | bool = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]
        return found

    def count(self, most: int, what: str) -> int:
        """A number of things that follow."""
        found = int(self.number("Q"))
        if found > most:
            raise self.bad(f"it claims {found} {what}; {most} are the most")
        return found

    def length(self, longest: int) -> int:
        """The length of a string."""
        return self.count(longest, "bytes for one string")

    def string(self, longest: int) -> str:
        """A string, or the beginning of a long one."""
        length = self.length(longest)
        kept = min(length, KEPT_STRING)
        text = self.take(kept)
        self.skip(length - kept)
        return text.decode("utf-8", errors="replace")

    def bad(self, why: str) -> ModelFailed:
        """The error about this file."""
        return ModelFailed(BAD_SOURCE, f"{self._name} is no GGUF file that can be read: {why}")

    def _fill(self, count: int) -> None:
        if self._position + count > LARGEST_HEADER:
            raise self.bad(f"its header is longer than {LARGEST_HEADER} bytes")
        self._begin = self._position
        self._window = self._read(self._begin, max(count, _WINDOW))
        if len(self._window) < count:
            raise self.bad(f"it ends after {self._begin + len(self._window)} bytes, within its header")
