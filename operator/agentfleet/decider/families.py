"""The metrics of the decider's page: what was counted → metric families. No I/O.

A number that nobody knows has no sample: missing is not zero.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agentfleet.decider.audit import Audit, Line
from agentfleet.decider.chat import Chat
from agentfleet.decider.classifier import Classifier
from agentfleet.decider.demand import Meter, counts
from agentfleet.decider.ledger import Ledger, decimal
from agentfleet.decider.missing import Missing
from agentfleet.decider.paths import Paths
from agentfleet.decider.rotation import Rotation
from agentfleet.decider.stats import TargetLoad
from agentfleet.gateway.decider_config import DemandSource
from agentfleet.gateway.types import Policy
from agentfleet.objects import DEMAND_LABELS

DEMAND = "agentfleet_demand_"
ROUTE = "agentfleet_route_"


class Requests:
    """Counters of audit lines; rules and targets are names of the route, so there are only so many."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        """(rule, target, status)"""
        self.attempts: Counter[str] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        """(target, input or output)"""

    def take(self, line: Line) -> None:
        """Counts one request."""
        self.requests[line.rule, line.target, str(line.status)] += 1
        self.attempts[line.target] += line.attempts
        self.tokens[line.target, "input"] += line.tokens_in
        self.tokens[line.target, "output"] += line.tokens_out


@dataclass(frozen=True)
class Parts:
    """Where the numbers come from."""

    paths: Paths
    policy: Policy
    sources: Sequence[DemandSource]
    gateway: str
    meter: Meter
    requests: Requests
    audit: Audit
    missing: Missing
    ledger: Ledger
    rotation: Rotation
    classifier: Classifier
    chat: Chat


class Families(Collector):
    """All metrics of one answer."""

    def __init__(self, parts: Parts, loads: Mapping[str, TargetLoad]) -> None:
        self._parts = parts
        self._loads = loads

    def collect(self) -> Iterator[Metric]:
        """In the order of the page."""
        parts = self._parts
        yield from _demand(parts, self._loads)
        yield from _targets(parts.policy, self._loads)
        yield from _requests(parts.requests, parts.audit)
        missing = [] if parts.missing.lines is None else [(parts.missing.lines,)]
        yield _gauge("audit_lines_missing", "Requests that have ended and whose audit line never came.", "", missing)
        yield from _used(parts.ledger, parts.gateway)
        yield from _keys(parts.rotation)
        yield from _chat(parts.chat)
        classified = [(*key, number) for key, number in parts.classifier.outcomes.items()]
        yield _counter("classified", "Requests by how their intent or complexity was found.", "what by", classified)


def _demand(parts: Parts, loads: Mapping[str, TargetLoad]) -> Iterator[Metric]:
    """A series for each ModelServer and Agent from the start, at zero too: by it the operator knows who stands before
    whom."""
    found = counts(parts.meter, loads, parts.sources)
    requests = Metric(DEMAND + "requests", "Requests that came for a ModelServer or an Agent.", "counter")
    waiting = Metric(DEMAND + "waiting", "Requests held for want of room or of pods.", "gauge")
    in_flight = Metric(DEMAND + "in_flight", "Requests passed on and not answered yet.", "gauge")
    for count in found:
        labels = {"namespace": count.namespace, DEMAND_LABELS[count.kind]: count.name}
        requests.add_sample(f"{requests.name}_total", labels, count.requests)
        waiting.add_sample(waiting.name, labels, count.waiting)
        in_flight.add_sample(in_flight.name, labels, count.in_flight)
    return iter((requests, waiting, in_flight))


def _targets(policy: Policy, loads: Mapping[str, TargetLoad]) -> Iterator[Metric]:
    by_name = [(target.name, loads[target.id]) for target in policy.targets]
    ready = [(name, load.ready) for name, load in by_name]
    waiting = [(name, load.waiting) for name, load in by_name]
    in_flight = [(name, load.in_flight) for name, load in by_name]
    yield _gauge("target_ready", "Pods of a target that answer their health check.", "target", ready)
    yield _gauge("target_waiting", "Requests held for a target for want of room or of pods.", "target", waiting)
    yield _gauge("target_in_flight", "Requests at a target.", "target", in_flight)


def _requests(requests: Requests, audit: Audit) -> Iterator[Metric]:
    ended = [(*key, number) for key, number in requests.requests.items()]
    tokens = [(*key, number) for key, number in requests.tokens.items()]
    attempts = list(requests.attempts.items())
    yield _counter("requests", "Requests that have ended.", "rule target status", ended)
    yield _counter("attempts", "Attempts, by the target that answered at last.", "target", attempts)
    yield _counter("tokens", "Tokens of requests and answers.", "target direction", tokens)
    yield _counter("audit_lines", "Audit lines of HAProxy that arrived.", "", [(audit.lines,)])
    yield _counter("audit_lines_bad", "Audit lines that could not be read.", "", [(audit.bad,)])


def _used(ledger: Ledger, gateway: str) -> Iterator[Metric]:
    """Only what this gateway has counted: whoever reads all of them adds up."""
    used = [
        (
            gateway,
            counter.scope,
            counter.value,
            counter.unit,
            counter.window,
            counter.period,
            float(decimal(counter.unit, amount)),
        )
        for counter, amount in ledger.own()
    ]
    labels = "gateway scope value unit window period"
    yield _gauge("budget_used", "Tokens or US dollars that this gateway let through.", labels, used)
    yield _counter(
        "budget_uncounted", "Additions for callers beyond the most that are counted.", "", [(ledger.refused,)]
    )


def _keys(rotation: Rotation) -> Iterator[Metric]:
    yield _gauge("skipped_secret_entries", "Entries of Secrets that make no sense.", "", [(rotation.skipped,)])
    yield _counter("key_rotations", "Maps of keys that were renewed in HAProxy.", "", [(rotation.rotations,)])
    yield _counter("key_rotation_failures", "Renewals that HAProxy did not take at once.", "", [(rotation.failures,)])


def _chat(chat: Chat) -> Iterator[Metric]:
    tally = chat.tally
    outcomes = [("ok", tally.ok), ("failed", tally.failed)]
    yield _counter("chat_requests", "Messages to /chat and /v1/batch-chat.", "outcome", outcomes)
    yield _counter("chat_seconds", "Time until their answers, added up.", "", [(tally.seconds,)])
    if tally.total:
        yield _gauge("chat_success_percent", "Share that was answered.", "", [(100 * tally.ok / tally.total,)])
        yield _gauge("chat_mean_seconds", "Mean time until an answer.", "", [(tally.seconds / tally.total,)])
    by_agent = list(tally.by_agent.items())
    yield _counter("chat_agent_requests", "Messages by the agent that answered.", "agent", by_agent)
    yield _gauge("chat_queue", "Messages that wait for a worker.", "", [(chat.waiting,)])
    yield _gauge("chat_workers", "Messages in work at once, at most.", "", [(chat.workers,)])
    yield _gauge("chat_requests_per_minute", "Messages answered in the last minute.", "", [(tally.per_minute,)])


Row = tuple[str | float, ...]
"""Values of a metric's labels, then its number."""


def _counter(name: str, documentation: str, labels: str, rows: Iterable[Row]) -> CounterMetricFamily:
    family = CounterMetricFamily(ROUTE + name, documentation, labels=labels.split())
    for *values, number in rows:
        family.add_metric([str(value) for value in values], float(number))
    return family


def _gauge(name: str, documentation: str, labels: str, rows: Iterable[Row]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(ROUTE + name, documentation, labels=labels.split())
    for *values, number in rows:
        family.add_metric([str(value) for value in values], float(number))
    return family
