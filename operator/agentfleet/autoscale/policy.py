"""From what load needs to what is done: bounds, data, pending, windows, steps. Holds the memory that this takes. Pure.

Out is quick and in is slow, for a replica too few costs requests and one too many costs a little money. Nothing that is
not known ever takes a replica away.
"""

import math
from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise

from agentfleet.autoscale.decision import Binding, Goal, Situation
from agentfleet.autoscale.signals import View, names_of
from agentfleet.autoscale.sizing import Need

_LEAST_STEP = 4
_LEAST_WINDOW = 180.0
_WINDOW_COLD_STARTS = 1.5
COLD_START = 120.0
"""Where none has been seen."""
_BLIND = 30.0
"""A gap in the data that is longer starts the window for a scale-in anew."""
_PACE = 30.0
"""Seconds between two scale-ins."""
_ONE_FEWER = 0.97
"""Share of what is left that the busiest moment of the window may take."""
_BREAKER_WINDOW = 1800.0
_BREAKER_REVERSALS = 3
_FEW_WAIT, _MANY_WAIT = 2.0, 0.25
"""Requests that may wait while capacity is not known: so many, or this share of those in work."""
_WAITING_PER_REPLICA = 1.0
"""Requests that may wait when a replica is taken away."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A number and its reason."""

    target: int
    binding: Binding
    reason: str


