"""What holds around one server when the loop decides: bounds, budget, rollout, sizes. Pure."""

from agentfleet.autoscale.decision import Situation
from agentfleet.planning.scaling_types import Standing


def situation(standing: Standing, wanted: int, demand_sources: int, affordable: int | None, now: float) -> Situation:
    """`wanted` is what there shall be now, which may be newer than the standing."""
    goal = standing.goal
    minimum, maximum, scheduled = goal.minimum, goal.maximum, False
    if minimum == 0 and not demand_sources:
        minimum = 1
    return Situation(
        wanted=wanted,
        minimum=minimum,
        maximum=max(minimum, maximum),
        scheduled=scheduled,
        affordable=affordable,
        rolling=standing.rolling,
        cold_start=standing.cold_start,
        tensor=standing.tensor,
        tensors=standing.tensors,
    )
