"""Results as a table for people, or as JSON for programs."""

import json
import math
import statistics
from collections.abc import Callable, Sequence

from agentfleet.simulator.score import Result

HEADER = ("policy", "SLO %", "GPU-hours", "p99 TTFT s", "p99 TPOT ms", "changes", "reversals")


def as_json(results: Sequence[Result], *, whole: bool = False) -> str:
    """A list of objects, one for each policy and seed."""
    return json.dumps([result.told() if whole else result.promised() for result in results], indent=2)


def as_table(results: Sequence[Result]) -> str:
    """One line for each policy: means over the seeds, ± the standard deviation of the seeds."""
    labels = list(dict.fromkeys(result.policy for result in results))
    rows = [HEADER, *(_row(label, [result for result in results if result.policy == label]) for label in labels)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, *_notes(results)])


def _row(label: str, results: Sequence[Result]) -> tuple[str, ...]:
    def spread(read: Callable[[Result], float], digits: int) -> str:
        values = [read(result) for result in results]
        if any(math.isnan(value) for value in values):
            return "–"  # noqa: RUF001 - a dash for what there is none of
        mean = f"{statistics.fmean(values):.{digits}f}"
        return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"

    setting = results[0].setting
    return (
        label if setting is None or "=" in label else f"{label} [{setting}]",
        spread(lambda result: result.slo_percent, 2),
        spread(lambda result: result.gpu_hours, 2),
        spread(lambda result: result.p99_ttft_s, 2),
        spread(lambda result: result.p99_tpot_s * 1000, 0),
        spread(lambda result: result.changes, 0),
        spread(lambda result: result.reversals, 0),
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]


def _notes(results: Sequence[Result]) -> list[str]:
    """What a reader has to know beside the numbers."""
    notes = [
        f"{result.policy}, seed {result.seed}: {result.failed} requests failed" for result in results if result.failed
    ]
    suggested = [result.suggested_minimum for result in results if result.suggested_minimum]
    if suggested:
        notes.append(
            f"agentfleet suggests minReplicas {max(suggested)}: load jumps faster than replicas start here, and only "
            "replicas that run already meet it."
        )
    if any(result.policy in ("static",) or result.policy.endswith("-tuned") for result in results):
        notes.append("Settings in brackets were found with hindsight, on this trace; agentfleet has none.")
    return ["", *notes] if notes else []
