"""The queue between watch events and reconcile: which key is worked on next, by how many workers, and when again.

Schedule is the pure part: one entry a key, the earliest wish wins, no key is handed out twice at once. WorkQueue runs
workers over it and turns the four classes of errors (errors.py) into waiting times. It never looks at objects.
"""

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agentfleet.errors import InvalidSpec, NotReady, Transient
from agentfleet.metrics import Metrics
from agentfleet.objects import Key

logger = logging.getLogger(__name__)

Handler = Callable[[Key], Awaitable[float | None]]
"""Works on one key; returns after how many seconds to look again, or None."""


class Schedule:
    """When each key is due. Keys that are worked on wait for `done` before they are handed out again."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []  # may hold outdated lines; `_due` is the truth
        self._again: dict[Key, float] = {}
        self._running: dict[Key, float] = {}
        self._count = 0  # equal times leave in the order of arrival

    def add(self, key: Key, due: float) -> None:
        """Wish for `key` to be worked on at `due`; of several wishes the earliest counts."""
        waiting = self._again if key in self._running else self._due
        if key in waiting and waiting[key] <= due:
            return
        waiting[key] = due
        if waiting is self._due:
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))

    def pop(self, now: float) -> Key | None:
        """The key that has been due longest, now running; None where nothing is due."""
        due = self.next_due()
        if due is None or due > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._due[key]
        self._running[key] = now
        return key

    def done(self, key: Key) -> None:
        """The work on `key` has ended, well or not."""
        del self._running[key]
        if key in self._again:
            self.add(key, self._again.pop(key))

    def next_due(self) -> float | None:
        """When the next key that nobody works on is due."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def depth(self, now: float) -> int:
        """How many keys are due and wait for a worker."""
        return sum(due <= now for due in self._due.values())

    @property
    def running(self) -> dict[Key, float]:
        """The keys being worked on, and since when."""
        return self._running

    @property
    def idle(self) -> bool:
        """True while no key is running."""
        return not self._running


@dataclass(slots=True)
class Backoff:
    """Capped exponential waiting times with jitter, counted by key."""

    base: float = 0.5
    cap: float = 60.0
    uniform: Callable[[float, float], float] = random.uniform
    _failures: dict[Key, int] = field(default_factory=dict)

    def next(self, key: Key) -> float:
        """Seconds to wait after one more failure: at most `cap`, at least half of what is drawn from."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # 2**failures overflows a float after a thousand failures of one key
        longest = min(self.cap, self.base * 2 ** min(failures, 32))
        return self.uniform(longest / 2, longest)

    def forget(self, key: Key) -> None:
        """Start again from the shortest wait."""
        self._failures.pop(key, None)


class WorkQueue:
    """N workers over one Schedule. `run` returns after `stop`, when the keys in work are done."""

    def __init__(
        self,
        handler: Handler,
        *,
        workers: int,
        metrics: Metrics,
        backoff: Backoff | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` is the event loop's unless a test brings its own; so the queue is made inside a running loop."""
        self._handler = handler
        self._workers = workers
        self._metrics = metrics
        self._backoff = backoff or Backoff()
        self._clock = clock or asyncio.get_running_loop().time
        self._schedule = Schedule()
        self._wake = asyncio.Event()
        self._stopping = False
        metrics.watch_queue(self.depth, self.oldest_waiting_seconds)

    def add(self, key: Key) -> None:
        """Work on `key` as soon as a worker is free; once more afterwards where it is being worked on."""
        self.add_after(key, 0.0)

    def add_after(self, key: Key, seconds: float) -> None:
        """Work on `key` after `seconds`, or earlier where an earlier wish is known."""
        self._schedule.add(key, self._clock() + seconds)
        self._wake.set()

    def depth(self) -> int:
        """How many keys are due and wait for a worker."""
        return self._schedule.depth(self._clock())

    def oldest_waiting_seconds(self) -> float:
        """How long the first key in line has been due."""
        due = self._schedule.next_due()
        return max(0.0, self._clock() - due) if due is not None else 0.0

    def oldest_running(self) -> tuple[Key, float] | None:
        """The key that has been in work longest, and its seconds."""
        running = self._schedule.running
        if not running:
            return None
        key = min(running, key=running.__getitem__)
        return key, self._clock() - running[key]

    def stop(self) -> None:
        """Hand out no further key; `run` returns when those in work are done."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`. Cancelling it cancels the handlers."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"worker-{number}")

    async def _work(self) -> None:
        while (key := await self._next()) is not None:
            try:
                await self._handle(key)
            finally:
                self._schedule.done(key)
                self._wake.set()

    async def _next(self) -> Key | None:
        while not self._stopping:
            key = self._schedule.pop(self._clock())
            if key is not None:
                return key
            self._wake.clear()
            due = self._schedule.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._wake.wait()
            except TimeoutError:
                continue
        return None

    async def _handle(self, key: Key) -> None:
        started = self._clock()
        result = await self._outcome(key)
        self._metrics.reconciles.labels(key.kind, result).inc()
        self._metrics.reconcile_seconds.labels(key.kind).observe(self._clock() - started)

    async def _outcome(self, key: Key) -> str:
        """Run the handler, put the key back where needed, and name the result for the metrics."""
        try:
            after = await self._handler(key)
        except NotReady as error:
            self._backoff.forget(key)
            self.add_after(key, error.after)
            return "not_ready"
        except InvalidSpec as error:
            self._backoff.forget(key)
            if error.after is not None:
                self.add_after(key, error.after)
            logger.warning("waits for a change: %s", error.message, extra={"key": str(key), "reason": error.reason})
            return "invalid"
        except Transient as error:
            wait = self._retry(key)
            logger.warning("retried in %.1f s: %s", wait, error, extra={"key": str(key)})
            return "transient"
        except Exception:
            wait = self._retry(key)
            logger.exception("reconcile failed on a bug, retried in %.1f s", wait, extra={"key": str(key)})
            return "error"
        self._backoff.forget(key)
        if after is not None:
            self.add_after(key, after)
        return "ok"

    def _retry(self, key: Key) -> float:
        wait = self._backoff.next(key)
        self._metrics.retries.labels(key.kind).inc()
        self.add_after(key, wait)
        return wait
