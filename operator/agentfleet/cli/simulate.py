"""`simulate`: the last hours of a live ModelServer once more, as it is and with a changed spec."""

import asyncio
from argparse import Namespace
from collections.abc import Mapping, Sequence

from agentfleet.autoscale.decision import Goal
from agentfleet.cli import fleet, operators
from agentfleet.cli.api import Api
from agentfleet.cli.output import answer, remark
from agentfleet.cli.server import Server
from agentfleet.cli.table import number, seconds, span, table
from agentfleet.cli.whatif import goals, learnt_of, profile_of, record
from agentfleet.simulator.replay import Recorded, what_if
from agentfleet.simulator.score import Result

_COLD_START = 120.0
_HEADERS = ("SPEC", "REPLICAS", "WITHIN GOAL", "GPU-HOURS", "P99 TTFT", "P99 TPOT", "CHANGES", "REVERSALS")


async def run(arguments: Namespace, api: Api) -> int:
    """A comparison; nothing is changed."""
    namespace = arguments.namespace or api.namespace
    server = await fleet.server(api, namespace, arguments.name)
    compared = goals(server, arguments.changes)
    profile = profile_of(server)
    history = record(await operators.samples(api, arguments.operator_namespace, namespace, server.name))
    cold_start = arguments.cold_start or (server.status.get("coldStart") or {}).get("total") or _COLD_START
    remark(_about(server, history, cold_start))
    start, learnt = max(1, server.wanted), learnt_of(server)
    results = await asyncio.to_thread(
        what_if, history, profile, compared, cold_start, arguments.seed, learnt=learnt, start=start
    )
    answer(arguments.output, text(results, compared), [result.promised() for result in results])
    return 0


def _about(server: Server, history: Sequence[Recorded], cold_start: float) -> str:
    length = history[-1].seconds - history[0].seconds
    rates = [look.requests_per_second for look in history[:-1]]
    return (
        f"{server.namespace}/{server.name}: the last {span(length)}, {number(min(rates))} to {number(max(rates))} "
        f"requests/s, with cold starts of {seconds(float(cold_start))}. Single requests are drawn: it is an estimate."
    )


def text(results: Sequence[Result], compared: Mapping[str, Goal]) -> str:
    """A line for each spec."""
    rows = [
        (
            result.policy,
            _bounds(compared[result.policy]),
            f"{result.slo_percent:.2f}%",
            number(result.gpu_hours),
            seconds(result.p99_ttft_s),
            seconds(result.p99_tpot_s),
            str(result.changes),
            str(result.reversals),
        )
        for result in results
    ]
    return table(_HEADERS, rows)


def _bounds(goal: Goal) -> str:
    return str(goal.minimum) if goal.minimum == goal.maximum else f"{goal.minimum} to {goal.maximum}"
