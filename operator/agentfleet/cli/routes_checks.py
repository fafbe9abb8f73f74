"""What `doctor` looks at in AgentRoutes: conditions, targets, gateway pods and their HAProxy image."""

import re
from collections.abc import Iterator, Sequence

from agentfleet.cli.api import Api
from agentfleet.cli.pods import is_ready, state_of
from agentfleet.cli.routes import Route, routes
from agentfleet.objects import AGENT_ROUTE_LABEL, Manifest

Finding = tuple[str, str, str]
"""Name, result (ok or warning) and message of a check."""

_CONTAINER = "haproxy"
_OLDEST = (3, 2)
_VERSION = re.compile(r":v?(\d+)\.(\d+)[^/]*$")
_IMAGE_HINT = "check spec.gateway.image and that nodes can pull it"
_UNUSABLE = ("NotFound", "NotPermitted", "KindNotInstalled", "CloudWithoutAuth")
_TOLD_BY_TARGETS = ("ResolvedRefs",)
"""Conditions that say of all targets what is told here of each."""


async def findings(api: Api, namespace: str) -> list[Finding]:
    """A line for all routes of a namespace, and one for each thing that is wrong; nothing where there is no route."""
    found = await routes(api, namespace)
    if not found:
        return []
    healthy = sum(route.is_healthy for route in found)
    result = "ok" if healthy == len(found) else "warning"
    lines = [("AgentRoutes", result, f"{healthy} of {len(found)} in {namespace} are healthy")]
    for route in found:
        lines += about(route, await _pods(api, route))
    return lines


def about(route: Route, pods: Sequence[Manifest]) -> list[Finding]:
    """What is wrong with one route, given its gateway pods."""
    return [(f"route {route.name}", "warning", message) for message in _wrong(route, pods)]


def _wrong(route: Route, pods: Sequence[Manifest]) -> Iterator[str]:
    unusable = [target for target in route.targets if target.get("reason") in _UNUSABLE]
    for trouble in route.troubles:
        if not (unusable and trouble.type in _TOLD_BY_TARGETS):
            yield f"{trouble.type}: {trouble.reason}: {trouble.message}"
    for target in unusable:
        yield f"target {target['name']}: {target['reason']}: {target.get('message') or 'it gets no requests'}"
    if route.gateways is not None and route.ready_gateways < route.gateways:
        yield f"{route.ready_gateways} of {route.gateways} gateways are ready"
    for pod in pods:
        if not is_ready(pod):
            yield f"gateway {pod['metadata']['name']} is not ready: {state_of(pod, _IMAGE_HINT)}"
    for image in sorted({image for pod in pods if (image := _image(pod))}):
        version = _VERSION.search(image)
        if version and (int(version[1]), int(version[2])) < _OLDEST:
            yield f"image {image}: HAProxy must be {_OLDEST[0]}.{_OLDEST[1]} or newer; set spec.gateway.image"


async def _pods(api: Api, route: Route) -> list[Manifest]:
    selector = f"{AGENT_ROUTE_LABEL}={route.name}"
    return await api.list(f"/api/v1/namespaces/{route.namespace}/pods", labelSelector=selector)


def _image(pod: Manifest) -> str | None:
    containers = (pod.get("spec") or {}).get("containers") or ()
    return next((each.get("image") for each in containers if each["name"] == _CONTAINER), None)
