"""Capacity in requests at once, for engines that count no steps or no requests (llama.cpp, Ollama). Pure.

Seconds per token grow about linearly with the requests at once: seconds = idle + slope × requests. The knee is where
they meet the goal, or where the engine takes no more into work.
"""

from agentfleet.autoscale.decision import Goal
from agentfleet.autoscale.intervals import Interval, mean
from agentfleet.autoscale.limits import Capacity, reachable
from agentfleet.autoscale.solve import non_negative

_FORGET = 0.99
_LEAST_TOKENS = 4.0
_LARGEST = 512.0
"""Requests at once that are planned for where neither latency nor the engine sets a limit."""
_FEW, _ENOUGH = 4, 12
_IN_PREFILL = 0.5
"""Mean number of requests whose prompt is being read: prompts wait for each other, and first tokens for them."""


class Knee:
    """What is known about one server's engine."""

    __slots__ = (
        "_idle",
        "_levels",
        "_loaded",
        "_prefill",
        "_probed",
        "_restored",
        "_seen",
        "_slope",
        "_stale",
        "samples",
    )

    def __init__(self, restored: float | None = None, samples: int = 0) -> None:
        self._levels: dict[int, list[float]] = {}
        """By octave of requests at once: Σw, Σwx, Σwxx, Σwy, Σwxy."""
        self._restored = restored
        self._idle: float | None = None
        self._slope = 0.0
        self._prefill = 0.0
        """Share of its time in work that a request waits for its prompt to be read."""
        self._stale = False
        self._probed: float | None = None
        """Speed at the last probe."""
        self._loaded = False
        """Whether anything was learnt from requests, beside what probes of an idle engine tell."""
        self._seen = 0
        """Samples since the start, beside those that the restored knee came from."""
        self.samples = samples if restored is not None else 0

    def learn(self, done: Interval) -> None:
        """Take in what one replica did."""
        seconds, running = _seconds_per_token(done), done.running
        if seconds is None:
            if done.tokens_per_second is None or done.tokens_per_second == self._probed:
                return
            # A probe asks an engine that is idle, so it says nothing about any load. It is one word, however often it
            # is repeated until the next.
            self._probed = done.tokens_per_second
            seconds, running = 1 / done.tokens_per_second if done.tokens_per_second else None, 1.0
        elif running > 0:
            self._loaded = True
        if seconds is None or running <= 0:
            return
        if done.prompt_seconds is not None and done.output_seconds:
            share = done.prompt_seconds / (done.prompt_seconds + done.output_seconds)
            self._prefill += (share - self._prefill) * max(0.02, 1 / (1 + self._seen))
        weight = 1 / (seconds * seconds)
        sums = self._levels.setdefault(int(running + 0.5).bit_length(), [0.0] * 5)
        row = (1.0, running, running * running, seconds, running * seconds)
        for index, value in enumerate(row):
            sums[index] = sums[index] * _FORGET + weight * value
        self.samples += 1
        self._seen += 1
        self._stale = True

    def _fit(self) -> None:
        if not self._stale:
            return
        self._stale = False
        w, wx, wxx, wy, wxy = (sum(column) for column in zip(*self._levels.values(), strict=True))
        self._idle, self._slope = non_negative([[w, wx], [wx, wxx]], [wy, wxy])

    def capacity(self, goal: Goal, max_running: float | None, share: float) -> Capacity | None:
        """`share` of the goal is planned with. None where nothing at all is known."""
        self._fit()
        usable, known = self.samples >= _FEW, self.samples >= _ENOUGH
        if self._idle is None or not usable or (self._restored is not None and self._seen < _ENOUGH):
            if self._restored is not None:
                return Capacity(self._restored, self._restored, self._restored == max_running, usable, known, None)
            # Slots are known even where nobody tells how fast answers are; none waits for another there.
            return None if max_running is None else Capacity(max_running, max_running, True, True, True, None)
        unloaded = self._idle + self._slope
        tpot = reachable(goal.time_per_output_token * share, unloaded)
        knee = (tpot - self._idle) / self._slope if self._slope > 0 else _LARGEST
        if self._prefill > 0:
            knee = min(knee, _IN_PREFILL / self._prefill)
        # Nothing shows that an engine which was only probed answers more than one at a time.
        knee = max(1.0, min(_LARGEST if self._loaded or max_running is not None else 1.0, knee))
        batch = knee if max_running is None else min(knee, max_running)
        return Capacity(batch, batch, batch == max_running, usable, known, None, unloaded_tpot=unloaded)


def _seconds_per_token(done: Interval) -> float | None:
    if done.output_tokens and done.output_seconds and done.output_tokens >= _LEAST_TOKENS:
        return done.output_seconds / done.output_tokens
    told = mean(done.before.time_per_output_token, done.after.time_per_output_token)
    return told[1] if told is not None else None
