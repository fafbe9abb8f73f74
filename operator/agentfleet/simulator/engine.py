"""One replica's engine: continuous batching at the level of steps.

    add(request) ─▶ waiting (FCFS) ─▶ prompt, in chunks ─▶ decoding ─▶ ended

A step takes one token for each answer, and prompts with what is left of the token budget. An answer that enters with n
tokens to go ends when the clock, which counts steps, has advanced by n: reckoning a step takes the same time however
many answers there are. Steps that no prompt and no end can change are reckoned as one run. The KV cache admits prompts
that fit; when answers outgrow it the youngest goes back to the queue, and its prompt is computed anew.

It knows nothing of routers or scaling; fleet.py calls `advance` before it looks.
"""

import math
from bisect import bisect_left
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import accumulate

from agentfleet.autoscale.samples import EngineSample, Histogram
from agentfleet.simulator.profiles import Profile
from agentfleet.simulator.traces import Journal, Trace

NEVER = math.inf
LONGEST_RUN = 64
"""Steps in one run: contexts grow meanwhile, and the time of a step with them."""

TTFT_BOUNDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0, math.inf,
)  # fmt: skip
TPOT_BOUNDS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, math.inf,
)  # fmt: skip
REQUEST_BOUNDS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0, math.inf,
)  # fmt: skip
"""Buckets of vLLM's histograms."""


