"""Another tensor parallel size than the spec's: which ones there are, and the spec with one of them. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from agentfleet.errors import InvalidSpec
from agentfleet.planning.resolve import Basis, known_facts, sizing_request
from agentfleet.planning.sizing import size
from agentfleet.resources.gpu import Parallelism
from agentfleet.resources.modelserver import ModelServer, Rollout
from agentfleet.resources.modelserver_status import SizePlan, SourceFacts


def spec_tensor(server: ModelServer) -> str:
    """What the spec says: a number, or Auto."""
    parallelism = server.spec.parallelism
    return str((parallelism.tensor if parallelism else None) or 1)


def with_tensor(server: ModelServer, tensor: int | None) -> ModelServer:
    """The server with replicas of that size; None leaves it to the spec.

    New pods come first where the spec leaves the pace open, also on the way back to the size that it names: nobody
    asked for such a rollout, so it must cost no answer.
    """
    if tensor is None:
        return server
    spec = server.spec
    rollout = spec.rollout or Rollout()
    strategy = "Surge" if rollout.strategy in (None, "Auto") else rollout.strategy
    update = {
        "parallelism": (spec.parallelism or Parallelism()).model_copy(update={"tensor": tensor}),
        "rollout": rollout.model_copy(update={"strategy": strategy}),
    }
    return server.model_copy(update={"spec": spec.model_copy(update=update)})


def legal_tensors(
    server: ModelServer, plan: SizePlan, sources: Mapping[str, SourceFacts], now: Basis, largest: int
) -> tuple[int, ...]:
    """Sizes up to `largest` that a resolved server could have on one node, ascending; none where too little is known
    of the model or its GPUs to tell. `now` is what the nodes tell, for where the plan was made without them."""
    facts = known_facts(server, sources.get(server.model.uri))
    memory, gpus = plan.gpu_memory_bytes or now.gpu_memory, plan.gpus_per_node or now.gpus_per_node
    if facts is None or gpus is None or (plan.nodes or 1) > 1:
        return ()
    request = sizing_request(server, facts, Basis(memory, gpus), firm=True)
    widest = min(largest, gpus // (plan.pipeline or 1))
    found = []
    for tensor in range(1, widest + 1):
        try:
            size(replace(request, tensor=tensor))
        except InvalidSpec:
            continue  # what cannot be is what is being found out
        found.append(tensor)
    return tuple(found)
