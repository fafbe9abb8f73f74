"""Traces of requests: what arrives when, and how long it is; users' own as CSV. shapes.py has the built in ones.

Arrivals are a gamma process of a given burstiness (CV of the gaps: 1 is Poisson) whose rate follows a shape; lengths
are lognormal. A trace is the same for every policy, and the same again for the same seed.
"""

import csv
import math
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentfleet.simulator.errors import BadInput

COLUMNS = ("seconds", "prompt_tokens", "output_tokens")
LONGEST = 31 * 86400
MOST = (1e11, 10_000_000, 10_000_000)
"""The largest value of each; seconds may be those of a clock."""
LATE = 3600.0
"""A first request that is so late is where time begins: nobody pays for what was before a log."""
NAN = math.nan


def stream(seed: int, *what: object) -> random.Random:
    """Random numbers for one purpose: what one part draws does not move another's."""
    return random.Random("/".join(str(part) for part in (seed, *what)))  # noqa: S311 - a simulation, no secrets


@dataclass(frozen=True)
class Trace:
    """Requests in the order of their arrival."""

    name: str
    seconds: Sequence[float]
    prompts: Sequence[int]
    outputs: Sequence[int]
    duration: float
    """Seconds that are simulated and paid for."""

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def means(self) -> tuple[float, float]:
        """Tokens of the mean prompt and of the mean answer."""
        count = max(1, len(self))
        return sum(self.prompts) / count, sum(self.outputs) / count


class Journal:
    """What became of each request: seconds, NaN where it did not come to that."""

    def __init__(self, trace: Trace) -> None:
        blank = array("d", [NAN]) * len(trace)
        self.admitted = array("d", blank)
        self.first = array("d", blank)
        self.ended = array("d", blank)
        self.failed: dict[int, float] = {}
        """Request → when an engine refused it, or died with it."""

    def fail(self, request: int, now: float) -> None:
        """It ends without an answer."""
        self.failed[request] = now


def gamma_arrivals(rate: Callable[[float], float], duration: float, cv: float, draw: random.Random) -> list[float]:
    """Seconds of arrivals: gaps of unit mean and the given CV, stretched by the rate of each second."""
    arrivals: list[float] = []
    if duration <= 0:
        return arrivals
    shape = 1 / (cv * cv)
    scale = 1 / shape
    gamma = draw.gammavariate
    due, passed = gamma(shape, scale), 0.0
    for second in range(math.ceil(duration)):
        density = rate(second + 0.5)
        while due <= passed + density:
            arrivals.append(second + (due - passed) / density)
            due += gamma(shape, scale)
        passed += density
    while arrivals and arrivals[-1] > duration:
        arrivals.pop()
    return arrivals


def lengths(count: int, law: tuple[float, float, int], draw: random.Random) -> list[int]:
    """Tokens: lognormal, at least 1, cut at the longest."""
    mu, sigma, longest = law
    gauss, exp = draw.gauss, math.exp
    return [min(longest, int(exp(gauss(mu, sigma))) + 1) for _ in range(count)]


def read_csv(path: Path) -> Trace:
    """A trace with the columns seconds, prompt_tokens, output_tokens, in any order; BadInput names line and column."""
    requests: list[tuple[float, int, int]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            places = _places(path, next(rows, []))
            for row in rows:
                if not any(row):
                    continue
                where = f"--trace: {path}, line {rows.line_num}"
                if len(row) <= max(places):
                    raise BadInput(f"{where}: {len(row)} columns; needed are {', '.join(COLUMNS)}.")
                second, prompt, output = (
                    _number(where, column, row[place], most)
                    for column, place, most in zip(COLUMNS, places, MOST, strict=True)
                )
                # an engine makes one token at least, whatever a log says about it
                requests.append((second, max(1, int(prompt)), max(1, int(output))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"--trace: {path} cannot be read: {error}") from error
    if not requests:
        raise BadInput(f"--trace: {path} has no requests below its header.")
    requests.sort(key=lambda request: request[0])  # logs are in the order of ends, now and then
    seconds, prompts, outputs = (list(column) for column in zip(*requests, strict=True))
    if seconds[0] >= LATE:
        seconds = [second - seconds[0] for second in seconds]
    if seconds[-1] > LONGEST:
        raise BadInput(
            f"--trace: {path} is {seconds[-1] / 86400:.1f} days long; at most {LONGEST // 86400} can be simulated."
        )
    return Trace(path.stem, seconds, prompts, outputs, math.ceil(seconds[-1]) or 1)


def _places(path: Path, header: Sequence[str]) -> list[int]:
    """Where the columns stand; others may stand between them."""
    found = [name.strip() for name in header]
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise BadInput(
            f"--trace: {path}, line 1: no column {', '.join(missing)}; the header has to name {','.join(COLUMNS)}"
            f" and is {','.join(found)!r}."
        )
    return [found.index(name) for name in COLUMNS]


def _number(where: str, column: str, text: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = NAN
    if not 0 <= value <= most:
        raise BadInput(f"{where}: {column} is {text!r}; it has to be a number from 0 to {most:.0f}.")
    return value