class Policy:
    """The memory of one ModelServer's decisions."""

    __slots__ = ("_changes", "_clear_since", "_lasting", "_needs", "_outs", "_peaks", "_seen_whole", "_wanted")

    def __init__(self) -> None:
        self._needs: deque[tuple[float, int]] = deque()
        """Replicas that were needed, falling: the first is the most within the window."""
        self._lasting: deque[tuple[float, int]] = deque()
        """Replicas that more than a trend or a backlog called for, likewise."""
        self._peaks: deque[tuple[float, float]] = deque()
        """Forecasts, likewise."""
        self._outs: deque[tuple[float, int]] = deque()
        """Replicas that were needed, rising: the first is the fewest within the window for scale-out."""
        self._changes: deque[tuple[float, int]] = deque(maxlen=16)
        """Time and sign of changes of `wanted`."""
        self._wanted: int | None = None
        self._clear_since: float | None = None
        self._seen_whole: float | None = None

    def note(self, view: View, situation: Situation) -> None:
        """Take in what everything else depends on: who changed the number, and how long data has been whole."""
        if self._wanted is not None and situation.wanted != self._wanted:
            self._changes.append((view.now, 1 if situation.wanted > self._wanted else -1))
        self._wanted = situation.wanted
        if view.whole:
            if self._seen_whole is None or view.now - self._seen_whole > _BLIND:
                self._clear_since = view.now
            self._seen_whole = view.now

    def beyond(self, view: View, situation: Situation, goal: Goal) -> Verdict | None:
        """What the bounds alone ask for, whatever is known of the load; None where they are kept."""
        wanted, high = situation.wanted, situation.maximum
        if wanted <= high:
            return _below(situation, goal)
        reason = f"{wanted} replicas are above the maximum, {high}."
        if goal.pause_in:
            return Verdict(wanted, "Paused", f"{reason} Scaling in is paused.")
        if situation.rolling:
            return Verdict(wanted, "Rollout", f"{reason} Pods are being replaced; afterwards.")
        if view.leaving or self._just_changed(view.now):
            return Verdict(wanted, "Settling", f"{reason} Replicas have just come or gone.")
        target = wanted - min(math.ceil((wanted - high) / 2), _step(wanted, goal))
        return Verdict(target, "Schedule" if situation.scheduled else "Maximum", reason)

    def _just_changed(self, now: float) -> bool:
        return bool(self._changes) and now - self._changes[-1][0] < _PACE

    def decide(self, need: Need, view: View, situation: Situation, goal: Goal, idle: float | None) -> Verdict:
        """`idle`: seconds since somebody asked; None where that cannot be known."""
        if idle is not None and idle >= goal.to_zero_after:
            need = replace(need, replicas=0)  # what may come is met from zero: that is what minReplicas 0 asks for
        self._remember(need, view, situation, goal)
        floor = situation.minimum if idle is not None and idle >= goal.to_zero_after else max(1, situation.minimum)
        replacing = _replacing(view)
        target = max(need.replicas + replacing, floor)
        wanted = situation.wanted
        if target > wanted:
            return self._out(need, target, view, situation, goal)
        if target < wanted:
            return self._in(need, floor, view, situation, goal)
        return _enough(need, view, situation)

    def _remember(self, need: Need, view: View, situation: Situation, goal: Goal) -> None:
        for window, value, seconds, sign in (
            (self._needs, need.replicas, window_in(goal, situation), 1),
            (self._lasting, need.lasting, _BREAKER_WINDOW, 1),
            (self._peaks, need.forecast, window_in(goal, situation), 1),
            (self._outs, need.replicas, goal.stabilization_out, -1),
        ):
            while window and sign * window[-1][1] <= sign * value:
                window.pop()
            window.append((view.now, value))  # type: ignore[arg-type]
            while window and window[0][0] < view.now - seconds:
                window.popleft()

    def _out(self, need: Need, target: int, view: View, situation: Situation, goal: Goal) -> Verdict:
        wanted = situation.wanted
        why = _said(need, target)
        lasting = self._outs[0][1] if self._outs else need.replicas
        if goal.stabilization_out > 0 and max(lasting, situation.minimum) <= wanted:
            return Verdict(wanted, "Stabilization", f"{why} Not yet for {goal.stabilization_out:g} s.")
        return outwards(Verdict(target, need.binding, why), view, situation, goal)

    def _in(self, need: Need, floor: int, view: View, situation: Situation, goal: Goal) -> Verdict:
        wanted, window = situation.wanted, window_in(goal, situation)
        held = self._held(need, view, situation, goal, window)
        if held is not None:
            return held
        most = max(self._needs[0][1] if self._needs else wanted, floor)
        reversals = self._reversals(view.now)
        if reversals >= _BREAKER_REVERSALS and self._lasting:
            if most < wanted <= self._lasting[0][1]:
                reason = f"{_said(need, most)} But the direction changed {reversals} times within 30 minutes."
                return Verdict(wanted, "ReversalBreaker", reason)
            most = max(most, self._lasting[0][1])
        if most >= wanted:
            reason = f"{_said(need, need.replicas)} But {most} were needed within the last {window:.0f} s."
            return Verdict(wanted, "Stabilization", reason)
        surplus = wanted - most
        target = wanted - min(math.ceil(surplus / 2), _step(wanted, goal))
        busiest = self._peaks[0][1] if self._peaks else need.forecast
        while target < wanted and target > 0 and busiest > need.per_replica * target * _ONE_FEWER:
            target += 1
        if target >= wanted:
            load = busiest / (need.per_replica * (wanted - 1)) if wanted > 1 else math.inf
            return Verdict(wanted, "OneFewer", f"With {wanted - 1} replicas the load would be {load:.2f} of capacity.")
        if target == 0:
            return Verdict(0, "Idle", f"Nobody has asked for {goal.to_zero_after:g} s.")
        return Verdict(target, "Demand", f"{_said(need, most)} No more were needed within the last {window:.0f} s.")

    def _held(self, need: Need, view: View, situation: Situation, goal: Goal, window: float) -> Verdict | None:
        """Why no replica may go, whatever the load."""
        if not view.whole:
            return blind(view, situation)
        watched = 0.0 if self._clear_since is None else view.now - self._clear_since
        waits = view.waiting + view.held
        changing = view.leaving > 0 or not view.settled
        changed = self._just_changed(view.now)
        checks: tuple[tuple[bool, Binding, str], ...] = (
            (not need.sure, "Learning", "What a replica can carry is not known well enough yet."),
            (situation.rolling, "Rollout", "Pods are being replaced; afterwards."),
            (goal.pause_in, "Paused", "Scaling in is paused."),
            (bool(view.pending), "Settling", f"{names_of(view.pending)} is still on its way."),
            (watched < window, "Stabilization", f"Watched for {watched:.0f} s only, of {window:.0f} s."),
            (waits > _WAITING_PER_REPLICA * max(1, view.ready), "Backlog", f"But {waits:.0f} requests wait."),
            (changing or changed, "Settling", "Replicas have just come or gone."),
        )
        why = _said(need, need.replicas)
        return next((Verdict(situation.wanted, word, f"{why} {text}") for wrong, word, text in checks if wrong), None)

    def _reversals(self, now: float) -> int:
        signs = [sign for time, sign in self._changes if now - time <= _BREAKER_WINDOW]
        return sum(a != b for a, b in pairwise(signs))


def window_in(goal: Goal, situation: Situation) -> float:
    """Seconds that a wish for fewer must have lasted."""
    if goal.stabilization_in is not None:
        return goal.stabilization_in
    return max(_LEAST_WINDOW, _WINDOW_COLD_STARTS * (situation.cold_start or COLD_START))


