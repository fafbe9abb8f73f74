"""What holds around one server when the loop decides: bounds, budget, rollout, sizes. Pure."""

from datetime import UTC, datetime

from agentfleet.autoscale.decision import Situation
from agentfleet.autoscale.schedule import bounds
from agentfleet.planning.scaling_types import Standing


def situation(standing: Standing, wanted: int, gateway: bool, affordable: int | None, now: float) -> Situation:
    """`wanted` is what there shall be now, which may be newer than the standing; `gateway`: somebody counts requests
    for it."""
    windows = standing.spec.scaling.schedule if standing.spec.scaling else ()
    held = bounds(windows, standing.goal.minimum, standing.goal.maximum, datetime.fromtimestamp(now, UTC))
    # A server without pods sees no requests itself; but one that its user has taken to zero stays there.
    by_hand = standing.mode != "Apply" and wanted == 0
    minimum = held.minimum if gateway or by_hand else max(1, held.minimum)
    return Situation(
        wanted=wanted,
        minimum=minimum,
        maximum=max(minimum, held.maximum),
        scheduled=held.scheduled,
        affordable=affordable,
        rolling=standing.rolling,
        cold_start=standing.cold_start,
        tensor=standing.tensor,
        tensors=standing.tensors,
    )
