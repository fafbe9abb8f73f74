"""What a benchmark found: named values and ratios, with their spread. Pure but for ``machine()``."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """The median of what was measured, and the lowest and highest; one measurement is all three."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, *measured: float) -> Figure:
        return cls(statistics.median(measured), min(measured), max(measured))

    @property
    def spread(self) -> bool:
        return self.lowest != self.highest


@dataclass
class Report:
    """The figures of one benchmark; names end in their unit, ratios have none."""

    name: str
    values: dict[str, Figure] = field(default_factory=dict)
    ratios: dict[str, Figure] = field(default_factory=dict)
    goals: dict[str, float] = field(default_factory=dict)
    """Highest figure that is good enough, by name of a value or ratio."""
    notes: list[str] = field(default_factory=list)
    """What a reader has to know."""

    def text(self) -> str:
        """A table for people: median, range, goal."""
        figures = {**self.ratios, **self.values}
        width = max(map(len, figures))
        lines = [f"{self.name} on {machine()}"]
        for name, figure in figures.items():
            line = f"  {name:{width}}  {_number(figure.median):>8}"
            if figure.spread:
                line += f"  ({_number(figure.lowest)} to {_number(figure.highest)})"
            if name in self.goals:
                met = "met" if figure.median <= self.goals[name] else "MISSED"
                line += f"  goal: at most {_number(self.goals[name])}, {met}"
            lines.append(line)
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def json(self) -> str:
        """One object in one line: medians under their names, the range as name_min and name_max."""
        return json.dumps(
            {"name": self.name, "machine": machine(), "values": _flat(self.values), "ratios": _flat(self.ratios)}
        )


def percentile(measured: Sequence[float], percent: float) -> float:
    """The smallest measurement that at least ``percent`` % of all do not exceed."""
    ordered = sorted(measured)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def machine() -> str:
    """This machine in words: what figures may be compared with."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    software = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{cores} cores of {_processor()}, {memory:.0f} GiB, {software}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _flat(figures: dict[str, Figure]) -> dict[str, float]:
    flat = {}
    for name, figure in figures.items():
        flat[name] = round(figure.median, 3)
        if figure.spread:
            flat[name + "_min"] = round(figure.lowest, 3)
            flat[name + "_max"] = round(figure.highest, 3)
    return flat


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
