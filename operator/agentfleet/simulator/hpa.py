"""Kubernetes' HorizontalPodAutoscaler v2 with its published defaults, and KEDA, which drives one.

After pkg/controller/podautoscaler: replica_calculator.go (calcPlainMetricReplicas, GetExternalPerPodMetricReplicas)
and horizontal.go (stabilization, policies). Sync 15 s, tolerance 0.1; out at once, by 4 pods or 100 % within 15 s, the
larger; in by the largest recommendation of 300 s.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from agentfleet.simulator.fleet import Fleet
from agentfleet.simulator.telemetry import Prometheus

SYNC = 15.0
TOLERANCE = 0.1
STABILIZATION_IN = 300.0
MOST_PODS, MOST_SHARE, POLICY_PERIOD = 4, 1.0, 15.0


def pods_metric_replicas(current: int, target: float, values: Mapping[str, float], pods: Sequence[str]) -> int | None:
    """A Pods metric with an AverageValue. Pods without a value count as at their target when it would go in, as idle
    when it would go out; None where no pod has one: the HPA then does nothing."""
    known = [values[pod] for pod in pods if pod in values]
    if not known or any(math.isnan(value) for value in known):
        return None
    ratio = sum(known) / len(known) / target
    missing = len(pods) - len(known)
    if not missing:
        return current if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * len(known))
    filled = sum(known) + (missing * target if ratio < 1 else 0.0)
    again = filled / len(pods) / target
    if abs(1 - again) <= TOLERANCE or (ratio < 1 < again) or (again < 1 < ratio):
        return current
    wished = math.ceil(again * len(pods))
    return current if (again < 1 and wished > current) or (again > 1 and wished < current) else wished


def external_metric_replicas(current: int, threshold: float, total: float) -> int:
    """An External metric with an AverageValue."""
    if current and abs(1 - total / (threshold * current)) <= TOLERANCE:
        return current
    return math.ceil(total / threshold)


class Hpa:
    """The controller's loop; `recommend` says how many for the present number, or None."""

    def __init__(
        self, fleet: Fleet, bounds: tuple[int, int], recommend: Callable[[int], int | None], sync: float = SYNC
    ) -> None:
        self._fleet = fleet
        self._minimum, self._maximum = max(1, bounds[0]), bounds[1]
        self._recommend = recommend
        self._recommended: deque[tuple[float, int]] = deque([(0.0, fleet.wanted)])
        self._added: deque[tuple[float, int]] = deque()
        fleet.every(sync, self._sync)

    def _sync(self) -> None:
        now, current = self._fleet.now, self._fleet.wanted
        wished = self._recommend(current)
        if wished is None:
            return
        self._recommended.append((now, wished))
        while self._recommended[0][0] < now - STABILIZATION_IN:
            self._recommended.popleft()
        if wished < current:
            # a look back may keep what there is, it never adds
            wished = min(current, max(replicas for _, replicas in self._recommended))
        target = min(self._maximum, max(self._minimum, min(wished, self._most(now, current))))
        if target > current:
            self._added.append((now, target - current))
        self._fleet.scale(target)

    def _most(self, now: float, current: int) -> int:
        """By the policies for scaling out, from what there was a period ago."""
        while self._added and self._added[0][0] <= now - POLICY_PERIOD:
            self._added.popleft()
        start = current - sum(added for _, added in self._added)
        return max(start + MOST_PODS, math.ceil(start * (1 + MOST_SHARE)))


def on_pods_metric(fleet: Fleet, bounds: tuple[int, int], metric: Prometheus, target: float) -> Hpa:
    """An HPA on the average of a metric over the pods, those that are being deleted left out."""

    def recommend(current: int) -> int | None:
        pods = [pod.name for pod in fleet.pods if not pod.leaving]
        return pods_metric_replicas(current, target, metric.values, pods)

    return Hpa(fleet, bounds, recommend)


def on_keda_sum(fleet: Fleet, bounds: tuple[int, int], metric: Prometheus, threshold: float) -> Hpa:
    """KEDA's prometheus trigger on a sum: an empty or NaN result is 0 (ignoreNullValues, true unless changed)."""

    def recommend(current: int) -> int | None:
        total = sum(metric.values.values())
        return external_metric_replicas(current, threshold, 0.0 if math.isnan(total) else total)

    return Hpa(fleet, bounds, recommend)
