"""What the operator answers on an AgentRoute. Live numbers are metrics of its gateways."""

from typing import Annotated, Literal

from pydantic import Field

from agentfleet.resources.base import Contract, atomic_list, map_list
from agentfleet.resources.conditions import Condition


class TargetStatus(Contract):
    """One target."""

    name: Annotated[str, Field(max_length=64)]
    """Its name."""

    ready: bool
    """It can answer now, or would be started by a request."""

    reason: Annotated[str, Field(max_length=64)]
    """Serving, ScaledToZero, NotReady, NotFound, NotPermitted, KindNotInstalled, External or CloudWithoutAuth."""

    message: Annotated[str, Field(max_length=512)] | None = None
    """The same in words, where something is wrong."""

    location: Literal["Edge", "Cluster", "Cloud"] | None = None
    """Where it is, as the privacy filter takes it."""

    site: Annotated[str, Field(max_length=63)] | None = None
    """Its site, as the spec says."""

    model: Annotated[str, Field(max_length=253)] | None = None
    """The model id that is sent to it."""


class ParentStatus(Contract):
    """What a Gateway says of the route's HTTPRoute."""

    name: Annotated[str, Field(max_length=253)]
    """The Gateway."""

    namespace: Annotated[str, Field(max_length=63)]
    """Its namespace."""

    section_name: Annotated[str, Field(max_length=253)] = ""
    """Its listener; empty for all."""

    controller_name: Annotated[str, Field(max_length=253)] | None = None
    """Who says it."""

    accepted: Literal["True", "False", "Unknown"]
    """Whether it was accepted."""

    reason: Annotated[str, Field(max_length=1024)] | None = None
    """Why not."""

    message: Annotated[str, Field(max_length=1024)] | None = None
    """The same in words."""


class AgentRouteStatus(Contract):
    """What is so."""

    observed_generation: Annotated[int, Field(ge=-1)] | None = None
    """Generation of the spec that this status is about."""

    url: Annotated[str, Field(max_length=253)] | None = None
    """OpenAI-compatible base address inside the cluster."""

    replicas: Annotated[int, Field(ge=0)] | None = None
    """Gateways wanted, over all sites."""

    ready_replicas: Annotated[int, Field(ge=0)] | None = None
    """Gateways that take requests."""

    ready_targets: Annotated[str, Field(max_length=16)] | None = None
    """Targets that are ready, of all that the spec names, such as 1/2."""

    revision: Annotated[str, Field(max_length=64)] | None = None
    """Hash of the configuration that gateways are to have."""

    targets: Annotated[tuple[TargetStatus, ...], map_list("name", max_items=32)]
    """The targets."""

    parents: Annotated[tuple[ParentStatus, ...], atomic_list(16)]
    """What Gateways say."""

    conditions: Annotated[tuple[Condition, ...], map_list("type", max_items=16)]
    """Ready, Reconciling, Stalled, Accepted, ResolvedRefs and Programmed."""
