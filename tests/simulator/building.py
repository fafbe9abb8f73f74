"""Small profiles and traces that can be reckoned by hand."""

from collections.abc import Sequence
from typing import Any

from agentfleet.simulator.engine import Engine
from agentfleet.simulator.fleet import Fleet
from agentfleet.simulator.profiles import Profile
from agentfleet.simulator.traces import Journal, Trace

DEFAULTS: dict[str, Any] = {
    "kv_tokens": 1000,
    "step_milliseconds": ((1, 10.0), (101, 110.0)),
    "step_overhead_milliseconds": 0.0,
    "per_request_microseconds": 0.0,
    "token_budget": 100,
    "max_running": 8,
}


def profile(**changes: Any) -> Profile:
    """Steps of 9 ms + 1 ms a token; 100 tokens a step; everything else free."""
    return Profile(**(DEFAULTS | changes))


def trace(*requests: tuple[float, int, int], duration: float = 60.0) -> Trace:
    """From (seconds, prompt tokens, output tokens)."""
    seconds, prompts, outputs = zip(*requests, strict=True) if requests else ((), (), ())
    return Trace("by hand", list(seconds), list(prompts), list(outputs), duration)


def engine_of(requests: Sequence[tuple[float, int, int]], **changes: Any) -> tuple[Engine, Journal]:
    """An engine through which these went to their end."""
    them = trace(*requests)
    journal = Journal(them)
    engine = Engine(profile(**changes), them, journal, 0.0)
    for request, second in enumerate(them.seconds):
        engine.advance(second)
        engine.add(request, second)
    engine.advance(10_000)
    return engine, journal


def fleet_of(them: Trace, replicas: int = 1, *, cold_start: float = 10.0, **changes: Any) -> Fleet:
    """A fleet before its run."""
    fleet = Fleet(them, profile(**changes), cold_start, seed=1)
    fleet.begin(replicas)
    return fleet
