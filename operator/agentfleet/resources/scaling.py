"""How many replicas a ModelServer shall have: bounds, the goal, who decides, and what is worth an alert."""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from agentfleet.durations import parse_duration
from agentfleet.resources.base import Contract, Duration, JsonDict, Quantity, atomic_list, rules

_LATENCY_MESSAGE = "must be a duration from 1ms to 10m, such as 100ms or 2s"
_WINDOW_MESSAGE = "must be a duration from 0s to 24h, such as 0s, 180s or 10m"
_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"


def _between(shortest: str, longest: str, message: str) -> AfterValidator:
    def check(value: str) -> str:
        if not parse_duration(shortest) <= parse_duration(value) <= parse_duration(longest):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _bounds(shortest: str, longest: str, message: str) -> JsonDict:
    expression = f"duration(self) >= duration('{shortest}') && duration(self) <= duration('{longest}')"
    return rules((expression, message))


Latency = Annotated[
    str,
    Field(max_length=16, pattern=_PATTERN, json_schema_extra=_bounds("1ms", "10m", _LATENCY_MESSAGE)),
    _between("1ms", "10m", _LATENCY_MESSAGE),
]
"""How long an answer may take: 1ms to 10m."""

Window = Annotated[
    str,
    Field(max_length=16, pattern=_PATTERN, json_schema_extra=_bounds("0s", "24h", _WINDOW_MESSAGE)),
    _between("0s", "24h", _WINDOW_MESSAGE),
]
"""How far a decision looks back: 0s to 24h."""

Percent = Annotated[int, Field(ge=1, le=100)]
Replicas = Annotated[int, Field(ge=0, le=1000)]
ScalingMode = Literal["Manual", "Recommend", "Apply"]


class Slo(Contract):
    """The goal that replicas are counted for; at the median a request does far better."""

    time_to_first_token: Latency | None = None
    """Longest time from a request to its first token, waiting included. Default: 2s."""

    time_per_output_token: Latency | None = None
    """Longest mean time between two tokens of an answer. Default: 100ms."""


class Stabilization(Contract):
    """How long a wish must have lasted before it is followed."""

    out: Window | None = None
    """Before replicas are added. Default: 0s."""

    in_: Annotated[Window | None, Field(alias="in")] = None
    """Before replicas are taken away: the largest number that was needed within this window stays. Default: the longer
    of 180s and one and a half cold starts."""


class Pause(Contract):
    """Stops one direction or both; what would have been done is still said."""

    out: bool | None = None
    """Add no replicas. Default: false."""

    in_: Annotated[bool | None, Field(alias="in")] = None
    """Take no replicas away. Default: false."""


class Vertical(Contract):
    """Larger or smaller replicas, for engine VLLM: where even an idle replica misses the goal, more of them do not
    help."""

    mode: ScalingMode | None = None
    """Manual (never), Recommend (say so in status) or Apply (roll to the other tensor parallel size, new pods first; at
    most once in 30 minutes). Default: Recommend."""

    max_tensor: Annotated[int, Field(ge=1, le=64)] | None = None
    """Largest tensor parallel size. Default: 4."""


class ScheduledBounds(Contract):
    """Other bounds at times that are known beforehand."""

    cron: Annotated[str, Field(min_length=9, max_length=128)]
    """When it begins, in cron's five fields, such as `0 8 * * 1-5`."""

    time_zone: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Time zone of cron, such as Europe/Berlin. Default: UTC."""

    duration: Duration
    """How long it lasts."""

    min_replicas: Replicas | None = None
    """Fewest replicas meanwhile. Default: scaling.minReplicas."""

    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most replicas meanwhile. Default: scaling.maxReplicas."""


class Approval(Contract):
    """A human's word before something is applied."""

    required: bool | None = None
    """In mode Apply, wait for `kubectl agentfleet approve NAME`, or for the annotation agentfleet.dev/approve with the
    decision's id. Default: false."""

    expires_after: Duration | None = None
    """How long a decision waits for it. Default: 30m."""


