"""The cluster around the engines: pods that come and go, and a router that sends each request to the least busy one.

Time goes from event to event: arrivals, and what was asked for with `at` and `every`. Scaling works as in Kubernetes:
`scale` changes the wanted number, pods follow after a control delay, a new one serves after its cold start, and one
that goes leaves the router first and is paid for until its last answer has ended. Policies call `scale` and look at
what telemetry.py lets them see; they read nothing else here.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from agentfleet.simulator.engine import Engine
from agentfleet.simulator.profiles import Profile
from agentfleet.simulator.traces import Journal, Trace, stream

CONTROL_DELAY = 1.0
"""Seconds from a changed number to changed pods: Deployment controller, scheduler, endpoints."""

COLD_START_SPREAD = 0.1
"""Standard deviation of cold starts, as a share of their mean."""

CRASH_LOOP = "CrashLoopBackOff"
NO_ROOM = "Unschedulable"


@dataclass(eq=False)
class Pod:
    """One replica as Kubernetes shows it, and its engine once it serves."""

    name: str
    created: float
    scheduled: float | None = None
    """When it got its GPUs, which are paid for from then on."""
    engine: Engine | None = None
    """None while it starts."""
    ready: bool = False
    leaving: bool = False
    problem: str | None = None
    gone: float | None = None

    @property
    def load(self) -> int:
        """Requests in it."""
        return self.engine.load if self.engine else 0


@dataclass(frozen=True)
class Change:
    """One change of the wanted number."""

    time: float
    before: int
    after: int


@dataclass(eq=False)
class Fleet:
    """One run. `wanted` is the number asked for; `pods` has all that are not gone, `ready` those that get requests."""

    trace: Trace
    profile: Profile
    cold_start: float
    seed: int
    quota: int | None = None
    """Most GPUs that the cluster has room for."""
    now: float = 0.0
    wanted: int = 0
    pods: list[Pod] = field(default_factory=list)
    ready: list[Pod] = field(default_factory=list)
    gone: list[Pod] = field(default_factory=list)
    held: deque[int] = field(default_factory=deque)
    """Requests that the router holds back because no replica is ready."""
    arrived: int = 0
    changes: list[Change] = field(default_factory=list)
    supply: list[tuple[float, int]] = field(default_factory=list)
    """(seconds, ready replicas), for plots."""
    cold_starts: list[float] = field(default_factory=list)
    """Seconds that replicas took so far, as anybody can see from their conditions."""

    def __post_init__(self) -> None:
        self.journal = Journal(self.trace)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._names = count()
        self._starts = stream(self.seed, "cold starts")
        self._engines: list[Engine] = []
        """Those of `ready`, in the same order."""

    # -- for policies

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something once; nothing happens after the trace's end."""
        heapq.heappush(self._events, (time, next(self._order), action))

    def every(self, interval: float, action: Callable[[], None], first: float | None = None) -> None:
        """Do something again and again, first after one interval."""

        def act() -> None:
            action()
            self.at(self.now + interval, act)

        self.at(interval if first is None else first, act)

    def scale(self, replicas: int) -> None:
        """Change the wanted number; pods follow."""
        if replicas == self.wanted:
            return
        self.changes.append(Change(self.now, self.wanted, replicas))
        self.wanted = replicas
        self.at(self.now + CONTROL_DELAY, self._follow)

    @property
    def in_flight(self) -> int:
        """Requests that the router has not seen the end of."""
        return len(self.held) + sum(pod.load for pod in self.pods)

    # -- the run

    def begin(self, replicas: int) -> None:
        """Replicas that serve from the start."""
        self.wanted = replicas
        for _ in range(replicas):
            pod = self._create()
            if pod.scheduled is not None:
                self._serve(pod)

    def run(self, grace: float) -> None:
        """The whole trace, and `grace` seconds more in which replicas go on and nobody scales."""
        events, engines, trace = self._events, self._engines, self.trace
        for request, second in enumerate(trace.seconds):
            while events and events[0][0] <= second:
                self.now, _, action = heapq.heappop(events)
                action()
            self.now = second
            self.arrived += 1
            if not engines:
                self.held.append(request)
                continue
            # the hot loop: the first of the least busy, all of them up to date
            chosen = engines[0]
            for engine in engines:
                if engine.ends <= second:
                    engine.advance(second)
                if engine.load < chosen.load:
                    chosen = engine
            chosen.add(request, second)
        while events and events[0][0] <= trace.duration:
            self.now, _, action = heapq.heappop(events)
            action()
        self.now = trace.duration
        for pod in self.pods:
            if pod.engine:
                pod.engine.advance(self.now + grace)

    def refresh(self, pod: Pod) -> Engine | None:
        """Its engine, up to date."""
        if pod.engine:
            pod.engine.advance(self.now)
        return pod.engine

    def crash(self) -> None:
        """The process of the oldest replica dies, now and after every start from now on."""
        if not self.pods:
            return
        pod = self.pods[0]
        engine = self.refresh(pod)
        if engine:
            engine.crash(self.now)
        self._unready(pod)
        pod.engine, pod.problem = None, CRASH_LOOP

    def gpu_seconds(self) -> float:
        """From a pod's place on a node to its end, start and drain included, times its GPUs."""
        held = (
            (self.trace.duration if pod.gone is None else pod.gone) - pod.scheduled
            for pod in (*self.gone, *self.pods)
            if pod.scheduled is not None
        )
        return sum(held) * self.profile.gpus_per_replica

    # -- pods

    def _follow(self) -> None:
        """Pods after the wanted number."""
        staying = [pod for pod in self.pods if not pod.leaving]
        for _ in range(self.wanted - len(staying)):
            self._create()
        for pod in staying:
            self.refresh(pod)
        # those that do not serve go first, the youngest of them first; then the least busy
        staying.sort(key=lambda pod: (pod.ready, pod.load, -pod.created))
        for pod in staying[: max(0, len(staying) - self.wanted)]:
            self._remove(pod)

    def _create(self) -> Pod:
        pod = Pod(f"replica-{next(self._names)}", self.now)
        self.pods.append(pod)
        self._schedule()
        return pod

    def _schedule(self) -> None:
        """Pods without a place get one where there is room."""
        per_replica = self.profile.gpus_per_replica
        used = per_replica * sum(pod.scheduled is not None for pod in self.pods)
        room = math.inf if self.quota is None else self.quota - used
        for pod in self.pods:
            if pod.scheduled is not None or pod.leaving:
                continue
            if room < per_replica:
                pod.problem = NO_ROOM
                continue
            room -= per_replica
            pod.scheduled, pod.problem = self.now, None
            spread = self._starts.gauss(1, COLD_START_SPREAD)
            self.at(self.now + self.cold_start * max(0.1, spread), partial(self._started, pod))

    def _started(self, pod: Pod) -> None:
        if pod.ready or pod.leaving or pod.problem:
            return
        self.cold_starts.append(self.now - pod.created)
        self._serve(pod)

    def _serve(self, pod: Pod) -> None:
        pod.engine = Engine(self.profile, self.trace, self.journal, self.now)
        pod.ready = True
        self.ready.append(pod)
        self._engines.append(pod.engine)
        self.supply.append((self.now, len(self.ready)))
        for engine in self._engines if self.held else ():
            engine.advance(self.now)
        while self.held:
            min(self._engines, key=lambda engine: engine.load).add(self.held.popleft(), self.now)

    def _unready(self, pod: Pod) -> None:
        if pod.ready:
            place = self.ready.index(pod)
            del self.ready[place], self._engines[place]
            pod.ready = False
            self.supply.append((self.now, len(self.ready)))

    def _remove(self, pod: Pod) -> None:
        pod.leaving = True
        self._unready(pod)
        self._drain(pod)

    def _drain(self, pod: Pod) -> None:
        engine = self.refresh(pod)
        if engine and engine.load:
            self.at(engine.ends, lambda: self._drain(pod))
            return
        pod.gone = self.now
        self.pods.remove(pod)
        self.gone.append(pod)
        self._schedule()