class Observations:
    """A histogram that is being filled."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * len(bounds)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Observe `value`."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def histogram(self) -> Histogram:
        """As Prometheus has it: each bucket holds those below it too."""
        return Histogram(self.bounds, tuple(float(count) for count in accumulate(self.counts)), self.sum)


class Engine:
    """One process of an engine. `load` is what it has to do: waiting and running; `ends` when its present run ends."""

    def __init__(self, profile: Profile, trace: Trace, journal: Journal, now: float) -> None:
        self.started_at = now
        self.load = 0
        self.ends = NEVER
        self.busy = 0.0
        self.ttft = Observations(TTFT_BOUNDS)
        self.tpot = Observations(TPOT_BOUNDS)
        self.request_time = Observations(REQUEST_BOUNDS)
        self.output_tokens = 0
        self.output_seconds = 0.0
        self.ended_tokens = 0
        """Tokens of answers that ended."""
        self._linear, self._budget, self._kv_tokens = profile.linear, profile.token_budget, profile.kv_tokens
        self._max_running = profile.max_running
        self._per_context = profile.per_kv_token_nanoseconds * 1e-9
        self._per_pair = profile.per_prompt_pair_picoseconds * 1e-12
        self._per_request = profile.per_request_microseconds * 1e-6
        self._journal = journal
        self._arrived, self._prompts, self._outputs = trace.seconds, trace.prompts, trace.outputs
        self._waiting: deque[int] = deque()
        self._decoding: list[tuple[int, int]] = []
        """(clock at which it ends, request), a heap."""
        self._partial: tuple[int, int, int] | None = None
        """(request, tokens done, tokens in all) of the prompt that did not fit into one step."""
        self._prefilled: list[int] = []
        """Requests whose prompt the present step completes."""
        self._resumed: dict[int, tuple[int, int]] = {}
        """Request that was preempted → (tokens to compute anew, tokens to go)."""
        self._clock = 0
        self._context = 0
        """Tokens in the KV cache of those that are being decoded."""
        self._kv = 0
        """Tokens in the KV cache, those that are reserved for prompts in work included."""
        self._began, self._step, self._run, self._tokens = now, 0.0, 0, 0
        self._steps = self._step_tokens = self._prompt_tokens = self._completed = self._failed = self._preemptions = 0
        self._prompt_seconds = 0.0

    def add(self, request: int, now: float) -> None:
        """A request arrives; `advance(now)` came before."""
        if self._prompts[request] + self._outputs[request] > self._kv_tokens:
            self._failed += 1  # as an engine refuses what is longer than its context
            self._journal.fail(request, now)
            return
        self.load += 1
        self._waiting.append(request)
        if self.ends == NEVER:
            self._begin(now)
        elif self._run > 1:
            # it joins after the step in progress
            self._run = min(self._run, max(1, math.ceil((now - self._began) / self._step - 1e-9)))
            self.ends = self._began + self._run * self._step

    def advance(self, until: float) -> None:
        """All that ends by then."""
        while self.ends <= until:
            now = self.ends
            self._finish(now)
            self._begin(now)

    def crash(self, now: float) -> None:
        """The process dies, and every request in it fails."""
        requests = [*self._waiting, *(request for _, request in self._decoding), *self._prefilled]
        if self._partial:
            requests.append(self._partial[0])
        for request in requests:
            self._journal.fail(request, now)
        self.load, self.ends = 0, NEVER

    def busy_until(self, now: float) -> float:
        """Seconds in which a kernel ran, the present run included."""
        return self.busy + (now - self._began if self.ends != NEVER else 0.0)

    @property
    def running(self) -> int:
        """Requests in work, as the engine's own gauge has it."""
        return self.load - len(self._waiting)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def sample(self, now: float) -> EngineSample:
        """All that a vLLM of this state would say."""
        answers = len(self._decoding)
        # within a run steps have ended that are not accounted for yet
        done = int((now - self._began) / self._step) if self._run > 1 and self.ends != NEVER else 0
        return EngineSample(
            at=now,
            started_at=self.started_at,
            running=float(self.running),
            waiting=float(self.waiting),
            max_running=float(self._max_running),
            completed=float(self._completed),
            failed=float(self._failed),
            prompt_tokens=float(self._prompt_tokens),
            output_tokens=float(self.output_tokens + done * answers),
            prompt_seconds=self._prompt_seconds,
            output_seconds=self.output_seconds,
            steps=float(self._steps + done),
            step_tokens=float(self._step_tokens + done * answers),
            kv_used=(self._kv + done * answers) / self._kv_tokens,
            kv_tokens=float(self._kv_tokens),
            preemptions=float(self._preemptions),
            time_to_first_token=self.ttft.histogram(),
            time_per_output_token=self.tpot.histogram(),
            request_time=self.request_time.histogram(),
        )

    def _begin(self, now: float) -> None:
        """Compose the next step, or the run of steps until something changes."""
        answers = len(self._decoding)
        if self._kv + answers > self._kv_tokens:
            answers = self._preempt()
        tokens, pairs = answers, 0.0
        if self._partial or self._waiting:
            tokens, pairs = self._take_prompts(answers, now)
        if not tokens:
            self.ends = NEVER
            return
        run, context = 1, float(self._context)
        if tokens == answers:
            room = (self._kv_tokens - self._kv) // answers
            run = max(1, min(self._decoding[0][0] - self._clock, LONGEST_RUN, room))
            context += answers * run / 2
        self._began, self._run, self._tokens = now, run, tokens
        self._step = (
            self._linear[tokens]
            + context * self._per_context
            + pairs * self._per_pair
            + (answers + len(self._prefilled)) * self._per_request
        )
        self.ends = now + run * self._step

    def _take_prompts(self, answers: int, now: float) -> tuple[int, float]:
        """Fill the step with prompts, first come first served: (tokens of the step, pairs of tokens for attention)."""
        prefilled = self._prefilled
        tokens, pairs = answers, 0.0
        while tokens < self._budget:
            if self._partial is None:
                if not self._waiting or answers + len(prefilled) >= self._max_running:
                    break
                request = self._waiting[0]
                size = self._resumed[request][0] if request in self._resumed else self._prompts[request]
                if self._kv + size + answers > self._kv_tokens:
                    break
                self._waiting.popleft()
                self._kv += size
                self._journal.admitted[request] = now
                done = 0
            else:
                request, done, size = self._partial
            chunk = min(size - done, self._budget - tokens)
            tokens += chunk
            pairs += chunk * (done + chunk / 2)
            done += chunk
            if done < size:
                self._partial = (request, done, size)
                break
            self._partial = None
            prefilled.append(request)
        return tokens, pairs

    def _finish(self, now: float) -> None:
        """What the run has brought."""
        answers, run = len(self._decoding), self._run
        self.busy += now - self._began
        self._clock += run
        self._steps += run
        self._step_tokens += run * self._tokens
        if answers:
            grown = run * answers
            self._context += grown
            self._kv += grown
            self.output_tokens += grown
        if self._prefilled:
            for request in self._prefilled:
                self._first_token(request, now)
            self._prefilled.clear()
        while self._decoding and self._decoding[0][0] <= self._clock:
            self._end(heappop(self._decoding)[1], now)

    def _first_token(self, request: int, now: float) -> None:
        """A prompt is computed; its step has brought a token, the first one unless it was preempted."""
        prompt, remaining = self._prompts[request], self._outputs[request]
        if request in self._resumed:
            prompt, remaining = self._resumed.pop(request)
        else:
            self._journal.first[request] = now
            self.ttft.add(now - self._arrived[request])
            self._prompt_tokens += prompt
        self._prompt_seconds += now - self._journal.admitted[request]
        self.output_tokens += 1
        self._context += prompt
        heappush(self._decoding, (self._clock + remaining - 1, request))

    def _end(self, request: int, now: float) -> None:
        held = self._prompts[request] + self._outputs[request] - 1
        self._context -= held
        self._kv -= held
        self.load -= 1
        self._completed += 1
        self.ended_tokens += self._outputs[request]
        self._journal.ended[request] = now
        seconds, tokens = now - self._journal.first[request], self._outputs[request] - 1
        self.output_seconds += seconds
        if tokens:
            self.tpot.add(seconds / tokens)  # once for each request, as the histogram that the scraper prefers
        self.request_time.add(now - self._arrived[request])

    def _preempt(self) -> int:
        """Youngest answers go back until one more step fits; how many are left."""
        decoding = self._decoding
        while decoding and self._kv + len(decoding) > self._kv_tokens:
            place = max(range(len(decoding)), key=lambda index: decoding[index][1])
            ends, request = decoding[place]
            decoding[place] = decoding[-1]
            decoding.pop()
            remaining = ends - self._clock
            anew = self._prompts[request] + self._outputs[request] - remaining
            self._context -= anew - 1
            self._kv -= anew - 1
            self._resumed[request] = (anew, remaining)
            self._waiting.appendleft(request)
            self._preemptions += 1
        heapify(decoding)
        return len(decoding)
