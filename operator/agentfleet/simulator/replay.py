"""What if: the last hours of a live server again, under other goals.

    recorded rates and lengths ─▶ a trace like them ─┐
    learnt step model ─▶ a profile ──────────────────┴▶ one run for each goal

A record has rates and means, no single requests: arrivals between two looks are drawn, with a given burstiness, and so
are lengths, as lognormal around the means. The same seed gives every goal the same requests.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agentfleet.autoscale.decision import Goal, Learnt, Step
from agentfleet.simulator.errors import BadInput
from agentfleet.simulator.policies import PRODUCT, Choice
from agentfleet.simulator.profiles import Profile
from agentfleet.simulator.run import Job, Scenario, run
from agentfleet.simulator.score import Result
from agentfleet.simulator.traces import Trace, gamma_arrivals, stream

BURSTINESS = 1.1
"""CV of the gaps between requests: that of chats with people."""

PROMPT_SIGMA, OUTPUT_SIGMA = 0.985, 0.859
"""Of the logarithm of lengths: those of the conversations that Azure published in 2023."""

LONGEST = 8
"""No length is more than so many means."""

LEAST_MILLISECONDS = 0.001
"""Of a step: a model that was learnt from little may have none."""


@dataclass(frozen=True)
class Recorded:
    """One look at a live server; rate and means hold until the next."""

    seconds: float
    """Of any clock: only differences count."""
    requests_per_second: float
    prompt_tokens: float
    """Of a mean prompt."""
    output_tokens: float


def recorded_trace(history: Sequence[Recorded], seed: int, burstiness: float = BURSTINESS) -> Trace:
    """Requests as they may have come; BadInput where the record shows no time."""
    looks = sorted(history, key=lambda look: look.seconds)
    if len(looks) < 2 or looks[-1].seconds <= looks[0].seconds:
        raise BadInput(
            f"the record has {len(looks)} samples; two or more, of different times, are needed to replay it."
        )
    start, duration = looks[0].seconds, looks[-1].seconds - looks[0].seconds
    by_second: list[Recorded] = []
    for look, following in pairwise(looks):
        by_second.extend([look] * (math.ceil(following.seconds - start) - len(by_second)))
    arrivals = gamma_arrivals(
        lambda second: by_second[min(int(second), len(by_second) - 1)].requests_per_second,
        duration,
        burstiness,
        stream(seed, "recorded", "arrivals"),
    )
    draw = stream(seed, "recorded", "lengths")
    then = [by_second[min(int(second), len(by_second) - 1)] for second in arrivals]
    prompts = [_length(look.prompt_tokens, PROMPT_SIGMA, draw) for look in then]
    outputs = [_length(look.output_tokens, OUTPUT_SIGMA, draw) for look in then]
    return Trace("recorded", arrivals, prompts, outputs, duration)


def _length(mean: float, sigma: float, draw: random.Random) -> int:
    """Lognormal with this mean."""
    if mean <= 1:
        return 1
    return max(1, min(round(LONGEST * mean), round(draw.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma))))


def learnt_profile(
    step: Step, kv_tokens: int, max_running: int, *, token_budget: int = 2048, gpus_per_replica: int = 1
) -> Profile:
    """A replica as the loop has come to know it from its counters."""
    points = tuple(
        (tokens, max(LEAST_MILLISECONDS, 1000 * (step.base + step.per_token * tokens))) for tokens in (1, token_budget)
    )
    return Profile(
        name="learnt",
        gpus_per_replica=gpus_per_replica,
        max_running=max_running,
        token_budget=token_budget,
        kv_tokens=kv_tokens,
        step_milliseconds=points,
        step_overhead_milliseconds=0,
        per_request_microseconds=0,
        per_kv_token_nanoseconds=1e9 * step.per_kv_token,
    )


def what_if(
    history: Sequence[Recorded],
    profile: Profile,
    goals: Mapping[str, Goal],
    cold_start: float,
    seed: int,
    *,
    learnt: Learnt | None = None,
    gateway: bool = False,
    start: int | None = None,
) -> list[Result]:
    """One result for each goal, named by its key, in the order of `goals`."""
    trace = recorded_trace(history, seed)
    return [
        run(
            Scenario(
                trace=trace.name,
                profile=profile,
                cold_start=cold_start,
                goal=goal,
                gateway=gateway or goal.minimum == 0,
                start=start,
                learnt=learnt,
            ),
            Job(Choice(name, PRODUCT), seed),
            trace,
        )
        for name, goal in goals.items()
    ]
