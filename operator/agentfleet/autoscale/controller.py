"""The loop's memory of one ModelServer: fed with ticks, asked for decisions. No I/O, no clock."""

import math

from agentfleet.autoscale.capacity import CapacityModel
from agentfleet.autoscale.decision import Decision, Goal, Health, Learnt, Situation
from agentfleet.autoscale.forecast import Demand
from agentfleet.autoscale.levers import Levers, Size
from agentfleet.autoscale.limits import Capacity
from agentfleet.autoscale.policy import COLD_START, Policy, Verdict, blind, bounded, starved
from agentfleet.autoscale.reserve import Reserve
from agentfleet.autoscale.samples import Tick
from agentfleet.autoscale.signals import Signals, View
from agentfleet.autoscale.sizing import Need, Supply, idle_need, need
from agentfleet.autoscale.verdicts import Verdicts

PERIOD = 10.0
"""Seconds from a change of load to new replicas being asked for."""
_HOURS = 7200.0
"""Seconds whose highest demand tells whether a smaller replica would do."""
_CLOCK_SET = 60.0
"""Ticks come every few seconds: one that is further from the last, or before it, is by a clock that was set."""
_NEXT_TO_NOTHING = 0.5
"""Mean requests at once, all replicas together, that one of them surely carries, whatever it is."""
_MEAN_OVER = 60.0
_EXCESS = 1.2
"""Requests in work beyond so many times the batch within the goal have to be worked off like those that wait."""


