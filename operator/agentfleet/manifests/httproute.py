"""The HTTPRoute by which Gateways of the cluster lead to an AgentRoute. Pure.

TLS, host names and load balancers are the Gateway's; everything else stays with the route's own gateways.
"""

from typing import Any

from agentfleet.manifests.gateway_names import route_child, route_name
from agentfleet.objects import KINDS, Manifest
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.route_gateway import ParentRef

KIND = "HTTPRoute"
_PATHS = ("/v1", "/chat", "/health")


def http_route(route: AgentRoute) -> Manifest | None:
    """The HTTPRoute NAME-route; None without parentRefs. Fields are spelt out as the API server would fill them in."""
    if not route.spec.parent_refs:
        return None
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": path}} for path in _PATHS],
        "backendRefs": [{"group": "", "kind": "Service", "name": route_name(route), "port": 80, "weight": 1}],
        # Answers may take minutes; the gateways have their own limits.
        "timeouts": {"request": "0s"},
    }
    spec: dict[str, Any] = {"parentRefs": [_parent(ref) for ref in route.spec.parent_refs], "rules": [rule]}
    if route.spec.hostnames:
        spec["hostnames"] = list(route.spec.hostnames)
    return route_child(route, KINDS[KIND].api_version, KIND, route_name(route), spec=spec)


def _parent(ref: ParentRef) -> dict[str, Any]:
    wanted = {"namespace": ref.namespace, "sectionName": ref.section_name}
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": ref.name}
    return parent | {name: value for name, value in wanted.items() if value}
