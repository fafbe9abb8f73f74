"""What was seen at one tick, in terms that no engine owns. Pure data.

None means that nobody said so; it is never zero. Counters count from the engine's start: a smaller value than before,
or another `started_at`, means that they began anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Histogram:
    """A cumulative histogram as Prometheus has it."""

    bounds: tuple[float, ...]
    """Upper bounds of the buckets in seconds, +Inf last."""
    counts: tuple[float, ...]
    """How many were at most so long, for each bound."""
    sum: float
    """Seconds of all of them."""

    @property
    def count(self) -> float:
        """How many there were."""
        return self.counts[-1] if self.counts else 0.0


@dataclass(frozen=True, slots=True)
class EngineSample:
    """What one replica's engine said."""

    at: float
    """When it said so."""
    started_at: float | None = None
    """Start of its process."""
    running: float | None = None
    """Requests in work; an engine caps it (max_num_seqs, slots), so it says nothing about what waits."""
    waiting: float | None = None
    """Requests that wait in the engine."""
    max_running: float | None = None
    """Most requests that it takes into work at once."""
    completed: float | None = None
    """Counter: requests that ended well."""
    failed: float | None = None
    """Counter: requests that failed; those that clients gave up are not among them."""
    aborted: float | None = None
    """Counter: requests that clients gave up. They came, so arrivals count them."""
    prompt_tokens: float | None = None
    """Counter: prompt tokens that were computed, those from a cache excluded where the engine tells them apart."""
    output_tokens: float | None = None
    """Counter: generated tokens."""
    prompt_seconds: float | None = None
    """Counter: time spent on prompts (llama.cpp)."""
    output_seconds: float | None = None
    """Counter: time spent on generation, summed over requests (llama.cpp)."""
    steps: float | None = None
    """Counter: steps of the engine."""
    step_tokens: float | None = None
    """Counter: tokens in these steps, of prompts and answers."""
    kv_used: float | None = None
    """Share of the KV cache in use, 0 to 1."""
    kv_tokens: float | None = None
    """Tokens that the KV cache holds at most."""
    preemptions: float | None = None
    """Counter: requests put back for want of KV cache."""
    time_to_first_token: Histogram | None = None
    time_per_output_token: Histogram | None = None
    request_time: Histogram | None = None
    """From arrival to the last token."""
    rss: float | None = None
    """Memory of the process in bytes."""
    cpu_seconds: float | None = None
    """Counter: CPU time of the process."""
    tokens_per_second: float | None = None
    """Speed of one answer at the last active probe, where the engine counts nothing (Ollama)."""
    probe_seconds: float | None = None
    """How long that answer took."""
    asked: float | None = None
    """Counter: requests that it was asked, where nothing is reckoned from them but that somebody asks."""
    alerts: tuple[str, ...] = ()
    """What it says itself is out of bounds now."""
    missing: tuple[str, ...] = ()
    """Metrics that this engine used to have, under any of their names, and that its page lacks."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """GPUs of one replica, together."""

    at: float
    count: int
    utilization: float | None = None
    """Mean share of the time that a kernel ran, 0 to 1; None under MIG."""
    memory_used: float | None = None
    """Bytes, of all of them."""
    memory_total: float | None = None
    problem: str | None = None
    """What could not be read on their node."""


@dataclass(frozen=True, slots=True)
class UsageSample:
    """CPU and memory of one pod, and of its node, as shares; None where not known."""

    at: float
    cpu: float | None = None
    """CPUs in use by the pod."""
    memory: float | None = None
    """Bytes in use by the pod."""
    cpu_share: float | None = None
    """Of the pod's limit, 0 to 1."""
    memory_share: float | None = None
    node_cpu_share: float | None = None
    """Of what the node has, 0 to 1."""
    node_memory_share: float | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica (a pod, or the leader of a group), as Kubernetes shows it."""

    name: str
    created_at: float
    ready: bool
    leaving: bool = False
    """It is being deleted."""
    problem: str | None = None
    """Why it does not start: Unschedulable, ImagePullFailed, QuotaExceeded …; None where it is only on its way."""
    current: bool = True
    """It is of the newest revision."""


@dataclass(frozen=True, slots=True)
class DemandSample:
    """What gateways in front of a server count for it; complete only where all of them answered."""

    at: float
    arrived: float
    """Counter: requests that came for it, over all gateways that answered."""
    waiting: float
    """Requests that the gateways hold back for want of room."""
    sources: int
    """Gateways that there are."""
    answered: int
    """Gateways that answered."""
    in_flight: float | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """One look at one server: every 5 seconds."""

    now: float
    replicas: tuple[Replica, ...]
    engines: Mapping[str, EngineSample] = field(default_factory=dict)
    """Replica → what its engine said since the last tick. A replica that did not answer is absent."""
    demand: DemandSample | None = None
    """None where no gateway stands before the server, or none answered."""
    demand_sources: int = 0
    """Gateways that there are, whether they answered or not."""
    gpus: Mapping[str, GpuSample] = field(default_factory=dict)
    usage: Mapping[str, UsageSample] = field(default_factory=dict)
