"""The operator's pods as the command line finds them: who leads, and what the leader keeps in memory.

The way leads through the API server's proxy, so a user needs no network to the pods, but the right to `get pods/proxy`
in the operator's namespace (ClusterRole agentfleet-samples, bound there).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentfleet.cli.api import Api, Refused
from agentfleet.cli.pods import is_ready
from agentfleet.cli.table import moment
from agentfleet.errors import AgentfleetError
from agentfleet.objects import Manifest

_SELECTOR = "app.kubernetes.io/name=agentfleet,app.kubernetes.io/component=operator"
_HTTP_PORT = 8080


class NoOperator(AgentfleetError):
    """No operator is there, none leads, or it does not say what it was asked."""


@dataclass(frozen=True, slots=True)
class Operators:
    """The operator's pods, and the Lease that one of them holds."""

    namespace: str
    pods: tuple[Manifest, ...]
    leader: str | None
    """Name of the leading pod; the only one where the Lease is turned off."""
    renewed: datetime | None
    """When the Lease was last renewed."""

    @property
    def ready(self) -> int:
        """How many pods are Ready."""
        return sum(map(is_ready, self.pods))


async def find(api: Api, namespace: str) -> Operators:
    """Look for them; NoOperator where there is none."""
    pods = await api.list(f"/api/v1/namespaces/{namespace}/pods", labelSelector=_SELECTOR)
    if not pods:
        raise NoOperator(f"no operator runs in namespace {namespace}; name its namespace with --operator-namespace")
    names = {pod["metadata"]["name"] for pod in pods}
    for lease in await api.list(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"):
        holder = (lease["spec"].get("holderIdentity") or "").rpartition("_")[0]
        if holder in names:
            return Operators(namespace, tuple(pods), holder, moment(lease["spec"]["renewTime"]))
    return Operators(namespace, tuple(pods), names.pop() if len(names) == 1 else None, None)


async def ask(api: Api, operators: Operators, path: str, **query: str) -> Manifest:
    """What the leader answers at a path of its HTTP port."""
    if operators.leader is None:
        raise NoOperator(f"none of the operator's {len(operators.pods)} pods in {operators.namespace} leads; try again")
    pod = f"/api/v1/namespaces/{operators.namespace}/pods/{operators.leader}:{_HTTP_PORT}"
    return await api.get(f"{pod}/proxy/{path}", **query)


async def samples(
    api: Api, operator_namespace: str, namespace: str, name: str, most: int | None = None
) -> dict[str, Any]:
    """The last samples of a ModelServer, all that the operator keeps unless `most` of each replica; NoOperator says why
    there are none."""
    try:
        operators = await find(api, operator_namespace)
        path = f"scaling/namespaces/{namespace}/modelservers/{name}/samples"
        return await ask(api, operators, path, **({"samples": str(most)} if most else {}))
    except Refused as error:
        raise NoOperator(f"the operator's samples of {name} cannot be read: {error}{_hint(error.status)}") from error


def _hint(status: int) -> str:
    if status == 403:
        return "; ask for a RoleBinding to ClusterRole agentfleet-samples in the operator's namespace"
    return "; it has just started to lead, try again" if status == 503 else ""
