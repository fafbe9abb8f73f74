"""`report`: the last window as status tells it, and the samples that the operator keeps in memory."""

import csv
import io
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agentfleet.cli import fleet, operators
from agentfleet.cli.api import Api
from agentfleet.cli.output import answer, remark
from agentfleet.cli.server import Server, decimal
from agentfleet.cli.table import clock, data_size, fields, number, seconds, table

Sample = Mapping[str, Any]

_SHOWN = 5
"""Samples of each replica, unless other numbers are asked for."""

_COLUMNS: dict[str, Callable[[Sample], str]] = {
    "REQ/S": lambda each: number(each.get("requestsPerSecond")),
    "TOKENS/S": lambda each: number(each.get("outputTokensPerSecond")),
    "LATENCY": lambda each: seconds(each.get("latencySeconds")),
    "RUNNING": lambda each: number(each.get("running")),
    "WAITING": lambda each: number(each.get("waiting")),
    "GPU": lambda each: number(each.get("gpuUtilizationPercent"), " %"),
    "GPU MEMORY": lambda each: data_size(each.get("gpuMemoryBytes")),
    "CPU": lambda each: number(each.get("cpuCores")),
    "MEMORY": lambda each: data_size(each.get("memoryBytes")),
    "PROMPT": lambda each: number(each.get("promptTokens")),
    "OUTPUT": lambda each: number(each.get("outputTokens")),
}


async def run(arguments: Namespace, api: Api) -> int:
    """Where the operator's memory cannot be read, the report of status is shown all the same."""
    namespace = arguments.namespace or api.namespace
    server = await fleet.server(api, namespace, arguments.name)
    where = (arguments.operator_namespace, namespace, server.name)
    if arguments.csv:
        sys.stdout.write(as_csv(await operators.samples(api, *where, arguments.samples)))
        return 0
    count = _SHOWN if arguments.samples is None else arguments.samples
    samples: dict[str, Any] | None = None
    if count:
        try:
            samples = await operators.samples(api, *where, count)
        except operators.NoOperator as error:
            remark(f"warning: {error}")
    answer(arguments.output, text(server, samples), {"report": server.report, "samples": samples})
    return 0


def text(server: Server, samples: Mapping[str, Any] | None) -> str:
    """The report, and the samples where there are some."""
    parts = [f"{server.namespace}/{server.name}", _report(server.report)]
    return "\n\n".join([*parts, _samples(samples)] if samples is not None else parts)


def _report(report: Mapping[str, Any]) -> str:
    if not report:
        return "No report yet: the first one comes when a window has passed."
    latency = report.get("latency") or {}
    times = ", ".join(f"{name} {seconds(decimal(latency.get(name)))}" for name in ("mean", "p50", "p95", "max"))
    pairs = [
        ("window", f"{report['window']} until {report['until']}, {report['samples']} samples"),
        ("requests", number(decimal(report.get("requestsPerSecond")), "/s")),
        ("latency", times),
        ("errors", number(decimal(report.get("errorRatePercent")), " %")),
        ("longest queue", number(report.get("maxQueue"))),
        ("GPU", number(decimal(report.get("gpuUtilizationPercent")), " %")),
        ("availability", number(decimal(report.get("availabilityPercent")), " %")),
        *(
            ("advice", f"{each['type']} {each['instance']}: {each['reason']}. {each['suggestion']}")
            for each in report.get("recommendations") or ()
        ),
    ]
    return fields(pairs)


def _samples(answered: Mapping[str, Any]) -> str:
    rows = [
        (replica, clock(each["at"]), *(column(each) for column in _COLUMNS.values()))
        for replica, samples in _replicas(answered)
        for each in samples
    ]
    if not rows:
        return "No samples yet."
    title = f"The last samples, one of {answered['interval']:g} seconds each (UTC):"
    return f"{title}\n{table(('REPLICA', 'TIME', *_COLUMNS), rows)}"


def as_csv(answered: Mapping[str, Any]) -> str:
    """All samples, a line each: replica, time and every value that the operator has; unknown ones are empty."""
    rows = [(replica, each) for replica, samples in _replicas(answered) for each in samples]
    names = sorted({name for _, each in rows for name in each} - {"at"})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("replica", "time", *names))
    for replica, each in rows:
        time = datetime.fromtimestamp(each["at"], UTC).isoformat(timespec="seconds")
        writer.writerow((replica, time, *(_cell(each.get(name)) for name in names)))
    return out.getvalue()


def _cell(value: Any) -> str:
    return "" if value is None else json.dumps(value)


def _replicas(answered: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Sample]]]:
    for replica in answered["replicas"]:
        yield replica["replica"], replica["samples"]
