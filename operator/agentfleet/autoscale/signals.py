"""Ticks made sense of: which replicas are seen, what they did since the last look, what comes in at the entrance. Pure.

    Tick ─ Signals.take ─▶ View (what holds now) and Intervals (what each replica did)

Missing, stale and zero are three things here, and stay three. A replica that is silent is taken to do what the others
do, for a while; one that is gone or just came is no fall or jump of demand, since only growth between two looks at the
same engine counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter

from agentfleet.autoscale.decision import DataQuality
from agentfleet.autoscale.intervals import Interval, Look, interval
from agentfleet.autoscale.samples import DemandSample, EngineSample, Replica, Tick

FRESH = 15.0
"""Three looks: older data is stale."""
_LONGEST_LOOK = 5.0
"""Answers come while a look goes on; what claims to be younger than that is of another clock."""
_FORGOTTEN = 120.0
"""A replica that was silent for so long is Missing; before, it is Stale."""
_STUCK_COLD_STARTS = 2.0
_STUCK_AT_LEAST = 60.0
_LONGEST_START = 1800.0
"""How long a replica may take to start before it no longer counts as on its way; where no cold start is known."""

_ABSURD = 1e18
"""No engine has counted so far."""

_NUMBERS = (
    "running", "waiting", "completed", "failed", "aborted", "prompt_tokens", "output_tokens", "prompt_seconds",
    "output_seconds", "steps", "step_tokens", "kv_used", "kv_tokens", "preemptions", "tokens_per_second",
)  # fmt: skip
_numbers = attrgetter(*_NUMBERS)

CRASHES = frozenset(
    {"EngineDied", "OutOfMemory", "AgentDied", "AgentOutOfMemory", "CrashLoop", "CrashLoopBackOff", "Error"}
)
"""Problems of one replica; all others mean that further ones would not start either."""


@dataclass(frozen=True, slots=True)
class View:
    """What holds at one tick. Sums are over the replicas that are fresh."""

    now: float
    ready: int
    """Replicas that serve and stay."""
    fresh: int
    """Those whose sample is fresh and whole."""
    pending: tuple[Replica, ...]
    """On their way, nothing wrong yet."""
    crashed: tuple[Replica, ...]
    blocked: tuple[Replica, ...]
    """They cannot start, and others could not either."""
    stuck: tuple[Replica, ...]
    """Older than two cold starts, and nobody says why."""
    leaving: int
    quality: DataQuality
    oldest: float | None
    silent: tuple[str, ...]
    missing_metrics: tuple[str, ...]
    lost: tuple[str, ...]
    """What decisions are reckoned from, and engines of ready replicas do not tell."""
    running: float
    waiting: float
    """In the engines."""
    held: float
    """In the gateways."""
    arrivals: float | None
    """Requests per second at the entrance since the last look; None where nobody can say."""
    in_flight: float | None
    """Requests at once, those that wait included; None where nobody can say."""
    gateways: int
    gateway_complete: bool
    """All gateways answered, and their count can be told from the one before."""
    settled: bool
    """Every ready replica has been seen for a while."""

    @property
    def whole(self) -> bool:
        """Everything that should answer did: what a scale-in needs."""
        return self.fresh == self.ready and not self.lost and (self.gateways == 0 or self.gateway_complete)


class Signals:
    """The memory between two ticks."""

    __slots__ = ("_counts_completed", "_counts_waiting", "_gateway", "_looks", "_was_asked", "last_activity", "view")

    def __init__(self, *, counts_requests: bool = False) -> None:
        self._looks: dict[str, Look] = {}
        self._gateway: DemandSample | None = None
        self._counts_completed = counts_requests
        self._counts_waiting = False
        self._was_asked = False
        """Whether a replica has counted requests since the look before, whichever way they came."""
        self.last_activity: float | None = None
        """When somebody was last known to ask, or could have asked unseen."""
        self.view: View | None = None

    @property
    def counts_requests(self) -> bool:
        """Whether engines count requests that end; else demand is requests at once."""
        return self._counts_completed

    def begin_anew(self) -> None:
        """The clock was set: times of before cannot be compared with those to come."""
        self._looks.clear()
        self._gateway = self.last_activity = None

    def take(self, tick: Tick, cold_start: float | None) -> tuple[View, tuple[Interval, ...]]:
        """The view of `tick`, which must not be older than the last, and what replicas did since; that is not kept,
        because of the histograms in it."""
        gone = self._looks.keys() - {replica.name for replica in tick.replicas}
        for name in gone:
            del self._looks[name]
        ready = [replica for replica in tick.replicas if replica.ready and not replica.leaving]
        intervals = self._look(tick)
        fresh = [name for name in (replica.name for replica in ready) if self._is_fresh(name, tick.now)]
        gateway_rate, gateway_complete = self._gateway_rate(tick)
        running, waiting = self._gauges(fresh)
        self.view = View(
            now=tick.now,
            ready=len(ready),
            fresh=len(fresh),
            leaving=sum(replica.leaving for replica in tick.replicas),
            quality=self._quality(tick, ready, fresh),
            oldest=max((tick.now - self._looks[name].sample.at for name in fresh), default=None),
            silent=tuple(replica.name for replica in ready if replica.name not in fresh),
            missing_metrics=_missing(tick.engines.values()),
            lost=tuple(sorted({name for replica in fresh for name in self._looks[replica].lost})),
            running=running,
            waiting=waiting,
            held=tick.demand.waiting if tick.demand is not None and _sound(tick.demand.waiting) else 0.0,
            arrivals=_largest(gateway_rate, self._engine_rate(ready, fresh)),
            in_flight=self._in_flight(tick, ready, fresh, running + waiting),
            gateways=tick.demand_sources,
            gateway_complete=gateway_complete,
            settled=all(tick.now - self._looks[name].since >= FRESH for name in fresh),
            **_starting(tick, cold_start),
        )
        self._note_activity(tick, gateway_rate)
        return self.view, intervals

    def _look(self, tick: Tick) -> tuple[Interval, ...]:
        """Take in the samples, and say what the replicas did."""
        done: list[Interval] = []
        self._was_asked = False
        for replica in tick.replicas:
            sample = tick.engines.get(replica.name)
            look = self._looks.get(replica.name)
            if sample is None or (look is not None and sample.at <= look.sample.at):
                continue
            sample = cleaned(sample)
            if look is not None:
                look.compare(sample)
            if not self._is_whole(sample):
                continue
            self._counts_completed = self._counts_completed or sample.completed is not None
            self._counts_waiting = self._counts_waiting or sample.waiting is not None
            if look is None:
                self._looks[replica.name] = Look(sample, tick.now)
                continue
            self._was_asked = self._was_asked or sample.asked != look.sample.asked
            now = interval(look.sample, sample)
            look.note_progress(sample)
            look.sample = sample
            look.rate = now.arrivals / now.seconds if now is not None and now.arrivals is not None else look.rate
            if now is not None:
                done.append(now)
        return tuple(done)

    def _is_whole(self, sample: EngineSample) -> bool:
        """Whether it tells what demand is reckoned from. What an engine once told, or should tell, must be there."""
        if sample.running is None:
            return False
        if sample.waiting is None and (self._counts_waiting or sample.missing):
            return False
        expected = self._counts_completed or (bool(sample.missing) and sample.step_tokens is not None)
        return sample.completed is not None or not expected

    def _is_fresh(self, name: str, now: float) -> bool:
        look = self._looks.get(name)
        if look is None or (look.stood_since is not None and look.sample.at - look.stood_since > FRESH):
            return False
        return -_LONGEST_LOOK <= now - look.sample.at <= FRESH

    def _gauges(self, fresh: list[str]) -> tuple[float, float]:
        running = sum(self._looks[name].sample.running or 0.0 for name in fresh)
        return running, sum(self._looks[name].sample.waiting or 0.0 for name in fresh)

    def _engine_rate(self, ready: list[Replica], fresh: list[str]) -> float | None:
        """Arrivals of all ready replicas; a silent one does what the others do on average."""
        rates = [rate for name in fresh if (rate := self._looks[name].rate) is not None]
        if not rates or not self._counts_completed:
            return None
        starting = sum(self._looks[name].rate is None for name in fresh)
        return max(0.0, sum(rates) * (1 + (len(ready) - len(fresh)) / (len(rates) + starting)))

    def _in_flight(self, tick: Tick, ready: list[Replica], fresh: list[str], seen: float) -> float | None:
        demand = tick.demand
        inside = seen * len(ready) / len(fresh) if fresh else None
        if demand is None or demand.answered < demand.sources:
            return inside
        outside = demand.in_flight if demand.in_flight is not None and _sound(demand.in_flight) else 0.0
        return max(inside or 0.0, outside) + (demand.waiting if _sound(demand.waiting) else 0.0)

    def _gateway_rate(self, tick: Tick) -> tuple[float | None, bool]:
        """Requests per second that gateways counted, and whether all of them answered."""
        demand = tick.demand
        if demand is None or demand.answered < demand.sources or not _sound(demand.arrived):
            return None, False
        before, self._gateway = self._gateway, demand
        if before is None or before.sources != demand.sources or demand.arrived < before.arrived:
            return None, True
        seconds = demand.at - before.at
        return ((demand.arrived - before.arrived) / seconds if seconds > 0 else None), True

    def _note_activity(self, tick: Tick, gateway_rate: float | None) -> None:
        """Idle is known by demand sources alone: a counter that did not move, nothing held, nothing in work."""
        demand = tick.demand
        known = demand is not None and demand.answered == demand.sources
        if not known and tick.demand_sources and self.last_activity is not None:
            return  # The counter will tell, once it is seen again.
        view = self.view
        busy = gateway_rate is None or gateway_rate > 0 or self._was_asked
        busy = busy or view is None or bool(view.held or view.running or view.waiting)
        if self.last_activity is None or busy or not known:
            self.last_activity = tick.now

    def _quality(self, tick: Tick, ready: list[Replica], fresh: list[str]) -> DataQuality:
        if not ready:
            return "Starting" if any(not replica.leaving for replica in tick.replicas) else "None"
        if len(fresh) == len(ready):
            return "Fresh"
        if fresh:
            return "Partial"
        looks = [self._looks[replica.name] for replica in ready if replica.name in self._looks]
        return "Stale" if any(tick.now - look.sample.at <= _FORGOTTEN for look in looks) else "Missing"


def cleaned(sample: EngineSample) -> EngineSample:
    """`sample`; the scraper lets no NaN through, and one that came in nevertheless is a number that nobody says."""
    told = [value for value in _numbers(sample) if value is not None]
    if told and not (min(told) >= 0.0 and sum(told) < _ABSURD):
        false = (name for name, value in zip(_NUMBERS, _numbers(sample), strict=True) if not _sound(value or 0.0))
        return replace(sample, **dict.fromkeys(false))  # type: ignore[arg-type]
    return sample


def _starting(tick: Tick, cold_start: float | None) -> dict[str, tuple[Replica, ...]]:
    """Replicas that do not serve yet, by what holds them."""
    longest = _LONGEST_START if cold_start is None else max(_STUCK_AT_LEAST, _STUCK_COLD_STARTS * cold_start)
    found: dict[str, list[Replica]] = {"pending": [], "crashed": [], "blocked": [], "stuck": []}
    for replica in tick.replicas:
        if replica.ready or replica.leaving:
            continue
        if replica.problem is not None:
            found["crashed" if replica.problem in CRASHES else "blocked"].append(replica)
        else:
            found["stuck" if tick.now - replica.created_at > longest else "pending"].append(replica)
    return {kind: tuple(replicas) for kind, replicas in found.items()}


def _missing(samples: Iterable[EngineSample]) -> tuple[str, ...]:
    return tuple(sorted({name for sample in samples for name in sample.missing}))


def _sound(value: float) -> bool:
    return 0.0 <= value < _ABSURD


def _largest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def names_of(replicas: Iterable[Replica]) -> str:
    """For sentences: up to three names."""
    names = [replica.name for replica in replicas]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
