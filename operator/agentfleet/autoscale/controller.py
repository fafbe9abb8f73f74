"""The loop's memory of one ModelServer: fed with ticks, asked for decisions. No I/O, no clock."""

import math

from agentfleet.autoscale.capacity import CapacityModel
from agentfleet.autoscale.decision import Decision, Goal, Health, Learnt, Situation
from agentfleet.autoscale.forecast import Demand
from agentfleet.autoscale.limits import Capacity
from agentfleet.autoscale.policy import COLD_START, Policy, Verdict, blind, bounded
from agentfleet.autoscale.samples import Tick
from agentfleet.autoscale.signals import Signals, View
from agentfleet.autoscale.sizing import Need, Supply, need

_PERIOD = 10.0
"""Seconds from a change of load to new replicas being asked for."""
_EXCESS = 1.2
"""Requests in work beyond so many times the batch within the goal have to be worked off like those that wait."""


class Controller:
    """What operator and simulator run. One for each ModelServer; it starts empty after a restart of the operator, but
    for `learnt`, and takes no replica away before it has watched for a whole stabilisation window."""

    def __init__(self, goal: Goal, learnt: Learnt | None = None) -> None:
        self._goal = goal
        self._signals = Signals()
        self._capacity = CapacityModel(learnt)
        self._demand = Demand()
        self._by_requests: bool | None = None
        self._policy = Policy()
        self._cold_start: float | None = None
        self._now = 0.0
        self._trust = 1.0

    def set_goal(self, goal: Goal) -> None:
        """A changed spec; what was learnt stays."""
        self._goal = goal

    def forget_capacity(self) -> None:
        """The model, its hardware or its arguments changed: what was learnt holds no longer."""
        self._capacity = CapacityModel()

    def observe(self, tick: Tick) -> None:
        """Take in one look. Ticks come in order of time; one that failed wholly is a tick without engines."""
        self._now = tick.now
        view = self._signals.take(tick, self._cold_start)
        if self._signals.counts_requests is not self._by_requests:
            # Requests per second and requests at once are not to be mixed.
            if self._by_requests is not None:
                self._demand = Demand()
            self._by_requests = self._signals.counts_requests
        for done in view.intervals:
            self._capacity.learn(done)
        rate = view.arrivals if self._by_requests else view.in_flight
        if rate is not None:
            self._demand.add(tick.now, rate)

    def decide(self, situation: Situation, now: float) -> Decision:
        """What the number of replicas should be now. Asked after `observe`; always answers, `hold` at least."""
        self._cold_start = situation.cold_start
        view = self._signals.view
        if view is None:
            return self._told(Verdict(situation.wanted, "MissingData", "Nothing has been seen yet."), situation, None)
        self._policy.note(view, situation)
        verdict, needed = self._reckoned(view, situation, now)
        return self._told(verdict, situation, needed)

    def _reckoned(self, view: View, situation: Situation, now: float) -> tuple[Verdict, Need | None]:
        bound = self._bound(view, situation)
        if bound is not None:
            return bound, None
        if situation.wanted == 0:
            return self._wake(view, situation), None
        outlook = self._demand.outlook(now, (situation.cold_start or COLD_START) + _PERIOD)
        seen = view.gateway_complete or (view.ready > 0 and view.fresh * 2 >= view.ready)
        if view.ready == 0 and not view.gateway_complete:
            return Verdict(situation.wanted, "Pending", "No replica serves yet."), None
        if outlook is None or not seen:
            return blind(view, situation), None
        capacity = self._capacity.capacity(self._goal, by_requests=bool(self._by_requests))
        if capacity is None or not capacity.known:
            return self._learning(view, situation, capacity), None
        cold_start = situation.cold_start or COLD_START
        due = tuple(max(0.0, replica.created_at + cold_start - now) for replica in view.pending)
        supply = Supply(view.ready, due, cold_start + _PERIOD)
        needed = need(outlook, capacity, self._goal.load_factor, self._backlog(view, capacity), self._trust, supply)
        return self._policy.decide(needed, view, situation, self._goal, self._idle(view, now)), needed

    def _bound(self, view: View, situation: Situation) -> Verdict | None:
        """What the bounds alone ask for."""
        wanted, low, high = situation.wanted, situation.minimum, situation.maximum
        if wanted > high:
            word = "Schedule" if situation.scheduled else "Maximum"
            return Verdict(high, word, f"{wanted} replicas are above the maximum, {high}.")  # type: ignore[arg-type]
        if wanted < low:
            word = "Schedule" if situation.scheduled else "Minimum"
            wish = Verdict(low, word, f"{wanted} replicas are below the minimum, {low}.")  # type: ignore[arg-type]
            return bounded(wish, situation, self._goal)
        return None

    def _wake(self, view: View, situation: Situation) -> Verdict:
        asked = view.held + view.waiting
        arrived = view.arrivals or 0.0
        if asked <= 0 and arrived <= 0:
            return Verdict(0, "Idle", "Nobody asks.")
        capacity = self._capacity.capacity(self._goal, by_requests=bool(self._by_requests))
        replicas = 1 if capacity is None else max(1, math.ceil(asked / max(1.0, capacity.batch)))
        return bounded(Verdict(replicas, "Wake", f"{asked:.0f} requests wait."), situation, self._goal)

    def _learning(self, view: View, situation: Situation, capacity: Capacity | None) -> Verdict:
        wanted = situation.wanted
        wait = view.waiting + view.held
        if wait > max(2.0, 0.25 * view.running) and not view.pending:
            more = wanted + max(1, wanted // 2)
            reason = f"{wait:.0f} requests wait, {view.running:.0f} are in work; capacity is not known yet."
            if view.blocked or view.stuck:
                return Verdict(wanted, "CapacityBlocked", reason)
            if self._goal.pause_out:
                return Verdict(wanted, "Paused", reason)
            return bounded(Verdict(more, "Learning", reason), situation, self._goal)
        return Verdict(wanted, "Learning", "What a replica can carry is not known yet.")

    def _backlog(self, view: View, capacity: Capacity) -> float:
        if not self._by_requests:
            return 0.0
        excess = max(0.0, view.running - _EXCESS * capacity.batch * view.fresh)
        return view.waiting + view.held + excess

    def _idle(self, view: View, now: float) -> float | None:
        if view.gateways == 0 or not view.gateway_complete or self._signals.last_activity is None:
            return None
        return now - self._signals.last_activity

    def _told(self, verdict: Verdict, situation: Situation, needed: Need | None) -> Decision:
        wanted, target, view = situation.wanted, verdict.target, self._signals.view
        inputs: dict[str, float] = {"wanted": wanted}
        if view is not None:
            inputs |= {"ready": view.ready, "pending": len(view.pending), "queue": view.waiting + view.held}
            inputs["running"] = view.running
            if view.oldest is not None:
                inputs["oldest"] = view.oldest
        counterfactual = None
        if needed is not None:
            inputs |= {
                "demand": needed.demand,
                "forecast": needed.forecast,
                "capacity": needed.per_replica,
                "loadFactor": needed.load_factor,
                "backlog": needed.backlog,
            }
            if target > 1:
                counterfactual = f"With {target - 1} replicas the load factor would be {needed.load(target - 1):.2f}."
        return Decision(
            time=self._now,
            action="scale_out" if target > wanted else "scale_in" if target < wanted else "hold",
            start=wanted,
            target=target,
            binding=verdict.binding,
            reason=verdict.reason,
            counterfactual=counterfactual,
            inputs=inputs,
            unconstrained=needed.replicas if needed is not None else None,
        )

    def vertical(self, situation: Situation, now: float) -> Decision | None:
        """Whether larger or smaller replicas are called for; None where nothing speaks for it or nothing is known."""
        return None

    def verdict(self, decision: Decision, now: float) -> str | None:
        """What was foretold and what was seen, a cold start later; None while that is not over."""
        return None

    @property
    def learnt(self) -> Learnt | None:
        """Capacity, to be kept in status."""
        return self._capacity.learnt(self._goal, by_requests=bool(self._by_requests), now=self._now)

    @property
    def health(self) -> Health:
        """How well the server is seen, as of the last tick."""
        view = self._signals.view
        if view is None:
            return Health("None", None)
        return Health(view.quality, view.oldest, view.missing_metrics, view.silent)