_SCALING_RULES: list[tuple[str | None, ...]] = [
    (
        "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        "minReplicas must not be above maxReplicas",
        ".minReplicas",
        "'minReplicas is %d and must not be above maxReplicas, %d'.format([self.minReplicas, self.maxReplicas])",
    ),
    (
        "!has(self.mode) || self.mode != 'Apply' || has(self.maxReplicas)",
        "mode Apply needs maxReplicas: how far may it go?",
        ".maxReplicas",
    ),
    (
        "!has(self.schedule) || self.schedule.all(s, !has(s.minReplicas) || !has(s.maxReplicas)"
        " || s.minReplicas <= s.maxReplicas)",
        "in schedule, minReplicas must not be above maxReplicas",
        ".schedule",
    ),
]


class Scaling(Contract):
    """How many replicas there shall be, and who decides."""

    model_config = ConfigDict(json_schema_extra=rules(*_SCALING_RULES))

    mode: ScalingMode | None = None
    """Manual (spec.replicas, and no advice), Recommend (spec.replicas, and status.scaling says what would be better) or
    Apply (the operator decides; spec.replicas is ignored). An HPA or KEDA may drive spec.replicas through /scale in
    Manual and Recommend. Default: Recommend."""

    min_replicas: Replicas | None = None
    """Fewest replicas, 0 to 1000. 0 lets it go to zero, which needs a route or another source of demand: a server
    without pods sees no requests. Default: 1."""

    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most replicas, 1 to 1000; required for mode Apply. Default: the largest of 8, minReplicas and spec.replicas."""

    slo: Slo | None = None
    """The goal that replicas are counted for. Default: first token within 2s, 100ms a token."""

    load_factor_percent: Annotated[int, Field(ge=10, le=100)] | Literal["Auto"] | None = None
    """Share of a replica's learnt capacity to plan with, 10 to 100, or Auto: less where load jumps within a cold start,
    more where it is smooth. Default: Auto."""

    scale_to_zero_after: Duration | None = None
    """How long nobody must have asked before the last replica goes, with minReplicas 0. Default: 15m."""

    max_step: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most replicas to add or take away at once. Default: as many as there are, and at least 4."""

    stabilization: Stabilization | None = None
    """How long a wish must have lasted."""

    pause: Pause | None = None
    """Stops scaling in one direction or both. Default: neither."""

    vertical: Vertical | None = None
    """Larger or smaller replicas. Default: recommended, not applied."""

    schedule: Annotated[tuple[ScheduledBounds, ...], atomic_list(16)]
    """Other bounds at certain times; where several hold, the larger minReplicas and the smaller maxReplicas win."""

    approval: Approval | None = None
    """A human's word before something is applied. Default: not needed."""

    max_gpus: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Most GPUs of all replicas together. No replica is added that might go beyond it. Default: as many as
    maxReplicas need."""


class Thresholds(Contract):
    """What is worth an alert. They are told in status, Events and metrics; scaling follows demand and capacity instead,
    because these values say too little about either."""

    gpu_utilization_percent: Percent | None = None
    """GPUs are busy for this share of the time (a warning). Default: 95."""

    gpu_memory: Quantity | None = None
    """Memory in use on one GPU (critical), such as 10Gi. Default: none, since vLLM takes all of its share at once."""

    memory_percent: Percent | None = None
    """Memory in use, of a pod's limit or of its node (critical). Default: 85."""

    cpu_percent: Percent | None = None
    """CPU in use, of a pod's limit or of its node (a warning). Default: 80."""

    latency: Latency | None = None
    """Mean time of a request from start to end (a warning). Default: 3s; Ollama 2s."""

    queue_length: Annotated[int, Field(ge=1, le=100000)] | None = None
    """Requests of one replica that wait (a warning). Default: 50."""

    error_rate_percent: Percent | None = None
    """Failed requests among at least 20 (critical). Default: 10; Ollama 5."""

    for_: Annotated[Duration | None, Field(alias="for")] = None
    """How long it must have lasted. Default: 1m."""
