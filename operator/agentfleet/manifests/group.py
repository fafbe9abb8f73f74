"""One replica over several nodes: a leader pod and worker pods that vLLM makes one engine of, without Ray. Pure.

The leader has the API, the sidecar and the Services; workers run the same engine headless: no port, no probe, and they
end with their group. The names in $( ) are variables that LeaderWorkerSet sets in every container.

A group that loses a node waits for it, or for a human to delete the pod: its StatefulSets never run a name twice.
"""

import copy
from typing import Any

from agentfleet.engines import ENGINES
from agentfleet.engines.base import gpu_count, node_count
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.names import SERVING_LABEL
from agentfleet.manifests.pod import ENGINE, SIDECAR
from agentfleet.resources.modelserver import ModelServer

_MASTER_PORT = 29555
_LEADER_ONLY = ("lifecycle", "livenessProbe", "ports", "readinessProbe", "startupProbe")


def check_group(server: ModelServer) -> None:
    """InvalidSpec for what a replica over several nodes cannot have."""
    nodes = node_count(server)
    gpus = gpu_count(ENGINES[server.spec.engine], server)
    if gpus % nodes:
        raise InvalidSpec(
            "BadParallelism",
            f"gpu.count is {gpus}; it must be a multiple of parallelism.nodes ({nodes}):"
            " each pod of a replica has as many GPUs as the next.",
        )
    if server.spec.adapters:
        raise InvalidSpec(
            "InvalidSpec",
            f"adapters: not with parallelism.nodes {nodes}: an adapter is fetched to the leader's node alone;"
            " merge it into the model, or keep a replica on one node.",
        )


def leader_template(template: dict[str, Any], nodes: int) -> dict[str, Any]:
    """The pod that answers: the finished template with the flags of rank 0."""
    leader = copy.deepcopy(template)
    _engine(leader)["args"] = [*_engine(leader).get("args", ()), *_flags(nodes)]
    return leader


def worker_template(template: dict[str, Any], nodes: int) -> dict[str, Any]:
    """The pods that only compute: nothing sends them requests, so nothing waits for them or drains them."""
    worker = copy.deepcopy(template)
    worker["metadata"]["labels"].pop(SERVING_LABEL, None)
    engine = _engine(worker)
    for name in _LEADER_ONLY:
        engine.pop(name, None)
    engine["args"] = [*engine.get("args", ()), *_flags(nodes), "--headless"]
    spec = worker["spec"]
    # Spreading is for replicas; the nodes of one replica are better close to each other.
    spec.pop("topologySpreadConstraints", None)
    spec["initContainers"] = [item for item in spec.get("initContainers", ()) if item["name"] != SIDECAR]
    if not spec["initContainers"]:
        del spec["initContainers"]
    return worker


def _engine(template: dict[str, Any]) -> dict[str, Any]:
    engine: dict[str, Any] = next(item for item in template["spec"]["containers"] if item["name"] == ENGINE)
    return engine


def _flags(nodes: int) -> tuple[str, ...]:
    # After the user's own: the last one counts.
    return (
        "--distributed-executor-backend=mp",
        f"--nnodes={nodes}",
        "--node-rank=$(LWS_WORKER_INDEX)",
        "--master-addr=$(LWS_LEADER_ADDRESS)",
        f"--master-port={_MASTER_PORT}",
    )
