"""What the scaling loop has learnt, decided and reported, as status. Fractions are decimal strings."""

from typing import Annotated, Literal

from pydantic import Field

from agentfleet.resources.base import Contract, atomic_list
from agentfleet.resources.scaling import ScalingMode

Decimal = Annotated[str, Field(max_length=32, pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Time = Annotated[str, Field(max_length=64)]
"""RFC 3339 in UTC."""

ActionName = Annotated[str, Field(max_length=16, pattern=r"^(scale_out|scale_in|scale_up|scale_down|hold)$")]
"""scale_out and scale_in change the number of replicas, scale_up and scale_down their size."""

Binding = Annotated[str, Field(max_length=32, pattern=r"^[A-Z][A-Za-z0-9]*$")]
"""The constraint that settled the number, as a stable word."""

DecisionState = Literal[
    "Recommended", "AwaitingApproval", "Applied", "Expired", "Rejected", "Blocked", "Holding", "Superseded"
]


class ScalingDecision(Contract):
    """The last decision that changed something or would have, and why."""

    id: Annotated[str, Field(max_length=32)]
    """What to approve it by."""

    time: Time
    """When it was taken, RFC 3339 in UTC."""

    action: ActionName
    """scale_out, scale_in (replicas), scale_up, scale_down (size of a replica) or hold."""

    from_: Annotated[int, Field(ge=0, alias="from")]
    """Replicas (tensor parallel size for scale_up and scale_down) before."""

    to: Annotated[int, Field(ge=0)]
    """The same after."""

    binding: Binding
    """The constraint that settled the number: Demand, Backlog, Minimum, Maximum, Budget, Stabilization …"""

    reason: Annotated[str, Field(max_length=1024)]
    """Why, in words, with the numbers that it was reckoned from."""

    counterfactual: Annotated[str, Field(max_length=512)] | None = None
    """What one replica fewer would have meant."""

    expires: Time | None = None
    """Until when it can be approved."""

    state: DecisionState
    """Recommended, AwaitingApproval, Applied, Expired, Rejected, Blocked, Holding or Superseded."""

    inputs: Annotated[dict[str, Decimal], Field(max_length=32)] | None = None
    """What it was reckoned from: demand, forecast, capacity, loadFactor, queue, ready, pending …"""


class ScalingChange(Contract):
    """One change of the past."""

    time: Time
    """When, RFC 3339 in UTC."""

    action: ActionName
    """What was done."""

    from_: Annotated[int, Field(ge=0, alias="from")]
    """Before."""

    to: Annotated[int, Field(ge=0)]
    """After."""

    binding: Binding
    """What settled it."""

    state: DecisionState
    """What became of it."""

    verdict: Annotated[str, Field(max_length=256)] | None = None
    """What was foretold, and what was seen a cold start later."""


class HandBack(Contract):
    """Replicas after mode Apply was left, until somebody sets spec.replicas anew."""

    replicas: Annotated[int, Field(ge=0)]
    """How many there were, and are for now."""

    spec_replicas: Annotated[int, Field(ge=0)]
    """What spec.replicas said meanwhile, unheeded; once it says something else that is followed."""

    until: Time
    """When spec.replicas is followed in any case, RFC 3339 in UTC."""


class ScalingStatus(Contract):
    """What the scaling loop does."""

    desired: Annotated[int, Field(ge=0)] | None = None
    """Replicas that there shall be; followed in mode Apply."""

    mode: ScalingMode | None = None
    """Manual, Recommend or Apply, as it is in force: Recommend where another autoscaler is at work."""

    tensor: Annotated[int, Field(ge=1)] | None = None
    """Tensor parallel size that scaling.vertical has chosen."""

    tensor_since: Time | None = None
    """When it was chosen."""

    tensor_instead_of: Annotated[str, Field(max_length=8)] | None = None
    """What spec.parallelism.tensor said then; once it says something else, that is followed."""

    decision: ScalingDecision | None = None
    """The last decision."""

    history: Annotated[tuple[ScalingChange, ...], atomic_list(20)]
    """The last 20 changes, newest first."""

    unheeded_replicas: Annotated[int, Field(ge=0)] | None = None
    """What spec.replicas says in mode Apply, which does not follow it. Where it says something else when Apply is left,
    that is followed at once."""

    handed_back: HandBack | None = None
    """Replicas after mode Apply was left."""

    suggested_min_replicas: Annotated[int, Field(ge=0)] | None = None
    """A minReplicas that would have spared most of the requests that missed the goal: load that jumps within a cold
    start is met by pods that run already, not by scaling."""


class StepModel(Contract):
    """Time of one step of the engine: base + perToken × tokens in the step + perKvToken × tokens in the KV cache."""

    base: Decimal
    """Seconds."""

    per_token: Decimal
    """Seconds for each token of the step."""

    per_kv_token: Decimal
    """Seconds for each token that the KV cache holds."""


class Capacity(Contract):
    """What one replica can carry within the goal, as it was learnt from its own counters."""

    key: Annotated[str, Field(max_length=128)]
    """What it was learnt for: a digest of model, hardware profile, tensor parallel size and engine arguments."""

    requests_per_second: Decimal | None = None
    """Requests per second of one replica within the goal, where the engine counts requests."""

    step: StepModel | None = None
    """Time of one step of the engine, where it counts steps."""

    concurrency: Decimal | None = None
    """Requests at once of one replica within the goal, where the engine counts no requests (llama.cpp, Ollama)."""

    prompt_tokens: Decimal | None = None
    """Tokens of a mean prompt."""

    output_tokens: Decimal | None = None
    """Tokens of a mean answer."""

    samples: Annotated[int, Field(ge=0)]
    """Samples that it was learnt from."""

    learnt_at: Time
    """When it last changed by more than a tenth, RFC 3339 in UTC."""


class LatencyReport(Contract):
    """Times of requests from start to end, in seconds."""

    mean: Decimal | None = None
    """Mean."""

    p50: Decimal | None = None
    """Median."""

    p95: Decimal | None = None
    """95th percentile."""

    max: Decimal | None = None
    """The longest mean of one sample, or the upper bound of the slowest request's bucket."""

    min: Decimal | None = None
    """The shortest mean of one sample."""


class Recommendation(Contract):
    """Advice by the plain thresholds of utilisation and latency; what is applied is decided by demand and capacity."""

    instance: Annotated[str, Field(max_length=253)]
    """The pod that it is about."""

    type: ActionName
    """scale_up (latency is high), scale_out (the GPU is busy) or scale_down (it idles)."""

    reason: Annotated[str, Field(max_length=256)]
    """What was seen."""

    suggestion: Annotated[str, Field(max_length=256)]
    """What could be done."""


class Report(Contract):
    """The last whole window: an hour; ten minutes for Ollama. In the first one, what there is of it."""

    window: Annotated[str, Field(max_length=16)]
    """Length of the window."""

    until: Time
    """Its end, RFC 3339 in UTC."""

    samples: Annotated[int, Field(ge=0)]
    """Samples, of all replicas together."""

    requests_per_second: Decimal | None = None
    """Requests per second of all replicas together."""

    error_rate_percent: Decimal | None = None
    """Failed requests."""

    latency: LatencyReport | None = None
    """Times of requests."""

    gpu_utilization_percent: Decimal | None = None
    """Mean share of the time that GPUs were busy."""

    max_queue: Annotated[int, Field(ge=0)] | None = None
    """Most requests of one replica that waited."""

    availability_percent: Decimal | None = None
    """Looks at which a wanted replica answered."""

    recommendations: Annotated[tuple[Recommendation, ...], atomic_list(16)]
    """Advice by the plain thresholds."""


class GpuStatus(Contract):
    """GPUs of the replicas, in bands of five percent; live values are metrics."""

    count: Annotated[int, Field(ge=0)]
    """GPUs that are seen."""

    utilization_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Mean share of the time that they are busy; not known under MIG."""

    memory_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Mean share of their memory that is in use."""

    problem: Annotated[str, Field(max_length=256)] | None = None
    """What the exporter could not read."""
