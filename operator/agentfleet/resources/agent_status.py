"""What the operator answers on an Agent. Live numbers are metrics of its pods."""

from typing import Annotated

from pydantic import Field

from agentfleet.resources.base import Contract, map_list
from agentfleet.resources.conditions import Condition
from agentfleet.resources.modelserver_status import ColdStart
from agentfleet.resources.scaling_status import ScalingStatus


class FoundTool(Contract):
    """A function that the model may call."""

    name: Annotated[str, Field(max_length=64)]
    """Its name, as the model knows it."""

    source: Annotated[str, Field(max_length=64)]
    """The entry of spec.tools it comes from."""


class AgentStatus(Contract):
    """What is so."""

    observed_generation: Annotated[int, Field(ge=-1)] | None = None
    """Generation of the spec that this status is about."""

    url: Annotated[str, Field(max_length=253)] | None = None
    """OpenAI-compatible base address inside the cluster."""

    a2a_url: Annotated[str | None, Field(alias="a2aUrl", max_length=253)] = None
    """Its A2A endpoint inside the cluster."""

    replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods wanted."""

    ready_replicas: Annotated[int, Field(ge=0)] | None = None
    """Pods that take requests."""

    revision: Annotated[str, Field(max_length=64)] | None = None
    """Hash of the configuration that pods are to have."""

    model: Annotated[str, Field(max_length=253)] | None = None
    """Model id that is asked for."""

    privacy: Annotated[str, Field(max_length=16)] | None = None
    """Privacy mode in force: of the spec, or of its compliance."""

    tools: Annotated[tuple[FoundTool, ...], map_list("name", max_items=256)]
    """Functions that a pod has found."""

    scaling: ScalingStatus | None = None
    """What the scaling loop decided."""

    cold_start: ColdStart | None = None
    """How long pods take from being created to serving."""

    conditions: Annotated[tuple[Condition, ...], map_list("type", max_items=16)]
    """Ready, Reconciling, Stalled, ModelReady, ToolsReady, Alerting; of the scaling loop MetricsAvailable,
    ScalingActive, CapacityBlocked and ConflictingAutoscaler."""
