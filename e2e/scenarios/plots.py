"""Pictures of what a scenario saw: load, replicas and waiting over time. For the documentation; judges nothing."""

from __future__ import annotations

from pathlib import Path

from e2e.scenarios.replicas import Record
from e2e.traffic import Traffic

_WINDOW = 5.0
"""Seconds over which requests are counted."""


def draw(path: Path, traffic: Traffic, record: Record) -> None:
    """Write a PNG: requests per second, replicas, and each stream's wait for its first token."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import, and only for who wants pictures

    figure = Figure(figsize=(9, 7), layout="constrained")
    load, replicas, waits = figure.subplots(3, sharex=True)
    begun = sorted(request.began for request in traffic.requests)
    ticks = [_WINDOW * step for step in range(1, int(traffic.now / _WINDOW))]
    load.plot(ticks, [sum(at - _WINDOW < each <= at for each in begun) / _WINDOW for at in ticks])
    load.set_ylabel("requests/s")
    seconds = [look.at - traffic.since for look in record.looks]
    replicas.step(seconds, [look.wanted for look in record.looks], where="post", label="wanted")
    replicas.step(seconds, [look.ready for look in record.looks], where="post", linestyle="--", label="serving")
    replicas.set_ylim(bottom=0)
    replicas.set_ylabel("replicas")
    replicas.legend(loc="upper right")
    streams = [request for request in traffic.requests if request.first_token is not None]
    waits.plot([each.began for each in streams], [each.first_token for each in streams], ".")
    waits.set_ylabel("first token after (s)")
    waits.set_xlabel("seconds")
    for phase in dict.fromkeys(request.phase for request in traffic.requests):
        since = min(request.began for request in traffic.requests if request.phase == phase)
        for axes in (load, replicas, waits):
            axes.axvline(since, color="0.8", zorder=0)
        load.annotate(phase, (since, 1.02), xycoords=("data", "axes fraction"), fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
