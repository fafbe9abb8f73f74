"""What reconcile and the scaling loop tell each other about one ModelServer or Agent. Pure data.

    reconcile ── Standing ─▶ monitor/loop.py (what to watch, and within which bounds)
    reconcile ◀── Advice ─── monitor/loop.py (what was seen, and what should be done)

Both live in memory only: after a restart the first reconcile says the one, the first tick the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agentfleet.autoscale.decision import Decision, Goal, Health, Learnt
from agentfleet.resources.conditions import ConditionStatus
from agentfleet.resources.external import External
from agentfleet.resources.modelserver import AllowedNamespaces
from agentfleet.resources.scaling import Scaling, ScalingMode

Wanted = dict[str, tuple[ConditionStatus, str, str]]
"""Conditions: type → status, reason, message."""


class Subject(Protocol):
    """What the loop reads of a spec: of a ModelServer's own (resources/modelserver.py), of an Agent's as
    planning/agent_scaling.py puts it."""

    @property
    def engine(self) -> str:
        """One of monitor/engines.ENGINES, or one that cannot be looked at."""

    @property
    def external(self) -> External | None:
        """It has no pods."""

    @property
    def scaling(self) -> Scaling | None:
        """Bounds, windows, schedule."""

    @property
    def allowed_namespaces(self) -> AllowedNamespaces | None:
        """Whose gateways may speak for it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one ModelServer or Agent stands after a reconcile."""

    uid: str
    spec: Subject
    """Resolved: with the engine and the sizes that run."""
    mode: ScalingMode | None
    """Mode in force; None where replicas are not scaled (PerNode, engines outside the cluster)."""
    wanted: int
    """Replicas that there shall be now."""
    revision: str
    """The newest revision of the pods."""
    goal: Goal
    open: int | None = None
    """The number that a decision calls for which is recommended, or waits for approval; None where there is none."""
    rejected: bool = False
    """The last decision was rejected."""
    rolling: bool = False
    """Pods of a former revision are being replaced."""
    cold_start: float | None = None
    tensor: int = 1
    tensors: tuple[int, ...] = ()
    """Legal tensor parallel sizes, where scaling.vertical may change it."""
    gpus: int | None = 0
    """GPUs of one replica; None where that is not known, as with resource claims."""
    max_gpus: int | None = None
    """GPUs that all replicas together may have."""
    max_running: float | None = None
    """Requests that one replica works on at once, where the spec tells."""
    not_created: str | None = None
    """Why replicas that are missing cannot even be created, such as QuotaExceeded."""
    capacity_key: str = ""
    """What capacity is learnt for: with another key it begins anew."""
    learnt: Learnt | None = None
    """What status knows of it."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the loop makes of one ModelServer or Agent, as of its last tick."""

    at: float
    """Seconds since the epoch."""
    health: Health
    decision: Decision | None = None
    """None where replicas are not scaled."""
    vertical: Decision | None = None
    scaling: Scaling | None = None
    """spec.scaling that it was reckoned with."""
    quiet: float = 0.0
    """Seconds since a change was last called for."""
    wished: tuple[int, int] | None = None
    """Smallest and largest number that changes like `decision` have called for within the last minute; None where none
    has been called for that long."""
    capacity_key: str = ""
    learnt: Learnt | None = None
    """Capacity of what `capacity_key` stands for."""
    gateway: bool = False
    """Somebody before it counts its requests, or did until a moment ago."""
    budget_known: bool = True
    """Whether the GPUs of all ModelServers of the namespace are known, where a budget limits them."""
    affordable: int | None = None
    """Most replicas that budgets of GPUs allow; None where none limits."""
    alerts: tuple[str, ...] = ()
    """What its pods say themselves is out of bounds; what a pod said last holds until it says something else."""
    verdicts: Mapping[str, str] = field(default_factory=dict)
    """Time of a change (RFC 3339) → what was foretold and what was seen."""
