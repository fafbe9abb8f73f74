"""GPUs of one replica, and how it spreads over them."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from agentfleet.resources.base import Contract, DnsLabel, DnsName, Quantity, map_list, rules, string_set

ParallelSize = Annotated[int, Field(ge=1, le=64)] | Literal["Auto"]


class Parallelism(Contract):
    """How one replica of vLLM spreads over GPUs."""

    tensor: ParallelSize | None = None
    """Tensor parallel size, 1 to 64, or Auto: GPUs that share every layer. Must divide the model's attention heads, and
    divide or be a multiple of its key-value heads. Auto takes the smallest legal one with which weights and context fit
    the GPUs' memory. Default: the scenario's, else 1."""

    pipeline: ParallelSize | None = None
    """Pipeline parallel size, 1 to 64, or Auto: groups of layers, one after the other. At most the model's layers.
    Default: the scenario's, else 1."""

    nodes: Annotated[int, Field(ge=1, le=64)] | None = None
    """Nodes that one replica spans, through a LeaderWorkerSet (its CRD must be installed); pipeline must be a multiple
    of it. Default: 1 where a node has tensor × pipeline GPUs, else pipeline."""


class GpuClaim(Contract):
    """One resource claim of a pod (DRA)."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.resourceClaimName) != has(self.resourceClaimTemplateName)",
                "set exactly one of resourceClaimName and resourceClaimTemplateName",
            ),
        )
    )

    name: DnsLabel
    """Name of the claim in the pod."""

    resource_claim_name: DnsName | None = None
    """An existing ResourceClaim of the namespace, shared by all pods."""

    resource_claim_template_name: DnsName | None = None
    """A ResourceClaimTemplate of the namespace: each pod gets a claim of its own."""


class Gpu(Contract):
    """GPUs of one replica."""

    resource: (
        Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9][-.a-z0-9]*/[A-Za-z0-9][-A-Za-z0-9_.]*$")] | None
    ) = None
    """Extended resource that a GPU is on the nodes, for example nvidia.com/gpu, nvidia.com/mig-1g.10gb, amd.com/gpu or
    gpu.intel.com/i915. Default: nvidia.com/gpu."""

    count: Annotated[int, Field(ge=0, le=64)] | None = None
    """GPUs of one replica, 0 to 64; at least tensor × pipeline, or 0 to run on the CPU. Default: tensor × pipeline for
    VLLM; for LlamaCpp and Ollama 1 where spec.gpu is given, else 0."""

    products: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=63)], ...], string_set(16)]
    """GPU products that will do, as in the node label nvidia.com/gpu.product. Default: any."""

    memory: Quantity | None = None
    """Memory of one GPU, such as 80Gi, for the planner. Default: what the node labels nvidia.com/gpu.memory say."""

    runtime_class_name: DnsName | None = None
    """RuntimeClass of the pods, for example nvidia. Default: the cluster's own."""

    claims: Annotated[tuple[GpuClaim, ...], map_list("name", max_items=16)]
    """Dynamic resource allocation (DRA) instead of an extended resource; count is then 0 unless it is given."""