def _below(situation: Situation, goal: Goal) -> Verdict | None:
    wanted, low = situation.wanted, situation.minimum
    if wanted < low:
        reason = f"{wanted} replicas are below the minimum, {low}."
        if goal.pause_out:
            return Verdict(wanted, "Paused", f"{reason} Scaling out is paused.")
        return bounded(Verdict(low, "Schedule" if situation.scheduled else "Minimum", reason), situation, goal)
    return None


def starved(view: View, situation: Situation, goal: Goal) -> Verdict:
    """While capacity is not known: more where requests wait, never fewer."""
    wanted, wait = situation.wanted, view.waiting + view.held
    if wait <= max(_FEW_WAIT, _MANY_WAIT * view.running):
        return Verdict(wanted, "Learning", "What a replica can carry is not known yet.")
    why = f"{wait:.0f} requests wait and {view.running:.0f} are in work; what a replica can carry is not known yet."
    if view.pending:
        return Verdict(wanted, "Pending", f"{why} {names_of(view.pending)} is on its way.")
    return outwards(Verdict(wanted + max(1, wanted // 2), "Learning", why), view, situation, goal)


def outwards(wish: Verdict, view: View, situation: Situation, goal: Goal) -> Verdict:
    """A wish for more, unless something speaks against any more at all."""
    held = view.blocked or view.stuck
    if held:
        cause = held[0].problem or "is not ready after two cold starts"
        reason = f"{wish.reason} But {names_of(held)} cannot start ({cause})."
        return Verdict(situation.wanted, "CapacityBlocked", reason)
    if goal.pause_out:
        return Verdict(situation.wanted, "Paused", f"{wish.reason} Scaling out is paused.")
    return bounded(wish, situation, goal)


def bounded(wish: Verdict, situation: Situation, goal: Goal) -> Verdict:
    """A wish for more, cut to what may be."""
    wanted, target = situation.wanted, wish.target
    binding, reason = wish.binding, wish.reason
    if target > situation.maximum:
        target = max(wanted, situation.maximum)
        binding = "Schedule" if situation.scheduled else "Maximum"
        reason = f"{wish.reason} The maximum is {situation.maximum}."
    if situation.affordable is not None and target > situation.affordable:
        target, binding = max(wanted, situation.affordable), "Budget"
        reason = f"{wish.reason} The budget of GPUs allows {situation.affordable}."
    if target > wanted + _step(wanted, goal):
        target, binding = wanted + _step(wanted, goal), "StepLimit"
        reason = f"{wish.reason} At most {_step(wanted, goal)} are added at once."
    return Verdict(target, binding, reason)


def blind(view: View, situation: Situation) -> Verdict:
    """Hold, for want of data."""
    wanted = situation.wanted
    silent = ", ".join(view.silent[:3]) or "nobody"
    if view.missing_metrics or view.lost:
        names = ", ".join((view.missing_metrics or view.lost)[:3])
        return Verdict(wanted, "MissingData", f"Metrics are missing from what engines tell: {names}.")
    if view.quality == "Fresh":
        return Verdict(wanted, "PartialData", "Not all gateways tell what comes in, so no replica is taken away.")
    if view.quality == "Partial":
        return Verdict(wanted, "PartialData", f"{view.fresh} of {view.ready} replicas tell; not {silent}.")
    if view.quality == "Stale":
        return Verdict(wanted, "StaleData", f"What is known of {view.ready} replicas is older than 15 s.")
    return Verdict(wanted, "MissingData", f"None of {view.ready} replicas tells anything.")


def _step(wanted: int, goal: Goal) -> int:
    return goal.max_step if goal.max_step is not None else max(wanted, _LEAST_STEP)


def _replacing(view: View) -> int:
    """Others beside replicas that crash: one, and only where some run, so that not all of them are the same trouble."""
    return min(1, len(view.crashed)) if view.ready else 0


def _enough(need: Need, view: View, situation: Situation) -> Verdict:
    wanted, why = situation.wanted, _said(need, need.replicas)
    if need.replicas < wanted:
        binding: Binding = "Schedule" if situation.scheduled else "Minimum"
        return Verdict(wanted, binding, f"{why} The minimum is {situation.minimum}.")
    if view.pending:
        return Verdict(wanted, "Pending", f"{why} {view.ready} serve, {len(view.pending)} are on their way.")
    return Verdict(wanted, "Enough", f"{why} There are as many.")


def _said(need: Need, target: int) -> str:
    ahead = f", {need.forecast:.3g} expected" if need.forecast > need.demand * 1.02 else ""
    waits = f", {need.backlog:.0f} waiting" if need.backlog >= 1 else ""
    return (
        f"{need.demand:.3g} requests{ahead}{waits}, at {need.load_factor:.2f} of {need.per_replica:.3g} a replica:"
        f" {target} needed."
    )
