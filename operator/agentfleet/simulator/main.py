"""`agentfleet simulate`: the command line. Options to a scenario, results to a table, JSON or a picture.

With --json nothing but the JSON goes to standard output. Whatever cannot be used ends with exit code 2 and one line on
standard error.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from agentfleet.autoscale.decision import Goal
from agentfleet.durations import parse_duration
from agentfleet.simulator import plot, profiles, report
from agentfleet.simulator.errors import BadInput
from agentfleet.simulator.faults import parse_faults
from agentfleet.simulator.policies import BASELINES, NAMES, parse_policies
from agentfleet.simulator.run import Scenario, run_all
from agentfleet.simulator.shapes import SHAPES

MOST_SEEDS = 1000
FIRST_SEED = 7
CPUS = min(4, os.cpu_count() or 1)
Add = Callable[..., argparse.Action]

EPILOG = f"""traces:
{chr(10).join(f"  {name:9}{shape.about}" for name, shape in SHAPES.items())}
  CSV      columns seconds,prompt_tokens,output_tokens with a header
faults, joined by commas:
  lost-scrapes=30%  outage=600s@3600  renamed[=600s]@3600  nan[=600s]@3600  crash-loop[@600]  quota=GPUS
  renamed=prompt_tokens[:600s]@3600 and nan=… for another number than those of running and waiting requests
policies, as NAME or NAME=SETTING (default); -tuned ones and static find their setting with hindsight:
{chr(10).join(f"  {name:16}{baseline.setting} ({baseline.default:g})" for name, baseline in BASELINES.items())}
  static          replicas
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs; returns the exit code."""
    options = parser().parse_args(argv)
    try:
        return simulate(options)
    except BadInput as error:
        print(f"agentfleet simulate: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2


def simulate(options: argparse.Namespace) -> int:
    """All runs that were asked for; BadInput where something cannot be used."""
    choices = parse_policies(options.policy)
    scenario = _scenario(options)
    if options.plot:
        plot.check(options.plot)
    seeds = [options.first_seed + index for index in range(options.seeds)]
    results = run_all(scenario, choices, seeds, options.jobs, timeline=bool(options.plot))
    if options.plot:
        goal = scenario.slo.time_to_first_token
        plot.write(options.plot, results, goal, f"{options.trace}, {scenario.profile.name}, seed {seeds[0]}")
    text = report.as_json(results, whole=options.json == "full") if options.json else report.as_table(results)
    print(text)  # noqa: T201 - a command's output
    return 0


def _scenario(options: argparse.Namespace) -> Scenario:
    if options.min > options.max:
        raise BadInput(f"--min: {options.min} is above --max {options.max}.")
    if options.start is not None and not options.min <= options.start <= options.max:
        raise BadInput(f"--start: {options.start} is not from --min {options.min} to --max {options.max}.")
    goal = Goal(
        minimum=options.min,
        maximum=options.max,
        time_to_first_token=options.slo_ttft,
        time_per_output_token=options.slo_tpot,
        load_factor=options.load_factor_percent,
        to_zero_after=options.to_zero_after,
    )
    return Scenario(
        trace=options.trace,
        profile=profiles.load_profile(options.profile),
        cold_start=options.cold_start,
        goal=goal,
        faults=parse_faults(options.faults),
        hours=options.hours,
        load=options.load,
        gateway=options.gateway or options.min == 0,
        start=options.start,
    )


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(
        prog="agentfleet simulate",
        description="What a trace of requests would cost and how well it would be served, by autoscaler.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _load_options(result.add_argument_group("load").add_argument)
    _replica_options(result.add_argument_group("replicas").add_argument)
    _policy_options(result.add_argument_group("policies").add_argument)
    _run_options(result.add_argument_group("runs and output").add_argument)
    return result


def _load_options(add: Add) -> None:
    add("--trace", default="diurnal", metavar="NAME|CSV", help="what comes when (default: %(default)s)")
    add("--hours", type=_number(float, 0.01, 744), metavar="N", help="its length (default: the trace's own)")
    add(
        "--load",
        type=_number(float, 0.0001, 1000),
        metavar="N",
        default=1.0,
        help="multiplies a built in trace's rates",
    )
    add("--slo-ttft", type=_duration(0.001, 3600), metavar="TIME", default=2.0, help="first token within (default: 2s)")
    add("--slo-tpot", type=_duration(0.0001, 600), metavar="TIME", default=0.1, help="mean per token (default: 100ms)")


def _replica_options(add: Add) -> None:
    built_in = ", ".join(profiles.names())
    add("--profile", default="a100-8b", metavar="NAME|FILE", help=f"{built_in}, or a file (default: %(default)s)")
    add("--cold-start", type=_duration(0.1, 86400), metavar="TIME", default=120.0, help="mean of them (default: 120s)")
    add("--min", type=_number(int, 0, 1000), metavar="N", default=1, help="fewest replicas (default: %(default)s)")
    add("--max", type=_number(int, 1, 1000), metavar="N", default=12, help="most replicas (default: %(default)s)")
    add("--start", type=_number(int, 0, 1000), metavar="N", help="at the beginning (default: what ten minutes need)")
    add("--faults", metavar="LIST", help="what goes wrong; see below")


def _policy_options(add: Add) -> None:
    add("--policy", default="agentfleet", metavar="LIST", help=f"{', '.join(NAMES)} (default: %(default)s)")
    add("--gateway", action="store_true", help="agentfleet sees a gateway's counts too; implied by --min 0")
    add("--load-factor-percent", type=_percent, metavar="N|Auto", help="agentfleet's own setting (default: Auto)")
    add("--to-zero-after", type=_duration(1, 86400), metavar="TIME", default=900.0, help="with --min 0 (default: 15m)")


def _run_options(add: Add) -> None:
    add(
        "--seeds", type=_number(int, 1, MOST_SEEDS), default=1, metavar="N", help="how many runs (default: %(default)s)"
    )
    add("--first-seed", type=_number(int, 0, 2**31), default=FIRST_SEED, metavar="N", help="(default: %(default)s)")
    add("--jobs", type=_number(int, 1, 64), metavar="N", default=CPUS, help="processes at once (default: %(default)s)")
    add(
        "--json",
        nargs="?",
        const="short",
        choices=("short", "full"),
        help="print a list of objects, one for each policy and seed; full ones say how many requests failed, and more",
    )
    add(
        "--plot", type=Path, metavar="FILE", help="draw demand, replicas and TTFT of the first seed: .png, .svg or .pdf"
    )


def _number(kind: Callable[[str], float], least: float, most: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return value

    return convert


def _duration(least: float, most: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            value = parse_duration(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not from {least:g}s to {most:g}s")
        return value

    return convert


def _percent(text: str) -> float | None:
    return None if text == "Auto" else _number(int, 10, 100)(text) / 100
