"""What one replica can carry within the goal, learnt from its own counters. Pure.

Two kinds. Engines that count steps and requests (vLLM) get a step model, and a capacity in requests per second. All
others get a capacity in requests at once: as many as are answered fast enough, at most as many as it takes into work.
"""

import math

from agentfleet.autoscale.decision import Goal, Learnt
from agentfleet.autoscale.intervals import Interval, mean
from agentfleet.autoscale.knee import Knee
from agentfleet.autoscale.limits import Capacity, reachable
from agentfleet.autoscale.steps import StepModel

_TPOT_SHARE = 0.85
"""Of the goal that a mean step may take: single requests meet longer ones."""
_KV_SHARE = 0.85
_BUSY_ENDS = 3.0
"""Requests at both ends of an interval from which on an engine has surely not idled in between."""
_LEAST_STEPS = 5.0
_LEAST_OBSERVED = 5.0
_MEMORY = 900.0
"""Seconds after which a request counts for 1/e in mean lengths …"""
_LEAST_MEMORY = 200.0
"""… but at least so many requests are remembered."""
_WAITING = 3.0
"""Prompts wait for prompts: an upper percentile of the wait, in mean waits."""
_CHANGE = 0.1


class CapacityModel:
    """The memory of one ModelServer."""

    __slots__ = ("_admitted", "_completed", "_context", "_knee", "_kv", "_kv_told", "_last", "_learnt_at",
                 "_max_running", "_output", "_preempted", "_prompt", "_prompt_requests", "_quiet", "_restored",
                 "steps")  # fmt: skip

    def __init__(self, learnt: Learnt | None = None) -> None:
        self._restored = learnt
        self._learnt_at = learnt.learnt_at if learnt is not None else 0.0
        self._last = learnt.carried if learnt is not None else 0.0
        self.steps = StepModel(learnt.step if learnt else None, learnt.samples if learnt and learnt.step else 0)
        self._knee = Knee(learnt.concurrency if learnt else None, learnt.samples if learnt else 0)
        self._prompt = self._output = self._prompt_requests = self._completed = 0.0
        if learnt is not None and learnt.prompt_tokens and learnt.output_tokens:
            self._prompt_requests = self._completed = _LEAST_MEMORY / 4
            self._prompt = learnt.prompt_tokens * self._prompt_requests
            self._output = learnt.output_tokens * self._completed
        self._context = self._preempted = 0.0
        self._kv: float | None = None
        self._kv_told = False
        self._quiet = [0.0] * 6
        """Of intervals in which an engine idled: seconds, steps, their tokens and KV tokens; times per token that were
        observed, and their sum."""
        self._max_running: float | None = None

    def learn(self, done: Interval) -> None:
        """Take in what one replica did."""
        self._max_running = done.max_running if done.max_running is not None else self._max_running
        self._kv = done.kv_tokens if done.kv_tokens is not None else self._kv
        self._learn_lengths(done)
        self._learn_step(done)
        if done.steps is None or done.completed is None:
            self._knee.learn(done)

    def _learn_lengths(self, done: Interval) -> None:
        if done.completed is None or done.admitted is None or done.prompt_tokens is None or done.output_tokens is None:
            return  # lengths stay what they were where one of them is not told
        keep = math.exp(-done.seconds / _MEMORY) if self._completed > _LEAST_MEMORY else 1.0
        self._prompt = self._prompt * keep + done.prompt_tokens
        self._prompt_requests = max(0.0, self._prompt_requests * keep + done.admitted)
        self._output = self._output * keep + done.output_tokens
        self._completed = self._completed * keep + done.completed
        if done.admitted > 0 and done.preemptions is not None:
            self._preempted += (done.preemptions / done.admitted - self._preempted) * 0.01
        if done.kv_held is not None and done.least_running >= _BUSY_ENDS:
            context = done.kv_held / done.running
            self._context += (context - self._context) * (0.02 if self._context else 1.0)

    def _learn_step(self, done: Interval) -> None:
        self._kv_told = self._kv_told or done.kv_held is not None
        if not done.steps or done.step_tokens is None or (done.kv_held is None and self._kv_told):
            return
        if done.least_running < _BUSY_ENDS:
            self._learn_quiet(done, done.steps, done.step_tokens)
        elif done.steps >= _LEAST_STEPS:
            self.steps.learn(done.step_tokens / done.steps, done.kv_held or 0.0, done.seconds / done.steps)

    def _learn_quiet(self, done: Interval, steps: float, step_tokens: float) -> None:
        """An engine that idles in between shows the length of a step by what it observed alone. Where that is once for
        each request, few intervals have enough, so it is gathered until there is."""
        told = mean(done.before.time_per_output_token, done.after.time_per_output_token)
        observed = (told[0], told[0] * told[1]) if told is not None else (0.0, 0.0)
        row = (done.seconds, steps, step_tokens, steps * (done.kv_held or 0.0), *observed)
        self._quiet = [before + grown for before, grown in zip(self._quiet, row, strict=True)]
        seconds, steps, step_tokens, kv, count, total = self._quiet
        if count < _LEAST_OBSERVED or steps < _LEAST_STEPS:
            return
        self._quiet = [0.0] * len(row)
        self.steps.learn(step_tokens / steps, kv / steps, min(seconds / steps, total / count))

    @property
    def memory(self) -> tuple[float | None, float]:
        """Mean requests for which the KV cache has room, and preemptions for each request."""
        room = self._kv / self._context if self._kv and self._context else None
        return room, self._preempted

    @property
    def lengths(self) -> tuple[float, float] | None:
        """Tokens of a mean prompt and a mean answer."""
        if self._prompt_requests < 1 or self._completed < 1:
            return None
        return self._prompt / self._prompt_requests, max(1.0, self._output / self._completed)

    def capacity(self, goal: Goal, *, by_requests: bool) -> Capacity | None:
        """None where nothing can be said yet."""
        if goal.concurrency is not None:
            # Said by the spec: nothing has to be learnt, and one more than that waits for nobody.
            said = goal.concurrency
            return Capacity(said, said, hard=False, usable=True, known=True, seconds=None)
        return self._by_steps(goal) if by_requests else self._knee.capacity(goal, self._max_running, _TPOT_SHARE)

    def _by_steps(self, goal: Goal) -> Capacity | None:
        step, lengths = self.steps.step, self.lengths
        if step is None or lengths is None:
            return None
        prompt, output = lengths
        context = self._context or prompt + output / 2
        # An idle step, were it as short as the shortest seen: the base of the fit may come out as 0.
        base = max(step.base, 0.25 * (self.steps.fastest or 0.0), 1e-6)
        prefill = step.per_token * prompt
        work = prefill + output * (step.per_token + step.per_kv_token * context)
        tpot = reachable(goal.time_per_output_token * _TPOT_SHARE, base + step.per_token)
        limits = {"latency": max(0.0, 1 - base / tpot) / work if work > 0 else math.inf}
        rooms = {"slots": self._max_running, "memory": self._kv * _KV_SHARE / context if self._kv else None}
        for name, room in rooms.items():
            if room is not None:
                limits[name] = room / (output * base + room * work)
        spare = goal.time_to_first_token - base - prefill
        if spare > 0 and prefill > 0:
            share = spare / (spare + _WAITING * prefill)
            limits["prefill"] = share / (prefill + share * (work - prefill))
        limit = min(limits, key=lambda name: limits[name])
        rate = limits[limit]
        seconds = output * base / max(1e-9, 1 - rate * work) + prefill
        return Capacity(
            per_replica=max(rate, 1e-6),
            batch=max(1.0, rate * seconds),
            hard=limit in ("slots", "memory"),
            usable=self.steps.usable,
            known=self.steps.known,
            seconds=seconds,
            unloaded_ttft=base + prefill,
            unloaded_tpot=base + step.per_token,
        )

    def learnt(self, goal: Goal, *, by_requests: bool, now: float) -> Learnt | None:
        """What survives a restart; None where the spec says it."""
        if goal.concurrency is not None:
            return None
        capacity = self.capacity(goal, by_requests=by_requests)
        samples = self.steps.samples if by_requests else self._knee.samples
        restored = self._restored
        if capacity is None or not capacity.known or samples == (restored.samples if restored is not None else 0):
            return restored
        compared = capacity.per_replica
        if abs(compared - self._last) > _CHANGE * max(compared, self._last):
            self._last, self._learnt_at = compared, now
        lengths = self.lengths
        return Learnt(
            requests_per_second=capacity.per_replica if by_requests else None,
            samples=samples,
            learnt_at=self._learnt_at,
            step=self.steps.step if by_requests else None,
            concurrency=None if by_requests else capacity.per_replica,
            prompt_tokens=lengths[0] if lengths else None,
            output_tokens=lengths[1] if lengths else None,
        )
