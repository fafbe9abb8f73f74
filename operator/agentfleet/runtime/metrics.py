"""What /metrics says. OpenTelemetry's gen_ai.* names have dots, which Prometheus does not: ours are agentfleet_agent_*.

Task completion is runs{outcome=ok} over all that are no fault of the caller; `agentfleet_agent_task_completion_ratio`
is that over the last runs. Labels are bounded: outcomes, and names of entries of spec.tools.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from agentfleet.runtime.audit_chain import fingerprint
from agentfleet.runtime.gate import Gate
from agentfleet.runtime.hooks import RunRecord
from agentfleet.runtime.tools.records import ToolRecord
from agentfleet.runtime.types import Task

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)


class Metrics:
    """All metrics of this process, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = Counter("agentfleet_agent_runs", "Runs by how they ended.", ["outcome"], registry=self.registry)
        self._seconds = Histogram(
            "agentfleet_agent_run_duration_seconds",
            "Seconds of a run that was answered, the wait for a place counted.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._waited = Histogram(
            "agentfleet_agent_queue_seconds",
            "Seconds of waiting for a place.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter("agentfleet_agent_tokens", "Tokens of the model.", ["direction"], registry=self.registry)
        self._model_calls = Counter("agentfleet_agent_model_calls", "Answers of the model.", registry=self.registry)
        self._tool_calls = Counter(
            "agentfleet_agent_tool_calls", "Calls of tools.", ["source", "outcome"], registry=self.registry
        )
        self._tool_seconds = Histogram(
            "agentfleet_agent_tool_duration_seconds",
            "Seconds of a call of a tool.",
            ["source"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._alerts = Gauge(
            "agentfleet_agent_alert", "1 while the alert lasts.", ["metric", "action"], registry=self.registry
        )
        self._answers = Gauge(
            "agentfleet_agent_answers",
            "1 while what the agent stands on answers: its model, its tools, its sessions.",
            ["of"],
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def watch(self, gate: Gate, completion: Callable[[], float]) -> None:
        """Gauges that are read when they are asked for."""
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("agentfleet_agent_in_flight", "Runs under way.", lambda: gate.running),
            ("agentfleet_agent_waiting", "Requests that wait for a place.", lambda: gate.waiting),
            ("agentfleet_agent_task_completion_ratio", "Of the last runs, how many were answered.", completion),
        )
        for name, text, value in gauges:
            Gauge(name, text, registry=self.registry).set_function(value)

    def run(self, _: Task, record: RunRecord) -> None:
        """A run ended."""
        self._runs.labels(record.outcome).inc()
        if record.status == 200:
            self._seconds.observe(record.duration)
        self._waited.observe(record.waited)
        self._tokens.labels("input").inc(record.usage.input)
        self._tokens.labels("output").inc(record.usage.output)
        self._model_calls.inc(record.usage.calls)

    def tool(self, record: ToolRecord) -> None:
        """A call of a tool ended."""
        self._tool_calls.labels(record.source, record.outcome).inc()
        self._tool_seconds.labels(record.source).observe(record.seconds)

    def alert(self, metric: str, action: str, *, lasts: bool) -> None:
        """An alert began or ended."""
        self._alerts.labels(metric, action).set(lasts)

    def health(self, names: Iterable[str], problems: Mapping[str, str]) -> None:
        """What was found of the checks of those names."""
        for name in names:
            self._answers.labels(name).set(name not in problems)

    def audit(self, chain: str, head: Callable[[], tuple[int, str]]) -> None:
        """Where the audit trail is: lines that were cut off at its end show from no line that is left.

        The hash is told as a number, its first 48 bits: as a label it would make a new series of each line.
        """
        lines = Gauge(
            "agentfleet_agent_audit_lines", "Number of the audit trail's last line.", ["chain"], registry=self.registry
        )
        hashes = Gauge(
            "agentfleet_agent_audit_hash",
            "First 48 bits of the hash of the audit trail's last line.",
            ["chain"],
            registry=self.registry,
        )
        lines.labels(chain).set_function(lambda: head()[0])
        hashes.labels(chain).set_function(lambda: fingerprint(head()[1]))

    def page(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
