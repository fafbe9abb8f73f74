"""Tensor × pipeline × nodes that one replica of vLLM may have, and why others are refused. Pure.

Explicit sizes are judged and never changed; Auto stands for every size that no rule forbids.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agentfleet.errors import InvalidSpec
from agentfleet.planning.parallel import (
    MAX_SIZE,
    legal_pipeline_sizes,
    legal_tensor_sizes,
    possible_tensor_sizes,
    tensor_doubt,
    tensor_problems,
)
from agentfleet.planning.sizing_types import SizingRequest, listed


@dataclass(frozen=True)
class Layout:
    """GPUs of one replica: `tensor` inside a node, `pipeline` over `nodes` of them."""

    tensor: int
    pipeline: int
    nodes: int

    @property
    def gpus(self) -> int:
        return self.tensor * self.pipeline

    def __str__(self) -> str:
        where = f"{self.nodes} nodes" if self.nodes > 1 else "1 node"
        return f"tensor {self.tensor} × pipeline {self.pipeline} on {where}"


def layouts(request: SizingRequest) -> tuple[Layout, ...]:
    """Every layout that the request leaves open, cheapest first; InvalidSpec where there is none.

    Tensor parallelism inside a node comes first, since it also shortens answers; stages are added to the widest one.
    """
    tensors, pipelines = _tensors(request), _pipelines(request)
    widest = {max(tensors), max((tensor for tensor in tensors if not tensor_doubt(request.facts, tensor)), default=1)}
    pairs = [(tensor, pipelines[0]) for tensor in tensors]
    pairs += [(tensor, stages) for stages in pipelines[1:] for tensor in sorted(widest & set(tensors))]
    legal = tuple(
        Layout(tensor, pipeline, nodes_of(request, tensor, pipeline))
        for tensor, pipeline in pairs
        if not any(True for _ in _problems(request, tensor, pipeline))
    )
    if not legal:
        raise InvalidSpec("BadParallelism", next(iter(_problems(request, *pairs[0]))))
    return legal


def nodes_of(request: SizingRequest, tensor: int, pipeline: int) -> int:
    """Nodes of a layout: one where they are enough for its GPUs (or nobody knows), else one for each stage."""
    if request.nodes is not None:
        return request.nodes
    return 1 if tensor * pipeline <= _gpus_of_a_node(request) else pipeline


def on_cpu(request: SizingRequest) -> bool:
    """True where the replica has no GPU, so that no rule about GPUs holds."""
    return request.max_gpus == 0


def _tensors(request: SizingRequest) -> tuple[int, ...]:
    if request.tensor != "Auto":
        return (request.tensor,)
    if on_cpu(request):
        return (1,)
    return legal_tensor_sizes(request.facts, _widest(request)) or (1,)


def _pipelines(request: SizingRequest) -> tuple[int, ...]:
    if request.pipeline != "Auto":
        return (request.pipeline,)
    step = request.nodes or 1
    if on_cpu(request):
        return (step,)
    sizes = legal_pipeline_sizes(request.facts) or (step,)
    return tuple(size for size in sizes if size % step == 0) or (step,)


def _problems(request: SizingRequest, tensor: int, pipeline: int) -> Iterable[str]:
    """Each rule that a pair of sizes breaks: field, value, why, and what is legal."""
    legal = f"legal sizes: {listed(possible_tensor_sizes(request.facts, _widest(request)))}"
    for problem in tensor_problems(request.facts, tensor):
        yield f"parallelism.tensor is {tensor}: {problem}; {legal}."
    layers = request.facts.layers
    if layers is not None and pipeline > layers:
        yield f"parallelism.pipeline is {pipeline}: the model has {layers} layers; legal sizes: 1 to {layers}."
    nodes = nodes_of(request, tensor, pipeline)
    if pipeline % nodes:
        divisors = tuple(size for size in range(1, pipeline + 1) if pipeline % size == 0)
        yield f"parallelism.nodes is {nodes}: pipeline {pipeline} must be a multiple of it; legal: {listed(divisors)}."
    if on_cpu(request):
        return
    if tensor > _gpus_of_a_node(request):
        yield (
            f"parallelism.tensor is {tensor}: the largest node has {request.gpus_per_node} GPUs, and tensor parallelism"
            f" must stay inside a node; {legal}; parallelism.pipeline goes over nodes."
        )
    elif tensor * pipeline // nodes > _gpus_of_a_node(request):
        yield (
            f"parallelism.nodes is {nodes}: tensor {tensor} × pipeline {pipeline} would need"
            f" {tensor * pipeline // nodes} GPUs on a node, and the largest has {request.gpus_per_node};"
            f" use nodes {pipeline}, or smaller sizes."
        )
    if request.max_gpus is not None and tensor * pipeline > request.max_gpus:
        yield (
            f"parallelism.tensor {tensor} × pipeline {pipeline} are {tensor * pipeline} GPUs, and a replica may have"
            f" {request.max_gpus}; raise gpu.count, or use smaller sizes."
        )
    if request.max_nodes is not None and nodes > request.max_nodes:
        yield (
            f"parallelism.tensor {tensor} × pipeline {pipeline} need {nodes} nodes, and a replica may span"
            f" {request.max_nodes}; use smaller sizes, or nodes with more GPUs."
        )


def _gpus_of_a_node(request: SizingRequest) -> int:
    return request.gpus_per_node if request.gpus_per_node is not None else MAX_SIZE * MAX_SIZE


def _widest(request: SizingRequest) -> int:
    """Largest tensor size worth naming."""
    return max(1, min(MAX_SIZE, _gpus_of_a_node(request), request.max_gpus or MAX_SIZE))
