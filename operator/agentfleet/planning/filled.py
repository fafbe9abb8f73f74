"""Parts of a spec filled in, one at a time: the pinned revision, numbers for Auto, nodes, sizes. Pure."""

from agentfleet.engines.base import parallel_sizes
from agentfleet.engines.sources import pinned
from agentfleet.planning.sizing_types import Sizing
from agentfleet.resources.engine_options import VLLMOptions
from agentfleet.resources.gpu import Parallelism
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import SourceFacts


def with_revision(server: ModelServer, source: SourceFacts | None) -> ModelServer:
    """With updates on a schedule, pods load the revision that was found, until the next look finds another."""
    if server.model.update is None or source is None or source.revision is None:
        return server
    uri = pinned(server.model.uri, source.revision)
    model = server.model.model_copy(update={"uri": uri})
    return server.model_copy(update={"spec": server.spec.model_copy(update={"model": model})})


def with_numbers(server: ModelServer) -> ModelServer:
    """Auto is 1 where nothing is known to choose by."""
    parallelism = server.spec.parallelism
    if parallelism is None or "Auto" not in (parallelism.tensor, parallelism.pipeline):
        return server
    update = {name: 1 for name in ("tensor", "pipeline") if getattr(parallelism, name) == "Auto"}
    return _with(server, parallelism=parallelism.model_copy(update=update))


def with_nodes(server: ModelServer, gpus_per_node: int | None) -> ModelServer:
    """One stage of a pipeline on each node where no node has the GPUs for all of them."""
    parallelism = server.spec.parallelism
    on_cpu = server.spec.gpu is not None and server.spec.gpu.count == 0
    if parallelism is None or parallelism.nodes is not None or gpus_per_node is None or on_cpu:
        return server
    tensor, pipeline = parallel_sizes(server)
    if tensor * pipeline <= gpus_per_node:
        return server
    return _with(server, parallelism=parallelism.model_copy(update={"nodes": pipeline}))


def with_sizing(server: ModelServer, sizing: Sizing) -> ModelServer:
    """The sizes that the planner found, and a shorter context where it says so."""
    if server.spec.engine != "VLLM":
        return server
    parallelism = Parallelism(
        tensor=sizing.tensor, pipeline=sizing.pipeline, nodes=sizing.nodes if sizing.nodes > 1 else None
    )
    options = server.spec.vllm
    if sizing.max_model_len is not None:
        options = (options or VLLMOptions()).model_copy(update={"max_model_len": sizing.max_model_len})
    plain = parallelism == Parallelism(tensor=1, pipeline=1) and server.spec.parallelism is None
    return _with(server, parallelism=None if plain else parallelism, vllm=options)


def _with(server: ModelServer, **update: object) -> ModelServer:
    return server.model_copy(update={"spec": server.spec.model_copy(update=update)})
