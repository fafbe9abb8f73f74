"""How many replicas the load needs, before any bound. Pure."""

import math
from dataclasses import dataclass

from agentfleet.autoscale.decision import Binding
from agentfleet.autoscale.forecast import Outlook
from agentfleet.autoscale.limits import Capacity

_NOISE_SMOOTH, _NOISE_BURSTY = 1.0, 1.5
"""Standard deviations of ten seconds' demand that are held in reserve. With 1.8 of them, 999 of 1000 requests meet the
goal under any steady load, for one replica as for eight; where arrivals are no more than random, fewer do, since whole
replicas are mostly more than what is needed."""
_SMOOTH, _BURSTY = 1.5, 3.0
"""Variance of demand as a share of its mean: 1 is random."""
_NOISE_OF_JUMPS = 1.1
"""So many of them are in the peaks of half minutes already."""
_DRAIN = 30.0
"""Seconds within which a backlog shall be gone."""
_AHEAD = 8
"""Steps in which the time until new replicas serve is looked at."""
_SLOT_NOISE = 1.6
"""Where requests wait for a free slot: standard deviations of a Poisson number of requests at once."""
LEAST = 0.1
"""Smallest load factor that is told."""


@dataclass(frozen=True, slots=True)
class Need:
    """Replicas that the load calls for."""

    replicas: int
    lasting: int
    """Those of them that are not for a trend or a backlog, which pass."""
    binding: Binding
    """Demand or Backlog."""
    demand: float
    forecast: float
    planned: float
    """The demand that replicas are counted for: forecast and reserve."""
    load_factor: float
    """Share of the capacity that `forecast` may take."""
    backlog: float
    per_replica: float
    sure: bool
    """Enough is known of the capacity to take a replica away."""

    @property
    def inputs(self) -> dict[str, float]:
        """For a decision."""
        return {
            "demand": self.demand,
            "forecast": self.forecast,
            "capacity": self.per_replica,
            "loadFactor": self.load_factor,
            "backlog": self.backlog,
        }

    def planned_for(self, replicas: int) -> float:
        """Demand that so many replicas are meant for."""
        return self.load_factor * self.per_replica * replicas

    def load(self, replicas: int) -> float:
        """Share of the capacity of so many replicas that the forecast takes."""
        return self.forecast / (self.per_replica * replicas) if replicas > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Supply:
    """Replicas that serve, and those on their way."""

    ready: int
    due: tuple[float, ...]
    """Seconds until each pending one is expected to serve."""
    horizon: float
    """Seconds until one that is asked for now would."""


def backlog_ahead(outlook: Outlook, per_replica: float, backlog: float, supply: Supply) -> float:
    """Requests that will wait when a replica that is asked for now begins to serve."""
    step = supply.horizon / _AHEAD
    slope = (max(outlook.now, outlook.trend) - outlook.now) / supply.horizon
    for index in range(_AHEAD):
        time = (index + 0.5) * step
        serving = supply.ready + sum(due <= time for due in supply.due)
        backlog = max(0.0, backlog + (outlook.now + slope * time - serving * per_replica) * step)
    return backlog


def need(
    outlook: Outlook, capacity: Capacity, fixed: float | None, backlog: float, trust: float, supply: Supply
) -> Need:
    """`fixed` is the load factor of the spec, None for Auto; `trust` is below 1 where the model promised too much."""
    per_replica = capacity.per_replica * trust
    forecast = max(outlook.now, outlook.trend)
    if fixed is not None:
        planned, lasting = forecast / fixed, outlook.now / fixed
    else:
        deviations = _deviations(outlook.burstiness)
        jumps = outlook.jumps + (deviations - _NOISE_OF_JUMPS) * outlook.noise
        planned = max(forecast + deviations * outlook.noise, jumps)
        lasting = max(outlook.now + deviations * outlook.noise, jumps)
    if capacity.hard and capacity.batch > 0:
        # Demand as requests at once: of a Poisson number, few may find all slots taken.
        at_once = forecast / capacity.per_replica * capacity.batch
        slots = at_once + _SLOT_NOISE * math.sqrt(at_once)
        planned = max(planned, slots / capacity.batch * capacity.per_replica)
    by_demand = _whole(planned / per_replica)
    # Requests at once, as demand is where nobody counts requests, have those that wait among them.
    ahead = 0.0 if capacity.seconds is None else backlog_ahead(outlook, per_replica, backlog, supply)
    by_backlog = _whole((forecast + ahead / _DRAIN) / per_replica)
    return Need(
        replicas=max(by_demand, by_backlog),
        lasting=min(by_demand, _whole(lasting / per_replica)),
        binding="Backlog" if by_backlog > by_demand else "Demand",
        demand=outlook.now,
        forecast=forecast,
        planned=planned,
        load_factor=max(LEAST, min(1.0, forecast / planned)) if planned > 0 else 1.0,
        backlog=ahead,
        per_replica=per_replica,
        sure=capacity.known,
    )


def idle_need(at_once: float, mean: float) -> Need:
    """Of a server that next to nobody asks, and of which nothing else is known: one replica, none while none asks."""
    replicas = 1 if at_once > 0 else 0
    return Need(replicas, replicas, "Demand", at_once, max(at_once, mean), 1.0, 1.0, 0.0, 1.0, sure=True)


def _deviations(burstiness: float) -> float:
    share = min(1.0, max(0.0, (burstiness - _SMOOTH) / (_BURSTY - _SMOOTH)))
    return _NOISE_SMOOTH + share * (_NOISE_BURSTY - _NOISE_SMOOTH)


def _whole(replicas: float) -> int:
    """Rounded up; what is a thousandth too much is not another replica."""
    return max(0, math.ceil(replicas - 1e-3))
