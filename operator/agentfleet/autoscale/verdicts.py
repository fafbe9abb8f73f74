"""Was it right? What was foretold against what was seen, and how far the capacity model is to be trusted. Pure.

A model that promised too much shows itself: requests miss the goal though load is where it was planned to be. Then less
is planned with (`trust`), until it has been right for long.
"""

from collections import deque
from dataclasses import dataclass

from agentfleet.autoscale.decision import Decision, Goal
from agentfleet.autoscale.intervals import Interval, kept, mean

_MINUTE = 60.0
_MINUTES = 30
_FEWEST = 30.0
"""Requests in a minute from which on it says something."""
_MISSED = 0.02
"""Share of them that may miss the goal by chance."""
_LARGEST_STEP = 0.04
_BLAME = 0.25
_RECOVERY = 0.004
_LEAST_TRUST = 0.5
_PLANNED = 1.02
"""Load, as a share of what was planned for the replicas, up to which misses are the model's fault."""
_GIVE_UP = 900.0


@dataclass(slots=True)
class Minute:
    """What was seen in one."""

    start: float
    ready: int
    steady: bool = True
    """As many replicas served all the time, and nothing was left over from before."""
    demand: float = 0.0
    ticks: int = 0
    first_tokens: float = 0.0
    in_time: float = 0.0
    slow: float = 0.0
    """Intervals whose mean time per token missed the goal, weighted by tokens."""
    tokens: float = 0.0

    @property
    def missed(self) -> float | None:
        """Share of requests that missed the goal, by whichever half of it was missed more; None where too few came."""
        if self.first_tokens < _FEWEST:
            return None
        late = 1 - self.in_time / self.first_tokens
        return max(late, self.slow / self.tokens if self.tokens else 0.0)


class Verdicts:
    """The last half hour in minutes."""

    __slots__ = ("_minutes", "_open", "trust")

    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque(maxlen=_MINUTES)
        self._open: Minute | None = None
        self.trust = 1.0
        """Share of the learnt capacity that is planned with."""

    def add(
        self, now: float, ready: int, demand: float, backlog: float, done: tuple[Interval, ...], goal: Goal
    ) -> None:
        """One tick."""
        minute = self._open
        if minute is None:
            minute = self._open = Minute(now, ready, steady=backlog < 1)
        minute.steady = minute.steady and ready == minute.ready
        minute.demand += demand
        minute.ticks += 1
        for interval in done:
            _note(minute, interval, goal)

    def close(self, now: float, planned: float | None) -> None:
        """End a minute where one is over. `planned`: the demand that its replicas were meant for; None: not known."""
        minute = self._open
        if minute is None or now - minute.start < _MINUTE:
            return
        self._minutes.append(minute)
        self._open = None
        missed = minute.missed
        if missed is None or planned is None or not minute.steady or minute.demand / minute.ticks > planned * _PLANNED:
            return
        if missed > _MISSED:
            self.trust = max(_LEAST_TRUST, self.trust - min(_LARGEST_STEP, _BLAME * missed))
        else:
            self.trust = min(1.0, self.trust + _RECOVERY)

    def verdict(self, decision: Decision, now: float, after: float, goal: Goal) -> str | None:
        """`after`: seconds until the decision shows. None before that."""
        if now < decision.time + after + _MINUTE:
            return None
        since = [minute for minute in self._minutes if minute.start >= decision.time + after]
        if not since:
            return "Nothing was seen afterwards." if now > decision.time + after + _GIVE_UP else None
        told = decision.inputs.get("forecast")
        demand = sum(minute.demand for minute in since) / max(1, sum(minute.ticks for minute in since))
        expected = f"{told:.3g} expected" if told is not None else "Nothing foretold"
        per_replica = decision.inputs.get("capacity")
        load = ""
        if per_replica and decision.target and told is not None:
            whole = per_replica * decision.target
            load = f", load {told / whole:.2f} of {decision.target} replicas and then {demand / whole:.2f}"
        count = sum(minute.first_tokens for minute in since)
        kept_to = ""
        if count:
            share = 100 * sum(minute.in_time for minute in since) / count
            kept_to = f"; first token within {goal.time_to_first_token:g} s for {share:.1f} %"
        return f"{expected}, {demand:.3g} came{load}{kept_to}."


def _note(minute: Minute, done: Interval, goal: Goal) -> None:
    first = kept(done.before.time_to_first_token, done.after.time_to_first_token, goal.time_to_first_token)
    if first is not None:
        minute.first_tokens += first[0]
        minute.in_time += first[1]
    speed = mean(done.before.time_per_output_token, done.after.time_per_output_token)
    if speed is not None:
        minute.tokens += speed[0]
        minute.slow += speed[0] if speed[1] > goal.time_per_output_token else 0.0
