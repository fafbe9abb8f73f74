"""What was observed of every ModelServer, and what that means: history, reports, thresholds. One door for the loop.

    tick ─▶ history.py (half-minute samples) ─▶ autoscale/reporting.py ──▶ status.report, status.gpu, metrics
                                             └▶ autoscale/thresholds.py ─▶ ThresholdExceeded, Events, metrics

It only looks: nothing here changes replicas, and no decision reads any of it. How loop and reconcile use it:

    observations = Observations()                     # one for the process; app.py hands it to metrics, and its
                                                      # history to samples_api
    if observations.record(key, spec, tick): enqueue  # every tick; True where status or an Event has news
    observations.report(key, before.report)           # → status.report
    observations.gpu(key, before.gpu)                 # → status.gpu
    observations.threshold(key, before_condition)     # → (status, reason, message) of ThresholdExceeded; None: no such
    observations.news(key)                            # → (type, reason, message) of Events, each told once
    observations.forget(key)                          # the ModelServer is gone

After a restart of the operator all of it begins anew: what is not known yet leaves status as it is.
"""

from collections.abc import Mapping

from agentfleet.autoscale.folding import Folded
from agentfleet.autoscale.reporting import Reporting
from agentfleet.autoscale.samples import Tick
from agentfleet.autoscale.thresholds import Alarms, Alert, Limits, cleared_words, condition, limits_of, raised_words
from agentfleet.monitor.history import INTERVAL, KEPT, KEPT_OLLAMA, History
from agentfleet.objects import Key
from agentfleet.resources.conditions import Condition, ConditionStatus
from agentfleet.resources.modelserver import ModelServerSpec
from agentfleet.resources.scaling_status import GpuStatus, Report

Words = tuple[str, str, str]
"""Type, reason and message of an Event."""

_MOST_NEWS = 32
"""Events that wait to be told; older ones are dropped, for the condition says what still holds."""


class _Watched:
    """What is kept of one server beside its samples."""

    __slots__ = ("alarms", "known_from", "news", "reporting", "until")

    def __init__(self, began: float, lasting: float) -> None:
        self.alarms = Alarms()
        self.reporting = Reporting(began)
        self.news: list[Words] = []
        self.until = began
        self.known_from = began + lasting
        """Whatever exceeds a threshold has been told by then."""

    def judge(self, completed: list[Folded], limits: Limits) -> bool:
        raised, cleared = self.alarms.judge(completed, limits)
        self.news = [*self.news, *map(raised_words, raised), *map(cleared_words, cleared)][-_MOST_NEWS:]
        return bool(raised or cleared)


class Observations:
    """History, reports and alerts of all ModelServers."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.history = History(interval)
        self._watched: dict[Key, _Watched] = {}

    def record(self, key: Key, spec: ModelServerSpec, tick: Tick) -> bool:
        """Take in a tick; True where there is news for status or an Event."""
        completed = self.history.record(key, tick, KEPT_OLLAMA if spec.engine == "Ollama" else KEPT)
        if completed is None:
            return False
        limits = limits_of(spec.engine, spec.thresholds)
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = _Watched(completed.since, limits.lasting)
        watched.until = completed.until
        alarmed = watched.judge(completed.samples, limits)
        slow = limits.values["latency"]
        first = not alarmed and watched.until >= watched.known_from > watched.until - self.history.interval
        told = watched.reporting.add(completed.samples, completed.until, engine=spec.engine, slow=slow)
        return alarmed or told or first

    def report(self, key: Key, before: Report | None) -> Report | None:
        """The report that status shall hold, after `before`."""
        watched = self._watched.get(key)
        return watched.reporting.latest(before) if watched else before

    def gpu(self, key: Key, before: GpuStatus | None) -> GpuStatus | None:
        """The GPUs that status shall hold, after `before`."""
        watched = self._watched.get(key)
        return watched.reporting.gpu if watched else before

    def alerts(self, key: Key) -> tuple[Alert, ...]:
        """What exceeds its threshold now."""
        watched = self._watched.get(key)
        return watched.alarms.alerts if watched else ()

    def threshold(self, key: Key, before: Condition | None) -> tuple[ConditionStatus, str, str] | None:
        """The condition ThresholdExceeded, after `before`; None where there shall be none."""
        watched = self._watched.get(key)
        told = condition(watched.alarms.alerts) if watched else None
        if told is None and before is not None and (watched is None or watched.until < watched.known_from):
            return before.status, before.reason, before.message
        return told

    def news(self, key: Key) -> tuple[Words, ...]:
        """Events to be told, each once."""
        watched = self._watched.get(key)
        if watched is None:
            return ()
        news, watched.news = tuple(watched.news), []
        return news

    def reports(self) -> Mapping[Key, tuple[Report | None, tuple[Alert, ...]]]:
        """Of every server that is watched: for metrics."""
        return {key: (each.reporting.report, each.alarms.alerts) for key, each in self._watched.items()}

    def forget(self, key: Key) -> None:
        """The ModelServer is gone."""
        self.history.forget(key)
        self._watched.pop(key, None)
