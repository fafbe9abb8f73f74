"""A table of the last rows in little memory, one row per slot of time. Knows nothing of what the numbers mean.

Numbers are half-width floats: up to 65504 units, to one part in two thousand. NaN inside is None outside: unknown,
never zero. A column whose values never differed is kept as that one value, so what an engine does not say costs
nothing.
"""

import math
import struct
from collections.abc import Iterator, Mapping

_HALF = struct.Struct("<e")
_LARGEST = 65504.0
_UNKNOWN = _HALF.pack(math.nan)
_FEW = 100
"""Rows that a column has room for at first; then it gets room for all. Growing often would fragment the memory."""


class Ring:
    """The last `kept` rows. `units` gives the columns, and what 1 stands for in each."""

    __slots__ = ("_columns", "_first", "_kept", "_next", "_units")

    def __init__(self, units: Mapping[str, float], kept: int) -> None:
        self._units = units
        self._kept = kept
        self._first = self._next = 0
        self._columns: dict[str, bytes | bytearray] = dict.fromkeys(units, _UNKNOWN)

    def put(self, slot: int, values: Mapping[str, float | None]) -> None:
        """Set the row of `slot`, which is later than all before; the slots between are unknown."""
        if self._next == self._first:
            self._first = self._next = slot
        for missed in range(max(self._next, slot - self._kept), slot):
            self._write(missed, {})
        self._write(slot, values)
        self._next = slot + 1

    def _write(self, slot: int, values: Mapping[str, float | None]) -> None:
        for name, unit in self._units.items():
            value = _packed(values.get(name), unit)
            column = self._columns[name]
            if isinstance(column, bytes):
                if slot == self._first:
                    self._columns[name] = value
                if self._columns[name] == value:
                    continue
                column = self._columns[name] = self._sized(column * min(slot - self._first, self._kept))
            place = self._place(slot)
            if place >= len(column):
                column = self._columns[name] = self._sized(column)
            column[place : place + _HALF.size] = value

    def _sized(self, rows: bytes | bytearray) -> bytearray:
        """A copy with room for one row more, where there may be one."""
        count = len(rows) // _HALF.size
        room = bytearray(min(self._kept, _FEW if count < _FEW else self._kept) * _HALF.size)
        room[: len(rows)] = rows
        return room

    def _place(self, slot: int) -> int:
        return (slot - self._first) % self._kept * _HALF.size

    def rows(self, most: int) -> Iterator[tuple[int, dict[str, float | None]]]:
        """The last rows with their slots, oldest first."""
        for slot in range(max(self._first, self._next - min(most, self._kept)), self._next):
            place = self._place(slot)
            yield slot, {name: self._read(name, place) for name in self._units}

    def _read(self, name: str, place: int) -> float | None:
        column = self._columns[name]
        value: float = _HALF.unpack_from(column, 0 if isinstance(column, bytes) else place)[0]
        return None if math.isnan(value) else float(f"{value * self._units[name]:.4g}")


def _packed(value: float | None, unit: float) -> bytes:
    if value is None or not math.isfinite(value):
        return _UNKNOWN
    return _HALF.pack(max(-_LARGEST, min(_LARGEST, value / unit)))
