"""Autoscalers that count requests at a proxy of their own: Knative's KPA and KubeAI.

Knative: pkg/autoscaler/scaling/autoscaler.go. KubeAI: internal/modelautoscaler and internal/movingaverage.
"""

import math
from collections import deque
from collections.abc import Sequence

from agentfleet.simulator.faults import Faults, holds
from agentfleet.simulator.fleet import Fleet

KPA_TICK, KPA_STABLE, KPA_PANIC = 2.0, 60.0, 6.0
KPA_PANIC_THRESHOLD, KPA_UP, KPA_DOWN = 2.0, 1000.0, 2.0
KPA_UTILIZATION = 0.7

KUBEAI_TICK = 10.0
KUBEAI_DOWN_DELAY = 30.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


class KpaState:
    """Knative's decision: the stable window, unless the panic window calls for twice what is ready; then never fewer
    until a stable window after the last such call."""

    def __init__(self, target: float, delay: float) -> None:
        self._target = target
        self._delay = delay
        self._panic_since: float | None = None
        self._most_in_panic = 0
        self._wished: deque[tuple[float, int]] = deque()

    def decide(self, now: float, ready: int, stable: float, panic: float) -> int:
        """From the windows' mean total concurrency."""
        pods = max(1, ready)
        least, most = math.floor(pods / KPA_DOWN), math.ceil(KPA_UP * pods)
        in_stable, in_panic = math.ceil(stable / self._target), math.ceil(panic / self._target)
        if in_panic / pods >= KPA_PANIC_THRESHOLD:
            self._most_in_panic = max(self._most_in_panic, ready)
            self._panic_since = now
        elif self._panic_since is not None and self._panic_since + KPA_STABLE < now:
            self._panic_since, self._most_in_panic = None, 0
        wished = min(most, max(least, in_stable))
        if self._panic_since is not None:
            self._most_in_panic = max(self._most_in_panic, wished, min(most, max(least, in_panic)))
            wished = self._most_in_panic
        self._wished.append((now, wished))
        while self._wished[0][0] < now - self._delay:
            self._wished.popleft()
        return max(replicas for _, replicas in self._wished)


class Kpa:
    """Counts of the queue-proxies and the activator every second, a decision every two."""

    def __init__(self, fleet: Fleet, faults: Faults, bounds: tuple[int, int], target: float, delay: float) -> None:
        self._fleet, self._faults, self._bounds = fleet, faults, bounds
        self._state = KpaState(target, delay)
        self._counts: deque[float] = deque(maxlen=int(KPA_STABLE))
        fleet.every(1.0, self._count)
        fleet.every(KPA_TICK, self._decide)

    def _count(self) -> None:
        self._counts.append(_in_flight(self._fleet))

    def _decide(self) -> None:
        if holds(self._faults.outage, self._fleet.now) or not self._counts:
            return  # without data the scale is not valid, and stays
        recent = list(self._counts)[-int(KPA_PANIC) :]
        wished = self._state.decide(self._fleet.now, len(self._fleet.ready), _mean(self._counts), _mean(recent))
        self._fleet.scale(min(self._bounds[1], max(self._bounds[0], wished)))


class Kubeai:
    """A moving average of requests in flight over a window that starts out as zeros, divided by a target."""

    def __init__(self, fleet: Fleet, faults: Faults, bounds: tuple[int, int], target: float, window: float) -> None:
        self._fleet, self._faults, self._bounds = fleet, faults, bounds
        self._target = target
        size = max(1, int(window / KUBEAI_TICK))
        self._counts: deque[float] = deque([0.0] * size, maxlen=size)
        self._fewer = 0
        fleet.every(KUBEAI_TICK, self._decide)
        if bounds[0] == 0:
            fleet.every(1.0, self._wake)

    def _decide(self) -> None:
        fleet = self._fleet
        if holds(self._faults.outage, fleet.now):
            return
        self._counts.append(_in_flight(fleet))
        wished = min(self._bounds[1], max(self._bounds[0], math.ceil(_mean(self._counts) / self._target)))
        self._fewer = self._fewer + 1 if wished < fleet.wanted else 0
        if wished > fleet.wanted or self._fewer > KUBEAI_DOWN_DELAY / KUBEAI_TICK:
            self._fewer = 0
            fleet.scale(wished)

    def _wake(self) -> None:
        """The proxy holds a request, and asks for the first replica itself."""
        if self._fleet.wanted == 0 and self._fleet.held:
            self._fleet.scale(1)


def _in_flight(fleet: Fleet) -> float:
    for pod in fleet.pods:
        fleet.refresh(pod)
    return float(fleet.in_flight)
