"""What the operator answers on a ModelServer. Live numbers are metrics; status holds decisions and conditions."""

from typing import Annotated, Literal

from pydantic import Field

from agentfleet.resources.base import Contract, map_list
from agentfleet.resources.conditions import Condition

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
    """Digest of the model's manifest (Ollama)."""

    size: Annotated[int, Field(ge=0)] | None = None
    """Size of the model in bytes."""


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

    conditions: Annotated[tuple[Condition, ...], map_list("type", max_items=16)]
    """Ready, Reconciling, Stalled and ModelReady."""
