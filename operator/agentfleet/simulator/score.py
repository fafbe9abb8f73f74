"""What a run was worth: the share of requests that met the goal, what it cost, and how restless the policy was."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from agentfleet.simulator.fleet import Change, Fleet

REVERSAL_WITHIN = 600.0
"""A change in the other direction so soon after the last one is a reversal."""

PLOT_BIN = 60.0


@dataclass(frozen=True)
class Slo:
    """The goal of one request."""

    time_to_first_token: float = 2.0
    time_per_output_token: float = 0.1


PROMISED = ("policy", "seed", "slo_percent", "gpu_hours", "p99_ttft_s", "p99_tpot_s", "changes", "reversals")


@dataclass(frozen=True)
class Result:
    """One policy on one trace; `--json` prints those that are PROMISED."""

    policy: str
    seed: int
    slo_percent: float
    gpu_hours: float
    p99_ttft_s: float
    p99_tpot_s: float
    changes: int
    reversals: int
    setting: str | None = None
    """What a tuned policy was set to, or how many replicas `static` has."""
    requests: int = 0
    failed: int = 0
    """Refused, or lost with an engine that died."""
    unfinished: int = 0
    peak_replicas: int = 0
    suggested_minimum: int | None = None
    timeline: "Timeline | None" = None

    def promised(self) -> dict[str, object]:
        """For `--json`."""
        return {name: value for name, value in self.told().items() if name in PROMISED}

    def told(self) -> dict[str, object]:
        """For `--json=full`."""
        digits = {"slo_percent": 4, "gpu_hours": 3, "p99_ttft_s": 4, "p99_tpot_s": 4}
        values = {name: value for name, value in vars(self).items() if name != "timeline"}
        rounded = {name: round(value, digits[name]) if name in digits else value for name, value in values.items()}
        # JSON has no NaN, which percentiles of nothing are
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in rounded.items()
        }


@dataclass(frozen=True)
class Timeline:
    """What a plot shows; in bins of a minute."""

    minutes: Sequence[float]
    demand: Sequence[float]
    """Requests per second."""
    ttft: Sequence[float]
    """99th percentile by minute of arrival; NaN where none came."""
    supply: Sequence[tuple[float, int]] = field(default_factory=tuple)
    """(seconds, ready replicas) at each change."""


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank of sorted values; NaN of none."""
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else math.nan


def reversals(changes: Sequence[Change]) -> int:
    """Changes in the other direction soon after the one before."""
    turned = 0
    for last, change in pairwise(changes):
        opposite = (change.after > change.before) != (last.after > last.before)
        turned += opposite and change.time - last.time <= REVERSAL_WITHIN
    return turned


def grace(slo: Slo, outputs: Sequence[int]) -> float:
    """Seconds after the trace's end within which whatever meets the goal has ended."""
    return slo.time_to_first_token + slo.time_per_output_token * max(outputs, default=0)


def score(fleet: Fleet, policy: str, slo: Slo, *, setting: str | None = None, timeline: bool = False) -> Result:
    """What is unfinished counts as missed, and as if its first token came at the end."""
    trace, journal = fleet.trace, fleet.journal
    end = trace.duration + grace(slo, trace.outputs)
    ttfts: list[float] = []
    tpots: list[float] = []
    met = unfinished = 0
    for request, arrived in enumerate(trace.seconds):
        first, ended = journal.first[request], journal.ended[request]
        if request in journal.failed:
            continue
        ttft = (end if math.isnan(first) else first) - arrived
        ttfts.append(ttft)
        if math.isnan(ended):
            unfinished += 1
            continue
        tokens = trace.outputs[request] - 1
        tpot = (ended - first) / tokens if tokens else 0.0
        tpots.append(tpot)
        met += ttft <= slo.time_to_first_token and tpot <= slo.time_per_output_token
    series = _timeline(fleet, end) if timeline else None
    ttfts.sort()
    tpots.sort()
    return Result(
        policy=policy,
        seed=fleet.seed,
        slo_percent=100 * met / len(trace) if len(trace) else 100.0,
        gpu_hours=fleet.gpu_seconds() / 3600,
        p99_ttft_s=percentile(ttfts, 0.99),
        p99_tpot_s=percentile(tpots, 0.99),
        changes=len(fleet.changes),
        reversals=reversals(fleet.changes),
        setting=setting,
        requests=len(trace),
        failed=len(journal.failed),
        unfinished=unfinished,
        peak_replicas=max((replicas for _, replicas in fleet.supply), default=0),
        timeline=series,
    )


def _timeline(fleet: Fleet, end: float) -> Timeline:
    bins: list[list[float]] = [[] for _ in range(math.ceil(fleet.trace.duration / PLOT_BIN))]
    for arrived, first in zip(fleet.trace.seconds, fleet.journal.first, strict=True):
        bins[min(len(bins) - 1, int(arrived / PLOT_BIN))].append((end if math.isnan(first) else first) - arrived)
    return Timeline(
        minutes=[index * PLOT_BIN / 60 for index in range(len(bins))],
        demand=[len(values) / PLOT_BIN for values in bins],
        ttft=[percentile(sorted(values), 0.99) for values in bins],
        supply=fleet.supply,
    )
