"""Every Prometheus metric of the operator process, on a registry of its own; server.py shows it at /metrics.

Created once by app.py and handed to those who count. It holds numbers only: nothing here decides or logs.
"""

from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

_RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TICK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0)


class Metrics:
    """The operator's counters and gauges; label values come from fixed sets, never from names of objects."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.reconciles = Counter(
            "agentfleet_reconciles",
            "Reconciles by result: ok, not_ready, transient, invalid or error.",
            ["kind", "result"],
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            "agentfleet_reconcile_seconds",
            "Time of one reconcile.",
            ["kind"],
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "agentfleet_queue_depth", "Keys that are due and wait for a worker.", registry=registry
        )
        self.queue_oldest_seconds = Gauge(
            "agentfleet_queue_oldest_seconds", "How long the first of them has been due.", registry=registry
        )
        self.retries = Counter(
            "agentfleet_retries", "Reconciles put back with a backoff after a failure.", ["kind"], registry=registry
        )
        self.api_writes = Counter(
            "agentfleet_api_writes",
            "Writes to the API server by result: ok or the HTTP status, or unreachable.",
            ["verb", "kind", "result"],
            registry=registry,
        )
        self.applies_skipped = Counter(
            "agentfleet_applies_skipped", "Applies not sent because nothing would change.", ["kind"], registry=registry
        )
        self.watch_events = Counter(
            "agentfleet_watch_events", "Objects received from watches and their listings.", ["kind"], registry=registry
        )
        self.cache_objects = Gauge("agentfleet_cache_objects", "Objects in the cache.", ["kind"], registry=registry)
        self.ghosts_dropped = Counter(
            "agentfleet_ghosts_dropped",
            "Cached objects whose deletion no watch reported, found by a listing.",
            ["kind"],
            registry=registry,
        )
        self.scaling_tick_seconds = Histogram(
            "agentfleet_scaling_tick_seconds",
            "Time of one look of the scaling loop at all ModelServers.",
            buckets=_TICK_BUCKETS,
            registry=registry,
        )
        self.scaling_tick_lateness = Gauge(
            "agentfleet_scaling_tick_late_seconds", "How late the last look began.", registry=registry
        )
        self.scaling_errors = Counter(
            "agentfleet_scaling_errors", "Looks at one ModelServer that failed on a bug.", registry=registry
        )
        self.leader = Gauge("agentfleet_leader", "1 while this replica holds the Lease.", registry=registry)

    def watch_queue(self, depth: Callable[[], float], oldest_seconds: Callable[[], float]) -> None:
        """Read the queue's gauges at scrape time."""
        self.queue_depth.set_function(depth)
        self.queue_oldest_seconds.set_function(oldest_seconds)

    def watch_cache(self, kinds: Iterable[str], count: Callable[[str], float]) -> None:
        """Read the number of cached objects of each kind at scrape time."""
        for kind in kinds:
            self.cache_objects.labels(kind).set_function(partial(count, kind))

    def exposition(self) -> bytes:
        """The text of /metrics."""
        return generate_latest(self.registry)
