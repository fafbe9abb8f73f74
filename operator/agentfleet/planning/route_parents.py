"""What Gateways of the cluster say of a route's HTTPRoute, as status.parents. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from agentfleet.planning.route_observed import RouteObserved
from agentfleet.resources.agentroute import AgentRoute
from agentfleet.resources.agentroute_status import ParentStatus

_MOST = 16
_LONGEST = 1024
_ACCEPTED, _RESOLVED = "Accepted", "ResolvedRefs"


def parents_of(route: AgentRoute, observed: RouteObserved) -> tuple[ParentStatus, ...]:
    """One entry for each Gateway and controller that has answered, and for each parentRef that none has."""
    answers = [answer for live in observed.http_routes for answer in (live.get("status") or {}).get("parents") or ()]
    told = [_told(route, answer) for answer in answers]
    heard = {(each.name, each.namespace, each.section_name) for each in told}
    silent = [each for each in _silent(route) if (each.name, each.namespace, each.section_name) not in heard]
    return tuple((*told, *silent)[:_MOST])


def _silent(route: AgentRoute) -> Iterator[ParentStatus]:
    for ref in route.spec.parent_refs:
        yield ParentStatus(
            name=ref.name,
            namespace=ref.namespace or route.namespace,
            section_name=ref.section_name or "",
            accepted="Unknown",
        )


def _told(route: AgentRoute, answer: Mapping[str, Any]) -> ParentStatus:
    ref = answer.get("parentRef") or {}
    conditions = {each.get("type"): each for each in answer.get("conditions") or ()}
    accepted, resolved = conditions.get(_ACCEPTED) or {}, conditions.get(_RESOLVED) or {}
    # An accepted route whose backend is not found leads nowhere.
    deciding = resolved if accepted.get("status") == "True" and resolved.get("status") == "False" else accepted
    status = deciding.get("status")
    fine = status == "True"
    return ParentStatus(
        name=ref.get("name", ""),
        namespace=ref.get("namespace") or route.namespace,
        section_name=ref.get("sectionName") or "",
        controller_name=answer.get("controllerName"),
        accepted=status if status in ("True", "False") else "Unknown",
        reason=None if fine else (deciding.get("reason") or "")[:_LONGEST] or None,
        message=None if fine else (deciding.get("message") or "")[:_LONGEST] or None,
    )