class Controller:
    """What operator and simulator run. One for each ModelServer; it starts empty after a restart of the operator, but
    for `learnt`, and takes no replica away before it has watched for a whole stabilisation window."""

    def __init__(self, goal: Goal, learnt: Learnt | None = None) -> None:
        self._goal = goal
        self._signals = Signals(counts_requests=learnt is not None and learnt.step is not None)
        self._capacity = CapacityModel(learnt)
        self._demand = Demand()
        self._policy = Policy()
        self._verdicts = Verdicts()
        self._levers = Levers()
        self._reserve = Reserve()
        self._by_requests: bool | None = None
        self._cold_start: float | None = None
        self._carries: Capacity | None = None
        """What a replica carries, as of the last tick."""
        self._needed: Need | None = None
        self._now: float | None = None
        self._at_once: float | None = None
        """Mean requests at once of the last minute or so, while all is seen."""

    def set_goal(self, goal: Goal) -> None:
        """A changed spec; what was learnt stays."""
        self._goal = goal

    def forget_capacity(self) -> None:
        """The model, its hardware or its arguments changed: what was learnt holds no longer."""
        self._capacity = CapacityModel()
        self._verdicts = Verdicts()
        self._levers = Levers()

    def observe(self, tick: Tick) -> None:
        """Take in one look. Ticks come in order of time; one that failed wholly is a tick without engines."""
        passed = tick.now - self._now if self._now is not None else 0.0
        if not 0.0 <= passed <= _CLOCK_SET:
            self._begin_anew()
        self._now = tick.now
        view, intervals = self._signals.take(tick, self._cold_start)
        if view.whole and view.in_flight is not None:
            before = self._at_once if self._at_once is not None else view.in_flight
            self._at_once = before + (view.in_flight - before) * min(1.0, passed / _MEAN_OVER)
        if self._signals.counts_requests is not self._by_requests:
            # Requests per second and requests at once are not to be mixed.
            if self._by_requests is not None:
                self._demand = Demand()
            self._by_requests = self._signals.counts_requests
        for done in intervals:
            self._capacity.learn(done)
        self._carries = self._capacity.capacity(self._goal, by_requests=self._by_requests)
        rate = view.arrivals if self._by_requests else view.in_flight
        if rate is None:
            return
        self._demand.add(tick.now, rate)
        needed = self._needed
        planned = needed.planned_for(view.ready) if needed is not None else None
        self._verdicts.close(tick.now, planned)
        self._verdicts.add(tick.now, view.ready, rate, view.waiting + view.held, intervals, self._goal)
        if needed is not None:
            self._reserve.add(tick.now, rate, view.ready * needed.per_replica)

    def _begin_anew(self) -> None:
        """Nothing that was timed by the clock of before holds; what was learnt of the engine does."""
        self._signals.begin_anew()
        self._demand, self._policy, self._verdicts = Demand(), Policy(), Verdicts()
        self._levers, self._reserve = Levers(), Reserve()
        self._needed = self._at_once = None

    def decide(self, situation: Situation, now: float) -> Decision:
        """What the number of replicas should be now. Asked after `observe`; always answers, `hold` at least."""
        self._cold_start = situation.cold_start
        self._needed = None
        view = self._signals.view
        if view is None:
            return self._told(Verdict(situation.wanted, "MissingData", "Nothing has been seen yet."), situation)
        self._policy.note(view, situation)
        verdict = self._policy.beyond(view, situation, self._goal) or self._reckoned(view, situation, now)
        self._levers.note(self._size(view), situation, self._goal, now)
        return self._told(verdict, situation)

    def _reckoned(self, view: View, situation: Situation, now: float) -> Verdict:
        capacity = self._carries
        if situation.wanted == 0:
            return self._wake(view, situation, capacity)
        if view.ready == 0 and not view.gateway_complete:
            return Verdict(situation.wanted, "Pending", "No replica serves yet.")
        cold_start = situation.cold_start or COLD_START
        outlook = self._demand.outlook(now, cold_start + PERIOD)
        enough_seen = view.gateway_complete or view.fresh * 2 >= view.ready
        if not enough_seen or (outlook is None and view.quality != "Fresh"):
            return blind(view, situation)
        if (capacity is None or not capacity.known) and self._is_next_to_idle(view):
            self._needed = idle_need(view.in_flight or 0.0, self._at_once or 0.0)
            return self._policy.decide(self._needed, view, situation, self._goal, self._idle(view, now))
        if outlook is None or capacity is None or not capacity.usable:
            return starved(view, situation, self._goal)
        due = tuple(max(0.0, replica.created_at + cold_start - now) for replica in view.pending)
        supply = Supply(view.ready, due, cold_start + PERIOD)
        backlog = self._backlog(view, capacity)
        needed = need(outlook, capacity, self._goal.load_factor, backlog, self._verdicts.trust, supply)
        self._needed = needed
        return self._policy.decide(needed, view, situation, self._goal, self._idle(view, now))

    def _wake(self, view: View, situation: Situation, capacity: Capacity | None) -> Verdict:
        """From zero: as many as what waits keeps busy, for what comes next is not known."""
        waits, arrived = view.held + view.waiting, view.arrivals or 0.0
        if waits <= 0 and arrived <= 0:
            return Verdict(0, "Idle", "Nobody asks.")
        # One that a replica on its way out has answered waits no more.
        why = f"{waits:.0f} requests wait." if waits >= 1 else "Somebody asks."
        if self._goal.pause_out:
            return Verdict(0, "Paused", f"{why} Scaling out is paused.")
        replicas = 1 if capacity is None else max(1, math.ceil(waits / max(1.0, capacity.batch)))
        return bounded(Verdict(replicas, "Wake", why), situation, self._goal)

    def _is_next_to_idle(self, view: View) -> bool:
        """So little is asked that one replica does, though nothing is known of what it can carry."""
        if not view.whole or view.held + view.waiting > 0:
            return False
        return self._at_once is not None and self._at_once < _NEXT_TO_NOTHING

    def _backlog(self, view: View, capacity: Capacity) -> float:
        """Requests that have to be worked off beside what comes. Requests at once count them already."""
        if not self._by_requests:
            return 0.0
        excess = max(0.0, view.running - _EXCESS * capacity.batch * view.fresh)
        return view.waiting + view.held + excess

    def _idle(self, view: View, now: float) -> float | None:
        if view.gateways == 0 or not view.gateway_complete or self._signals.last_activity is None:
            return None
        return now - self._signals.last_activity

    def _told(self, verdict: Verdict, situation: Situation) -> Decision:
        wanted, target, needed = situation.wanted, verdict.target, self._needed
        inputs = {"wanted": float(wanted)}
        view = self._signals.view
        if view is not None:
            inputs |= {"ready": view.ready, "pending": len(view.pending), "running": view.running}
            inputs["queue"] = view.waiting + view.held
            if view.oldest is not None:
                inputs["oldest"] = view.oldest
        counterfactual = None
        if needed is not None:
            inputs |= needed.inputs
            if target > 1:
                fewer = f"{target - 1} replica" + "s" * (target > 2)
                counterfactual = f"With {fewer} the load factor would be {needed.load(target - 1):.2f}."
        return Decision(
            time=self._now if self._now is not None else 0.0,
            action="scale_out" if target > wanted else "scale_in" if target < wanted else "hold",
            start=wanted,
            target=target,
            binding=verdict.binding,
            reason=verdict.reason,
            counterfactual=counterfactual,
            inputs=inputs,
            suggested_minimum=self._reserve.suggested(self._demand.bins, needed, situation.minimum),
            unconstrained=needed.replicas if needed is not None else None,
        )

    def vertical(self, situation: Situation, now: float) -> Decision | None:
        """Whether larger or smaller replicas are called for; None where nothing speaks for it or nothing is known."""
        view = self._signals.view
        size = self._size(view) if view is not None else None
        return self._levers.decide(size, situation, self._goal, now) if size is not None else None

    def _size(self, view: View) -> Size | None:
        capacity = self._carries
        if capacity is None or not capacity.known or not view.ready:
            return None
        peak = self._demand.highest(_HOURS)
        room, preempted = self._capacity.memory
        return Size(capacity, peak / (capacity.per_replica * view.ready), room, preempted)

    def verdict(self, decision: Decision, now: float) -> str | None:
        """What was foretold and what was seen, a cold start later; None while that is not over."""
        after = (self._cold_start or COLD_START) if decision.action == "scale_out" else 0.0
        return self._verdicts.verdict(decision, now, after, self._goal)

    @property
    def learnt(self) -> Learnt | None:
        """Capacity, to be kept in status."""
        return self._capacity.learnt(self._goal, by_requests=bool(self._by_requests), now=self._now or 0.0)

    @property
    def health(self) -> Health:
        """How well the server is seen, as of the last tick."""
        view = self._signals.view
        if view is None:
            return Health("None", None)
        return Health(view.quality, view.oldest, view.missing_metrics, view.silent)
