"""Built in traces: the daily wave, a ramp, surges, and idleness. Lengths are those of chats with people.

Lengths are lognormal with the parameters of the conversations that Azure published in 2023 (CC-BY 4.0), cut so that
their means are met too: 1155 tokens of prompt and 211 of answer.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agentfleet.simulator.errors import BadInput
from agentfleet.simulator.traces import Trace, gamma_arrivals, lengths, read_csv, stream

Rate = Callable[[float], float]
"""Second → requests per second."""

PROMPT = (6.63, 0.985, 5300)
OUTPUT = (5.02, 0.859, 1100)
"""mu, sigma and the longest."""


@dataclass(frozen=True)
class Shape:
    """How the rate goes, for how long unless asked otherwise, and how bursty arrivals are."""

    hours: float
    cv: float
    rate: Callable[[float, random.Random], Rate]
    """From the trace's seconds, and random numbers for what is irregular in it."""
    about: str


def _diurnal(duration: float, _: random.Random) -> Rate:
    return lambda second: 6 + 11 * (1 - math.cos(2 * math.pi * second / duration))


def _ramp(duration: float, _: random.Random) -> Rate:
    up, down = duration / 4, duration * 3 / 4

    def rate(second: float) -> float:
        rising, falling = (min(1.0, max(0.0, (second - start) / 300)) for start in (up, down))
        return 4 + 26 * (rising - falling)

    return rate


def _surge(duration: float, draw: random.Random) -> Rate:
    surges: list[tuple[float, float, float]] = []
    start = draw.uniform(900, 1500)
    while start < duration:
        surges.append((start, start + draw.uniform(120, 300), draw.uniform(2.5, 4)))
        start += draw.uniform(1200, 1800)

    def rate(second: float) -> float:
        return 8.5 * next((factor for begin, end, factor in surges if begin <= second < end), 1.0)

    return rate


def _idle(duration: float, draw: random.Random) -> Rate:
    visits: list[tuple[float, float]] = []
    start = draw.uniform(300, 900)
    while start < duration:
        end = start + draw.uniform(300, 1200)
        visits.append((start, end))
        start = end + draw.uniform(1800, 5400)
    return lambda second: 2.0 if any(begin <= second < end for begin, end in visits) else 0.0


SHAPES = {
    "diurnal": Shape(6, 1.1, _diurnal, "a wave from 6 to 28 requests per second and back within 6 h"),
    "ramp": Shape(2, 1.1, _ramp, "4 requests per second, 30 within 5 minutes, 4 again an hour later"),
    "surge": Shape(
        4, 3.5, _surge, "8.5 requests per second, very bursty, for some minutes twice an hour 2.5 to 4 times that"
    ),
    "idle": Shape(6, 1.1, _idle, "2 requests per second for some minutes, then nothing for up to 90"),
}


def load_trace(name: str, seed: int, hours: float | None = None, load: float = 1.0) -> Trace:
    """A built in trace, its rates times `load`, or a CSV file, which is cut after `hours` and taken as it is."""
    shape = SHAPES.get(name)
    if shape is None:
        path = Path(name)
        if not path.is_file():
            raise BadInput(f"--trace: no trace and no file {name!r}; built in are {', '.join(SHAPES)}, or give a CSV.")
        if load != 1:
            raise BadInput(f"--load: {load:g} changes built in traces ({', '.join(SHAPES)}) only, not {name}.")
        trace = read_csv(path)
        return trace if hours is None else cut(trace, hours * 3600)
    duration = (hours or shape.hours) * 3600
    rate = shape.rate(duration, stream(seed, name, "rate"))
    seconds = gamma_arrivals(lambda second: load * rate(second), duration, shape.cv, stream(seed, name, "arrivals"))
    return Trace(
        name,
        seconds,
        lengths(len(seconds), PROMPT, stream(seed, name, "prompts")),
        lengths(len(seconds), OUTPUT, stream(seed, name, "outputs")),
        duration,
    )


def cut(trace: Trace, duration: float) -> Trace:
    """Its beginning."""
    if duration >= trace.duration:
        return trace
    count = sum(second < duration for second in trace.seconds)
    return Trace(trace.name, trace.seconds[:count], trace.prompts[:count], trace.outputs[:count], duration)
