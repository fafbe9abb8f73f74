"""What goes into a decision beside the samples, and what a decision is. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["scale_out", "scale_in", "scale_up", "scale_down", "hold"]

Binding = Literal[
    "Demand",  # what the load needs
    "Backlog",  # what waits has to be worked off
    "Enough",  # what there is is what is needed
    "Minimum",
    "Maximum",
    "Budget",  # GPUs: maxGpus, the namespace's budget
    "Schedule",  # a scheduled minimum or maximum
    "StepLimit",
    "Stabilization",  # more was needed within the window
    "OneFewer",  # the N-1 check: one replica fewer would be too busy
    "StaleData",
    "MissingData",
    "PartialData",
    "Learning",  # capacity is not known yet
    "Pending",  # replicas that are on their way will do
    "CapacityBlocked",  # replicas that are there already cannot start
    "Rollout",
    "Settling",  # replicas have just come or gone
    "Paused",
    "ReversalBreaker",
    "Idle",  # nobody asks: to zero
    "Wake",  # somebody asks: from zero
    "Latency",  # even an idle replica misses the goal
    "Unused",  # a smaller replica would do
]
"""The constraint that settled the number."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What the spec asks of the loop, defaults filled in. Times in seconds, shares 0 to 1."""

    minimum: int = 1
    maximum: int = 8
    time_to_first_token: float = 2.0
    time_per_output_token: float = 0.1
    load_factor: float | None = None
    """None is Auto."""
    to_zero_after: float = 900.0
    max_step: int | None = None
    stabilization_out: float = 0.0
    stabilization_in: float | None = None
    """None: the longer of 180 and one and a half cold starts."""
    pause_out: bool = False
    pause_in: bool = False
    max_tensor: int = 4
    concurrency: float | None = None
    """Requests at once that one replica shall have, where the spec says so; None: it is learnt what one can carry."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What holds around one server when a decision is taken."""

    wanted: int
    """Replicas that there shall be now, by whoever decides: what the decision starts from."""
    minimum: int
    """After schedule and demand source; 0 only where it may go to zero."""
    maximum: int
    """After schedule."""
    scheduled: bool = False
    """A schedule has set minimum or maximum."""
    affordable: int | None = None
    """Most replicas that budgets of GPUs allow; None where none limits. An unknown budget is `wanted`: fail closed."""
    rolling: bool = False
    """Pods of another revision are being replaced."""
    cold_start: float | None = None
    """90th percentile of what a new replica took to serve; None where none has been seen."""
    tensor: int = 1
    """Tensor parallel size now."""
    tensors: tuple[int, ...] = ()
    """Legal tensor parallel sizes, ascending; empty where they are not known or size cannot change."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and everything that explains it."""

    time: float
    action: Action
    start: int
    """Replicas before; for scale_up and scale_down the tensor parallel size."""
    target: int
    """The same after; `start` for hold."""
    binding: Binding
    reason: str
    """One or two sentences with the numbers."""
    counterfactual: str | None = None
    """What one replica fewer would mean."""
    inputs: Mapping[str, float] = field(default_factory=dict)
    """demand, forecast, capacity, loadFactor, backlog, queue, ready, pending, wanted, oldest (age of data) …"""
    suggested_minimum: int | None = None
    """Where load jumps faster than replicas start: a minimum that would have met the goal."""
    unconstrained: int | None = None
    """Replicas that load alone would need, before bounds."""


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of one engine step: base + per_token × tokens + per_kv_token × tokens in the KV cache."""

    base: float
    per_token: float
    per_kv_token: float


@dataclass(frozen=True, slots=True)
class Learnt:
    """Capacity of one replica as it was learnt; what survives a restart."""

    requests_per_second: float | None
    """Within the goal, at full load; the load factor comes on top. None where an engine counts no requests."""
    samples: int
    learnt_at: float
    step: Step | None = None
    concurrency: float | None = None
    """Requests at once within the goal, where an engine counts no requests."""
    prompt_tokens: float | None = None
    output_tokens: float | None = None

    @property
    def carried(self) -> float:
        """The capacity, in whichever of the two units it is."""
        known = self.requests_per_second if self.requests_per_second is not None else self.concurrency
        return known if known is not None else 0.0


DataQuality = Literal["Fresh", "Partial", "Stale", "Missing", "Starting", "None"]


@dataclass(frozen=True, slots=True)
class Health:
    """How well the loop sees one server: for conditions."""

    quality: DataQuality
    """Fresh (all ready replicas, 15 s at most), Partial, Stale, Missing (none answers), Starting (no replica is ready)
    or None (there are no replicas)."""
    oldest: float | None
    """Age in seconds of the oldest sample that counts."""
    missing_metrics: tuple[str, ...] = ()
    """Metrics that an engine's page lacks: renamed or turned off."""
    silent: tuple[str, ...] = ()
    """Ready replicas that do not answer."""
