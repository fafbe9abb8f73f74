"""spec.scaling.schedule: which bounds hold at a time. Pure.

A window begins when its cron expression says so, in its time zone, and ends after its duration; in summer time as on
the clock of the wall. Expressions and zones were checked before (planning/scaling_goal.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from agentfleet.durations import parse_duration
from agentfleet.resources.scaling import ScheduledBounds


@dataclass(frozen=True, slots=True)
class Bounds:
    """Fewest and most replicas."""

    minimum: int
    maximum: int
    scheduled: bool = False
    """A window holds that changes them."""


def bounds(windows: Sequence[ScheduledBounds], minimum: int, maximum: int, now: datetime) -> Bounds:
    """`minimum` and `maximum` hold where no window says otherwise. Where several windows hold, the larger minReplicas
    and the smaller maxReplicas win; and the maximum wins over a minimum that is above it, for it is what costs."""
    holding = [window for window in windows if holds(window, now)]
    least = [window.min_replicas for window in holding if window.min_replicas is not None]
    most = [window.max_replicas for window in holding if window.max_replicas is not None]
    high = min(most, default=maximum)
    low = max(least, default=minimum)
    return Bounds(min(low, high), high, scheduled=(low, high) != (minimum, maximum))


def holds(window: ScheduledBounds, now: datetime) -> bool:
    """Whether `window` has begun and not yet ended. `now` has a time zone."""
    local = now.astimezone(ZoneInfo(window.time_zone or "UTC"))
    # CronSim looks for what is strictly before: a minute later, this very minute is too.
    begins = CronSim(window.cron, local + timedelta(minutes=1), reverse=True)
    begun = next(begins)
    while begun.timestamp() > now.timestamp():
        begun = next(begins)
    return now.timestamp() < begun.timestamp() + parse_duration(window.duration)
