"""What the operator answers on a ModelServer. Live numbers are metrics; status holds decisions and conditions."""

from typing import Annotated, Literal

from pydantic import Field

from agentfleet.resources.base import Contract, map_list
from agentfleet.resources.conditions import Condition
from agentfleet.resources.facts import ModelFacts
from agentfleet.resources.scaling_status import Capacity, GpuStatus, Report, ScalingStatus

ModelState = Literal["Pending", "Downloading", "Verifying", "Loading", "Ready", "Failed"]


class ServedModel(Contract):
    """One model that the pods serve."""

    name: Annotated[str, Field(max_length=512)]
    """The model's id in the OpenAI API."""

    state: ModelState
    """Pending, Downloading, Verifying, Loading, Ready or Failed."""

    progress_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """How much of the download is there, in steps of ten."""

    reason: Annotated[str, Field(max_length=64)] | None = None
    """Why the model is not ready, as a stable word."""

    message: Annotated[str, Field(max_length=1024)] | None = None
    """The same in words."""

    digest: Annotated[str, Field(max_length=128)] | None = None
    """Digest of the model's manifest (Ollama), or its checksum."""

    updated_at: Annotated[str, Field(max_length=64)] | None = None
    """When the model was last replaced by a newer one of the same name, RFC 3339 in UTC."""

    size: Annotated[int, Field(ge=0)] | None = None
    """Size of the model in bytes."""


class SizePlan(Contract):
    """How one replica is laid out, and why."""

    profile_reason: Literal["ProfileFits", "WaitingForCapacity", "NoProfileFits", "NodesUnknown"] | None = None
    """Why the profile was chosen: ProfileFits (it is the first with room), WaitingForCapacity (none has room for all
    now), NoProfileFits (none ever could) or NodesUnknown (nodes are not watched)."""

    gpus_per_replica: Annotated[int, Field(ge=0)] | None = None
    """GPUs of one replica."""

    tensor: Annotated[int, Field(ge=1)] | None = None
    """Tensor parallel size."""

    pipeline: Annotated[int, Field(ge=1)] | None = None
    """Pipeline parallel size."""

    nodes: Annotated[int, Field(ge=1)] | None = None
    """Nodes that one replica spans."""

    settled_for: Annotated[str, Field(max_length=64)] | None = None
    """Digest of the spec, without replicas, that this is for: the same spec is not laid out anew."""

    gpu_memory_bytes: Annotated[int, Field(ge=0)] | None = None
    """Memory of one GPU that this was reckoned with; kept until spec or profile change, whatever nodes come."""

    gpus_per_node: Annotated[int, Field(ge=0)] | None = None
    """GPUs of a node that this was reckoned with; kept likewise."""

    weights_bytes: Annotated[int, Field(ge=0)] | None = None
    """Size of the weights, where it is known."""

    kv_cache_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens that the KV cache of one replica holds, where it is known."""

    explanation: Annotated[
        tuple[Annotated[str, Field(max_length=512)], ...],
        Field(default=(), max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ]
    """What was chosen and why, what the scenario asked for and was not done, and what could not be known."""


class SourceFacts(Contract):
    """What the last look at the model's source found."""

    uri: Annotated[str, Field(max_length=1024)]
    """The source that was looked at."""

    revision: Annotated[str, Field(max_length=256)] | None = None
    """What its name stood for: a commit, a digest or an ETag."""

    facts: ModelFacts | None = None
    """Facts about the model, from its own files."""

    checked_at: Annotated[str, Field(max_length=64)] | None = None
    """When, RFC 3339 in UTC."""


class ColdStartSample(Contract):
    """One pod's way to its first answer, in whole seconds."""

    pod: Annotated[str, Field(max_length=253)]
    """Name of the pod."""

    created_at: Annotated[str, Field(max_length=64)]
    """When it was made, RFC 3339 in UTC."""

    schedule: Annotated[int, Field(ge=0)]
    """From its making to a node."""

    pull: Annotated[int, Field(ge=0)]
    """Images and volumes."""

    download: Annotated[int, Field(ge=0)]
    """The loader."""

    load: Annotated[int, Field(ge=0)]
    """The engine, from its start to Ready."""

    total: Annotated[int, Field(ge=0)]
    """All of it."""


class ColdStart(Contract):
    """How long pods take from their making to their first answer: the 90th percentile of the last ten, in seconds."""

    schedule: Annotated[int, Field(ge=0)] | None = None
    """From the pod's making to a node."""

    pull: Annotated[int, Field(ge=0)] | None = None
    """Images and volumes."""

    download: Annotated[int, Field(ge=0)] | None = None
    """The loader."""

    load: Annotated[int, Field(ge=0)] | None = None
    """The engine, from its start to Ready."""

    total: Annotated[int, Field(ge=0)] | None = None
    """All of it."""

    samples: Annotated[tuple[ColdStartSample, ...], map_list("pod", max_items=10)]
    """The last ten."""


class RolloutPace(Contract):
    """How pods of a changed spec replace the old ones."""

    strategy: Literal["Surge", "NoSurge"]
    """Surge or NoSurge."""

    reason: Annotated[str, Field(max_length=512)]
    """Why."""


class ModelServerStatus(Contract):
    """What the operator has seen and decided."""

    observed_generation: Annotated[int, Field(ge=-1)] | None = None
    """Generation of the spec that this status is about; -1 before the operator has seen the object."""

    url: Annotated[str, Field(max_length=512)] | None = None
    """OpenAI-compatible base address for clients inside the cluster."""

    replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that there are."""

    ready_replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that answer requests."""

    updated_replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods of the newest revision."""

    selector: Annotated[str, Field(max_length=512)] | None = None
    """Label selector of the pods, for /scale."""

    models: Annotated[tuple[ServedModel, ...], map_list("name", max_items=64)]
    """The models that the pods serve, with the progress of their download."""

    engine_version: Annotated[str, Field(max_length=128)] | None = None
    """Version that the engine says it is."""

    revision: Annotated[str, Field(max_length=64)] | None = None
    """Revision of the pods that was last rolled out completely."""

    profile: Annotated[str, Field(max_length=63)] | None = None
    """Hardware profile in use."""

    better_profiles: Annotated[dict[str, Annotated[str, Field(max_length=64)]], Field(max_length=8)] | None = None
    """Better profiles that have room now, and since when (RFC 3339 in UTC): the pods move up when it has lasted. Also
    the profile in use while it has room for some of the pods only: they move down when that has lasted."""

    plan: SizePlan | None = None
    """How one replica is laid out, and why."""

    sources: Annotated[tuple[SourceFacts, ...], map_list("uri", max_items=9)]
    """What the last looks at the model's sources found: model.uri and variants."""

    cold_start: ColdStart | None = None
    """How long pods take from their making to their first answer."""

    rollout: RolloutPace | None = None
    """How pods of a changed spec replace the old ones."""

    capacity: Capacity | None = None
    """What one replica can carry, as it was learnt."""

    scaling: ScalingStatus | None = None
    """What the scaling loop does."""

    gpu: GpuStatus | None = None
    """GPUs of the replicas."""

    report: Report | None = None
    """What the last whole window was like."""

    conditions: Annotated[tuple[Condition, ...], map_list("type", max_items=16)]
    """Ready, Reconciling, Stalled, ModelReady, MetricsAvailable, ScalingActive, CapacityBlocked,
    ConflictingAutoscaler and ThresholdExceeded."""
