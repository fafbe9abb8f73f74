"""ModelServer → what one of its replicas demands of nodes. Pure.

Affinity is taken from where the pod's own is built, so that what is judged here is what the scheduler is told.
"""

from agentfleet.engines.base import gpu_resource
from agentfleet.errors import InvalidSpec
from agentfleet.manifests.affinity import affinity_problems, node_affinity
from agentfleet.manifests.topology import pod_placement
from agentfleet.planning.nodes import Demand
from agentfleet.resources.base import quantity_thousandths, quantity_value
from agentfleet.resources.modelserver import ModelServer


def demand_of(server: ModelServer, site_label: str, gpus: int = 0, pods: int = 1) -> Demand:
    """The demand of a replica of `pods` pods with `gpus` GPUs each; the server's profile has been filled in before."""
    spec, placement = server.spec, server.spec.placement
    for problem in affinity_problems(dict(placement.affinity)) if placement and placement.affinity else ():
        raise InvalidSpec("InvalidSpec", f"{problem}.")
    limits, requests = (spec.resources.limits, spec.resources.requests) if spec.resources else (None, None)
    reserved = {**(limits or {}), **(requests or {})}
    node = node_affinity(server, site_label).get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    taken = pod_placement(server, site_label, gpu_resource(server) if gpus else None)
    return Demand(
        gpus=gpus,
        gpu_resource=gpu_resource(server),
        pods=pods,
        gpu_memory_bytes=quantity_value(spec.gpu.memory) if spec.gpu and spec.gpu.memory else None,
        cpu_millis=quantity_thousandths(reserved.get("cpu", 0)),
        memory_bytes=quantity_value(reserved.get("memory", 0)),
        node_selector=(placement.node_selector if placement else None) or {},
        node_terms=tuple(required.get("nodeSelectorTerms") or ()),
        tolerations=tuple(taken.get("tolerations", ())),
        claims=tuple(claim.name for claim in spec.gpu.claims) if spec.gpu else (),
    )
