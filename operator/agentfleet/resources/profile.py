"""Hardware profiles: named sets of fields that platform teams offer, from the chart's value `profiles`.

A profile fills in what a spec leaves open; what a spec sets itself wins. Only `engine` goes the other way: a profile
that names another engine is the spec's way to run elsewhere, with the variant of the model that is made for it.
"""

from typing import Annotated, Literal

from pydantic import Field

from agentfleet.resources.base import Contract, DnsName, LabelValue, Quantity, atomic_list
from agentfleet.resources.engine_options import LlamaCppOptions, OllamaOptions, VLLMOptions
from agentfleet.resources.gpu import Gpu, Parallelism
from agentfleet.resources.pods import Resources, Toleration


class Profile(Contract, extra="forbid"):
    """One kind of hardware, and what is to be set on it."""

    engine: Literal["VLLM", "Ollama", "LlamaCpp"] | None = None
    """Engine on this hardware. Default: the spec's."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Engine image. Default: the operator's for the engine."""

    gpu: Gpu | None = None
    """GPUs of one replica; count 0 for CPUs."""

    parallelism: Parallelism | None = None
    """Parallel sizes, for VLLM."""

    memory: Quantity | None = None
    """Memory for the model on this hardware, for choosing a variant; with GPUs, what gpu.memory × count says. CPU
    profiles: default resources.limits.memory."""

    resources: Resources | None = None
    """CPU and memory of the engine container."""

    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] | None = None
    """Labels that a node must have; added to the spec's."""

    tolerations: Annotated[tuple[Toleration, ...], atomic_list(32)]
    """Taints that the pods tolerate; added to the spec's."""

    scheduler_name: DnsName | None = None
    """Scheduler that places the pods."""

    priority_class_name: DnsName | None = None
    """PriorityClass of the pods."""

    env: Annotated[dict[str, str], Field(max_length=64)] | None = None
    """Environment variables of the engine container, by name; the spec's win."""

    vllm: VLLMOptions | None = None
    """Settings of engine VLLM."""

    llama_cpp: LlamaCppOptions | None = None
    """Settings of engine LlamaCpp."""

    ollama: OllamaOptions | None = None
    """Settings of engine Ollama."""
