"""What goes wrong in a run, from the command line: `lost-scrapes=30%,outage=600s@3600,crash-loop@30m,quota=4`.

lost-scrapes=SHARE        each look at a replica fails with this probability
outage=DURATION@START     nothing answers: no metrics at all
renamed[=DURATION]@START  the engine's page calls running and waiting requests something else
renamed=FIELD[:DURATION]@START  … or another number, such as prompt_tokens
nan[=DURATION]@START, nan=FIELD[:DURATION]@START  the same are NaN
crash-loop[@START]        one replica dies, and again whenever it starts; what it had in work is lost
quota=GPUS                the cluster has no room for more
"""

import math
from dataclasses import dataclass, replace

from agentfleet.autoscale.intervals import DECISIVE
from agentfleet.durations import parse_duration
from agentfleet.simulator.errors import BadInput

LEGAL = "lost-scrapes=30%, outage=600s@3600, renamed@3600, renamed=prompt_tokens@1h, nan@1h, crash-loop@30m, quota=4"
CRASH_AT = 600.0
Span = tuple[float, float]
GAUGES = frozenset(("running", "waiting"))


@dataclass(frozen=True)
class Faults:
    """Nothing goes wrong unless said."""

    lost_scrapes: float = 0.0
    outage: Span | None = None
    renamed: Span | None = None
    renamed_fields: tuple[str, ...] = tuple(sorted(GAUGES))
    nan: Span | None = None
    nan_fields: tuple[str, ...] = tuple(sorted(GAUGES))
    crash_at: float | None = None
    quota: int | None = None


def holds(span: Span | None, now: float) -> bool:
    """Whether a fault is on."""
    return span is not None and span[0] <= now < span[1]


def parse_faults(text: str | None) -> Faults:
    """BadInput names the fault that cannot be read."""
    faults = Faults()
    for part in (text or "").split(","):
        if not part.strip():
            continue
        left, _, start = part.strip().partition("@")
        name, _, value = left.partition("=")
        try:
            faults = _with(faults, name, value, _seconds(start) if start else None)
        except ValueError:
            raise BadInput(f"--faults: {part.strip()!r} is not a fault; write for example {LEGAL}.") from None
    return faults


def _with(faults: Faults, name: str, value: str, start: float | None) -> Faults:
    match name:
        case "lost-scrapes":
            return replace(faults, lost_scrapes=_share(value))
        case "outage":
            return replace(faults, outage=_span(value, start, needs_length=True))
        case "renamed":
            fields, value = _fields(value)
            return replace(faults, renamed=_span(value, start), renamed_fields=fields)
        case "nan":
            fields, value = _fields(value)
            return replace(faults, nan=_span(value, start), nan_fields=fields)
        case "crash-loop" if not value:
            return replace(faults, crash_at=CRASH_AT if start is None else start)
        case "quota" if start is None:
            return replace(faults, quota=_whole(value))
    raise ValueError(name)


def _fields(value: str) -> tuple[tuple[str, ...], str]:
    """The fields of a sample that are meant, and what is left of the value."""
    field, _, rest = value.partition(":")
    return ((field,), rest) if field in DECISIVE else (tuple(sorted(GAUGES)), value)


def _seconds(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else parse_duration(text)


def _share(text: str) -> float:
    share = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    if not 0 <= share <= 1:
        raise ValueError(text)
    return share


def _whole(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _span(value: str, start: float | None, *, needs_length: bool = False) -> Span:
    if start is None or (needs_length and not value):
        raise ValueError(value)
    return start, start + _seconds(value) if value else math.inf
