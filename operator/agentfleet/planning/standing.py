"""What the loop has to know of a ModelServer after a reconcile: scaling_types.Standing. Pure."""

from agentfleet.engines import ENGINES
from agentfleet.engines.base import gpu_count
from agentfleet.planning.failures import workload_failure
from agentfleet.planning.learnt import capacity_key, learnt_before
from agentfleet.planning.observed import Observed
from agentfleet.planning.plan import Plan
from agentfleet.planning.resolve import basis_of
from agentfleet.planning.scaling import Settled
from agentfleet.planning.scaling_decisions import OPEN
from agentfleet.planning.scaling_goal import vertical_mode
from agentfleet.planning.scaling_types import Standing
from agentfleet.planning.vertical import legal_tensors
from agentfleet.resources.modelserver import ModelServer
from agentfleet.resources.modelserver_status import ModelServerStatus
from agentfleet.settings import Settings

_VLLM_SEQUENCES = 256.0
"""max_num_seqs where nobody sets it, on most GPUs; larger ones take more, which only the engine's metrics tell."""


def standing(
    settled: Settled,
    server: ModelServer,
    plan: Plan,
    observed: Observed,
    status: ModelServerStatus,
    settings: Settings,
) -> Standing:
    """`server` is resolved, and `status` what came of it."""
    key = capacity_key(server, plan.launch, status.profile)
    cold_start = status.cold_start.total if status.cold_start else None
    decision = settled.scaling.decision if settled.scaling else None
    return Standing(
        uid=server.uid,
        spec=server.spec,
        mode=settled.mode,
        wanted=server.replicas if settled.mode else len(observed.pods),
        revision=plan.revision,
        goal=settled.goal,
        open=decision.to if decision and decision.state in OPEN else None,
        rejected=decision is not None and decision.state == "Rejected",
        rolling=plan.rollout is not None,
        cold_start=None if cold_start is None else float(cold_start),
        tensor=(status.plan.tensor if status.plan else None) or 1,
        tensors=_tensors(settled, server, status, observed, settings),
        gpus=_gpus(server),
        max_gpus=server.spec.scaling.max_gpus if server.spec.scaling else None,
        max_running=_max_running(server),
        not_created=_not_created(observed),
        capacity_key=key,
        learnt=learnt_before(status.capacity, key),
    )


def _tensors(
    settled: Settled, server: ModelServer, status: ModelServerStatus, observed: Observed, settings: Settings
) -> tuple[int, ...]:
    if settled.mode is None or vertical_mode(server) == "Manual" or status.plan is None:
        return ()
    sources = {source.uri: source for source in status.sources}
    now = basis_of(server, observed.nodes, settings)
    return legal_tensors(server, status.plan, sources, now, settled.goal.max_tensor)


def _gpus(server: ModelServer) -> int | None:
    if server.is_external:
        return 0
    if server.spec.gpu and server.spec.gpu.claims:
        return None
    return gpu_count(ENGINES[server.spec.engine], server)


def _max_running(server: ModelServer) -> float | None:
    spec = server.spec
    if spec.engine == "VLLM":
        return float((spec.vllm and spec.vllm.max_num_seqs) or _VLLM_SEQUENCES)
    if spec.engine == "LlamaCpp":
        return float((spec.llama_cpp and spec.llama_cpp.slots) or 1)
    return float((spec.ollama and spec.ollama.parallel) or 1)


def _not_created(observed: Observed) -> str | None:
    failures = (workload_failure(manifest) for manifest in observed.workload_manifests)
    return next((failure.reason for failure in failures if failure), None)
