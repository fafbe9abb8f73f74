"""Runs: one policy on one trace, and all that were asked for, with settings found by hindsight where that is wanted."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from agentfleet.autoscale.decision import Goal, Learnt
from agentfleet.simulator.faults import Faults
from agentfleet.simulator.fleet import Fleet
from agentfleet.simulator.policies import BASELINES, STATIC, Choice, Surroundings, fewest, install
from agentfleet.simulator.product import Product
from agentfleet.simulator.profiles import Profile
from agentfleet.simulator.score import Result, Slo, grace, score
from agentfleet.simulator.shapes import load_trace
from agentfleet.simulator.traces import Trace

ENOUGH = 99.9
"""Percent of requests within the goal that hindsight looks for."""

WARM_UP = 600.0
START_LOAD = 0.8
"""A run starts with as many replicas as its first ten minutes need at this share of their capacity."""


@dataclass(frozen=True)
class Scenario:
    """Everything but policy and seed."""

    trace: str
    profile: Profile
    cold_start: float = 120.0
    goal: Goal = field(default_factory=lambda: Goal(maximum=12))
    faults: Faults = field(default_factory=Faults)
    hours: float | None = None
    load: float = 1.0
    gateway: bool = False
    start: int | None = None
    """Replicas that serve from the start; None for as many as are needed."""
    learnt: Learnt | None = None
    """What the product's policy knows from the start, as after a restart of the operator."""

    @property
    def slo(self) -> Slo:
        """The goal of one request."""
        return Slo(self.goal.time_to_first_token, self.goal.time_per_output_token)


@dataclass(frozen=True)
class Job:
    """One run."""

    choice: Choice
    seed: int
    timeline: bool = False


@lru_cache(maxsize=2)
def _trace(name: str, seed: int, hours: float | None, load: float) -> Trace:
    """All policies of a seed run on the same one; making it takes a while."""
    return load_trace(name, seed, hours, load)


def run(scenario: Scenario, job: Job, trace: Trace | None = None) -> Result:
    """One run."""
    return run_observed(scenario, job, trace)[0]


def run_observed(scenario: Scenario, job: Job, trace: Trace | None = None) -> tuple[Result, Product | None]:
    """One run, and the product's policy as it was at the end."""
    if trace is None:
        trace = _trace(scenario.trace, job.seed, scenario.hours, scenario.load)
    goal, choice = scenario.goal, job.choice
    fleet = Fleet(trace, scenario.profile, scenario.cold_start, job.seed, scenario.faults.quota)
    fixed = int(choice.setting or 0) if choice.name == STATIC else None
    fleet.begin(max(fewest(choice, goal), first_replicas(scenario, trace)) if fixed is None else fixed)
    product = install(choice, Surroundings(fleet, scenario.faults, goal, scenario.gateway, scenario.learnt))
    if scenario.faults.crash_at is not None:
        fleet.at(scenario.faults.crash_at, fleet.crash)
    fleet.run(grace(scenario.slo, trace.outputs))
    setting = None if choice.setting is None else f"{choice.setting:g}"
    result = score(fleet, choice.label, scenario.slo, setting=setting, timeline=job.timeline)
    if product is None or product.last is None:
        return result, product
    return replace(result, suggested_minimum=product.last.suggested_minimum), product


def first_replicas(scenario: Scenario, trace: Trace) -> int:
    """Replicas that serve when the trace begins, the same for every policy but `static`."""
    if scenario.start is not None:
        return min(scenario.goal.maximum, max(scenario.goal.minimum, scenario.start))
    early = bisect_left(trace.seconds, WARM_UP) / min(WARM_UP, trace.duration)
    needed = math.ceil(early / (START_LOAD * _capacity(scenario, trace)))
    return min(scenario.goal.maximum, max(scenario.goal.minimum, needed))


def _capacity(scenario: Scenario, trace: Trace) -> float:
    prompt, output = trace.means if len(trace) else (1.0, 1.0)
    return scenario.profile.requests_per_second(prompt, output, scenario.goal.time_per_output_token)


def run_all(
    scenario: Scenario, choices: Sequence[Choice], seeds: Sequence[int], jobs: int, *, timeline: bool = False
) -> list[Result]:
    """Every policy with every seed, in the order of `choices`; up to `jobs` processes. The plot's timeline is of the
    first seed."""
    _trace(scenario.trace, seeds[0], scenario.hours, scenario.load)  # bad input is told here, not by a child
    if jobs == 1:
        return _run_all(scenario, choices, seeds, partial(map, partial(run, scenario)), timeline)
    with ProcessPoolExecutor(jobs) as pool:
        return _run_all(scenario, choices, seeds, partial(pool.map, partial(run, scenario)), timeline)


Runner = Callable[[Iterable[Job]], Iterable[Result]]


def _run_all(
    scenario: Scenario, choices: Sequence[Choice], seeds: Sequence[int], runner: Runner, timeline: bool
) -> list[Result]:
    settled = [tuned(scenario, choice, seeds[0], runner) if choice.needs_hindsight else choice for choice in choices]
    # seed by seed, so that a process makes each trace once; told policy by policy
    results = list(runner([Job(choice, seed, timeline and seed == seeds[0]) for seed in seeds for choice in settled]))
    return [result for index in range(len(settled)) for result in results[index :: len(settled)]]


def tuned(scenario: Scenario, choice: Choice, seed: int, runner: Runner) -> Choice:
    """The choice with the setting that hindsight finds: fewest GPU-hours among those that reach 99.9 %, else the best
    reached."""
    trace = _trace(scenario.trace, seed, scenario.hours, scenario.load)
    if choice.name == STATIC:
        return _smallest_static(scenario, choice, seed, trace, runner)
    prompt, output = trace.means if len(trace) else (1.0, 1.0)
    knee = scenario.profile.concurrency(prompt, output, scenario.goal.time_per_output_token)
    candidates = [replace(choice, setting=setting) for setting in BASELINES[choice.name].grid(knee)]
    results = list(runner([Job(candidate, seed) for candidate in candidates]))
    best = min(
        range(len(candidates)),
        key=lambda index: (-min(ENOUGH, results[index].slo_percent), results[index].gpu_hours),
    )
    return candidates[best]


def _smallest_static(scenario: Scenario, choice: Choice, seed: int, trace: Trace, runner: Runner) -> Choice:
    """The fewest replicas that reach 99.9 %; what is enough stays enough with more, so by bisection."""
    low, high = max(1, scenario.goal.minimum), scenario.goal.maximum
    while low < high:
        middle = (low + high) // 2
        (result,) = runner([Job(replace(choice, setting=float(middle)), seed)])
        low, high = (low, middle) if result.slo_percent >= ENOUGH else (middle + 1, high)
    return replace(choice, setting=float(low))
