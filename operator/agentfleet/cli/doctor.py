"""`doctor`: is all there that agentfleet needs, from the API server to the user's own rights?"""

from argparse import Namespace
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from agentfleet.cli import agents_checks, fleet, operators, routes_checks
from agentfleet.cli.api import Api, Refused
from agentfleet.cli.output import answer
from agentfleet.cli.status import health_of
from agentfleet.cli.table import table
from agentfleet.errors import AgentfleetError
from agentfleet.objects import GROUP, VERSION

_OLDEST_MINOR = 33
_LEASE_AGE = 30.0
"""Seconds without a renewal after which nobody leads any more."""

_RIGHTS = (
    ("list", GROUP, "modelservers", "", "status and recommendations"),
    ("list", GROUP, "agentroutes", "", "status and explain route"),
    ("list", GROUP, "agents", "", "status, chat and audit"),
    ("patch", GROUP, "modelservers", "", "approve"),
    ("create", "", "pods", "portforward", "chat, and bench without --url"),
    ("create", "", "serviceaccounts", "token", "chat without --route"),
    ("get", "", "pods", "log", "audit"),
)
"""Verb, group, resource, sub-resource, and the commands that need it, in the user's namespace."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    result: str
    """One of ok, warning and failed."""
    message: str


async def run(arguments: Namespace, api: Api) -> int:
    """Exit code 1 where a check failed; warnings do not count."""
    namespace = arguments.namespace or api.namespace
    checks = await _api_server(api)  # what cannot be reached at all is one error, not seven
    for name, look in (
        ("CRDs", _crds(api)),
        ("operator", _operator(api, arguments.operator_namespace)),
        ("ModelServers", _servers(api, namespace)),
        ("AgentRoutes", _routes(api, namespace)),
        ("Agents", _agents(api, namespace, arguments)),
        ("rights", _rights(api, namespace, arguments.operator_namespace)),
    ):
        try:
            checks += await look
        except AgentfleetError as error:
            checks.append(Check(name, "failed", str(error)))
    rows = [(check.result, check.name, check.message) for check in checks]
    answer(arguments.output, table(("RESULT", "CHECK", "MESSAGE"), rows), [asdict(check) for check in checks])
    return int(any(check.result == "failed" for check in checks))


async def _api_server(api: Api) -> list[Check]:
    version = await api.get("/version")
    minor = int("".join(filter(str.isdigit, version["minor"])) or 0)
    text = f"{api.server} is {version['gitVersion']}"
    if (int(version["major"]), minor) >= (1, _OLDEST_MINOR):
        return [Check("API server", "ok", text)]
    return [Check("API server", "failed", f"{text}; agentfleet needs 1.{_OLDEST_MINOR} or newer")]


async def _crds(api: Api) -> list[Check]:
    try:
        served = await api.get(f"/apis/{GROUP}/{VERSION}")
    except Refused as error:
        if error.status != 404:
            raise
        return [Check("CRDs", "failed", f"{GROUP}/{VERSION} is not served: install the chart, or apply crds/")]
    names = sorted(each["name"] for each in served["resources"] if "/" not in each["name"])
    return [Check("CRDs", "ok", f"{GROUP}/{VERSION} serves {', '.join(names)}")]


async def _operator(api: Api, namespace: str) -> list[Check]:
    found = await operators.find(api, namespace)
    result = "ok" if found.ready == len(found.pods) else "warning" if found.ready else "failed"
    pods = Check("operator", result, f"{found.ready} of {len(found.pods)} pods in {namespace} are ready")
    return [pods, _leader(found), *([await _http_port(api, found)] if found.leader else [])]


def _leader(found: operators.Operators) -> Check:
    if found.leader is None:
        return Check("leader", "failed", "no pod holds the Lease: see the operator's log")
    age = (datetime.now(UTC) - found.renewed).total_seconds() if found.renewed else 0.0
    if age > _LEASE_AGE:
        return Check("leader", "failed", f"{found.leader} has not renewed the Lease for {age:.0f} s: see its log")
    return Check("leader", "ok", found.leader)


async def _http_port(api: Api, found: operators.Operators) -> Check:
    try:
        ready = await operators.ask(api, found, "readyz")
    except Refused as error:
        return Check("HTTP port", "warning", f"not reached, so report and simulate get no samples: {error}")
    return Check("HTTP port", "ok", f"the leader says: {ready.get('message', 'ready')}")


async def _servers(api: Api, namespace: str) -> list[Check]:
    found = await fleet.servers(api, namespace)
    health = health_of(found)
    text = f"{health.healthy} of {health.total} in {namespace} are healthy"
    return [
        Check("ModelServers", "ok" if health.overall == "healthy" else "warning", text),
        *(
            Check(server.name, "warning", f"{trouble.type}: {trouble.reason}: {trouble.message}")
            for server in found
            for trouble in server.troubles
        ),
    ]


async def _routes(api: Api, namespace: str) -> list[Check]:
    return [Check(*finding) for finding in await routes_checks.findings(api, namespace)]


async def _agents(api: Api, namespace: str, arguments: Namespace) -> list[Check]:
    return [Check(*finding) for finding in await agents_checks.findings(api, namespace, arguments)]


async def _rights(api: Api, namespace: str, operator_namespace: str) -> list[Check]:
    return [
        *[await _right(api, namespace, *each) for each in _RIGHTS],
        await _right(api, operator_namespace, "get", "", "pods", "proxy", "report's samples and simulate"),
    ]


async def _right(
    api: Api, namespace: str, verb: str, group: str, resource: str, subresource: str, purpose: str
) -> Check:
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource}
    review = await api.create(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {name: value for name, value in asked.items() if value}},
        },
    )
    what = f"{verb} {resource}{f'/{subresource}' if subresource else ''} in {namespace}"
    if review["status"].get("allowed"):
        return Check("rights", "ok", f"you may {what}")
    return Check("rights", "warning", f"you may not {what}, which is needed for {purpose}")
