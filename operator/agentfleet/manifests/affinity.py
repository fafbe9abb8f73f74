"""Node affinity: the user's own, narrowed to the wanted sites and GPU products. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from agentfleet.manifests.merge import shape_problems
from agentfleet.resources.modelserver import ModelServer

GPU_PRODUCT_LABEL = "nvidia.com/gpu.product"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def affinity_problems(affinity: dict[str, Any]) -> Iterable[str]:
    """Where an affinity is not shaped like one, in words."""
    yield from shape_problems({"affinity": affinity}, "placement")
    node = affinity.get("nodeAffinity")
    required = node.get(_REQUIRED) if isinstance(node, dict) else None
    if required is not None and not isinstance(required, dict):
        yield f"placement.affinity.nodeAffinity.{_REQUIRED} must be a map, not {required!r}"


def node_affinity(server: ModelServer, site_label: str) -> dict[str, Any]:
    """The pod's affinity; empty where nobody asks for any.

    Terms of a node selector are alternatives, so what must hold is added to each of the user's terms.
    """
    spec = server.spec
    affinity: dict[str, Any] = dict(spec.placement.affinity or {}) if spec.placement else {}
    must: list[dict[str, Any]] = []
    if spec.gpu and spec.gpu.products:
        must.append({"key": GPU_PRODUCT_LABEL, "operator": "In", "values": sorted(spec.gpu.products)})
    if spec.placement and spec.placement.sites:
        must.append({"key": site_label, "operator": "In", "values": sorted(spec.placement.sites)})
    return narrowed(affinity, must)


def narrowed(affinity: dict[str, Any], must: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`affinity` with what else labels of nodes must be."""
    if not must:
        return affinity
    node = dict(affinity.get("nodeAffinity") or {})
    terms = (node.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
    node[_REQUIRED] = {
        "nodeSelectorTerms": [term | {"matchExpressions": [*term.get("matchExpressions", ()), *must]} for term in terms]
    }
    return affinity | {"nodeAffinity": node}
