"""What HAProxy's `show stat` says about each target. Pure.

A target has the backends pool_ID (its pods), hold_ID (requests that wait for its first pod), which the pool's server
`gate` leads to when its last pod goes, and ready_ID (the pods once more, to be counted without that gate).
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

COMMAND = "show info;show stat -1 7 -1\n"
"""7: frontends, backends and servers."""
_ROUTE = ("route", "FRONTEND")
"""Where clients come in."""
_ANSWERS = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")
_STARTED = "Start_time_sec: "
_TABLE = "# pxname,"
_POOL, _GATE = "pool_", "gate"


@dataclass(frozen=True)
class Backend:
    """One backend."""

    requests: int = 0
    """Since HAProxy started."""
    waiting: int = 0
    """In its queue and in those of its servers."""
    in_flight: int = 0
    """At its servers."""
    ready: int = 0
    """Servers that are up; spare ones count only where no other is."""


@dataclass(frozen=True)
class Reading:
    """One answer of HAProxy."""

    started: str
    """When it started: another word is another process, which counts from zero."""
    backends: Mapping[str, Backend]
    ended: int = 0
    """Requests of clients that have ended since then, whatever their answer was."""


@dataclass(frozen=True)
class TargetLoad:
    """One target, as this gateway sees it."""

    ready: int
    waiting: int
    """Held for want of room or of pods."""
    in_flight: int


def parse(answer: str) -> Reading:
    """The answer to COMMAND. ValueError where it is none."""
    info, mark, table = answer.partition(_TABLE)
    started = next((line for line in info.splitlines() if line.startswith(_STARTED)), None)
    if not mark or started is None:
        raise ValueError(f"HAProxy's answer to `{COMMAND.strip()}` has no statistics: {answer[:200]!r}")
    rows: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO("pxname," + table.strip() + "\n")):
        rows.setdefault(row["pxname"], []).append(row)
    backends = {name: _backend(each) for name, each in rows.items() if each[-1]["svname"] == "BACKEND"}
    fronts = [row for row in rows.get(_ROUTE[0], ()) if row["svname"] == _ROUTE[1]]
    ended = sum(_number(row.get(column, "")) for row in fronts for column in _ANSWERS)
    return Reading(started.removeprefix(_STARTED).strip(), backends, ended)


def load(reading: Reading, target: str) -> TargetLoad:
    """The load of the target with that id."""
    pool = reading.backends.get(f"pool_{target}", Backend())
    hold = reading.backends.get(f"hold_{target}", Backend())
    ready = reading.backends.get(f"ready_{target}", pool).ready
    # While no pod is ready the gate's server only knocks at a door that nobody opens: all that it has waits.
    knocking = hold.in_flight if not ready else 0
    return TargetLoad(
        ready=ready,
        waiting=pool.waiting + hold.waiting + knocking,
        in_flight=pool.in_flight + hold.in_flight - knocking,
    )


def requests(reading: Reading, target: str) -> int:
    """Requests that came for the target since HAProxy started."""
    return sum(reading.backends.get(f"{kind}_{target}", Backend()).requests for kind in ("pool", "hold"))


def _backend(rows: list[dict[str, str]]) -> Backend:
    """HAProxy writes servers first, then the backend itself; a backend's sessions include those that wait, and those at
    the gate, which are counted where it leads to."""
    whole = rows[-1]
    gates = [row for row in rows if (row["pxname"].startswith(_POOL), row["svname"]) == (True, _GATE)]
    waiting, sessions, requests = (
        sum(_number(row[column]) for row in counted) - sum(_number(gate[column]) for gate in gates)
        for column, counted in (("qcur", rows), ("scur", [whole]), ("stot", [whole]))
    )
    return Backend(
        requests=max(0, requests),
        waiting=waiting,
        in_flight=max(0, sessions - waiting),
        ready=_number(whole["act"]) or _number(whole["bck"]),
    )


def _number(text: str) -> int:
    return int(text) if text else 0
