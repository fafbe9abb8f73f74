"""What `doctor` looks at in Agents: conditions, pods and their image, who may ask, and whether Offline holds."""

from argparse import Namespace
from collections.abc import Iterator, Sequence

from agentfleet.cli import operators
from agentfleet.cli.agents import AGENT_CONTAINER, Agent, agents, pods_of
from agentfleet.cli.api import Api, Refused
from agentfleet.cli.execute import NotExecuted, executed
from agentfleet.cli.pods import is_ready, serving, state_of
from agentfleet.objects import Manifest

Finding = tuple[str, str, str]
"""Name, result (ok, warning or failed) and message of a check."""

_IMAGE_HINT = "check spec.runtime.image, the chart's agents.runtimeImage, and that nodes can pull it"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_OPERATOR_PORT = 8080
_KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 4).close()
except OSError:
    print("closed")
else:
    print("open")
"""
"""Run in a pod of an Offline agent, where the operator's pod must be out of reach."""


async def findings(api: Api, namespace: str, arguments: Namespace) -> list[Finding]:
    """A line for all Agents of a namespace, and one for each thing that is wrong; nothing where there is no Agent."""
    found = await agents(api, namespace)
    if not found:
        return []
    healthy = sum(agent.is_healthy for agent in found)
    result = "ok" if healthy == len(found) else "warning"
    lines = [("Agents", result, f"{healthy} of {len(found)} in {namespace} are healthy")]
    for agent in found:
        pods = await pods_of(api, agent)
        lines += about(agent, pods)
        lines += await _token_reviews(api, agent, pods)
        if agent.mode == "Offline":
            lines += await _offline(api, agent, serving(pods), arguments)
    return lines


def about(agent: Agent, pods: Sequence[Manifest]) -> list[Finding]:
    """What is wrong with one Agent, given its pods."""
    return [(f"agent {agent.name}", "warning", message) for message in _wrong(agent, pods)]


def _wrong(agent: Agent, pods: Sequence[Manifest]) -> Iterator[str]:
    told = {trouble.reason for trouble in agent.troubles if trouble.type == "Stalled"}
    for trouble in agent.troubles:
        if trouble.type != "Ready" or trouble.reason not in told:
            yield f"{trouble.type}: {trouble.reason}: {trouble.message}"
    if agent.replicas is not None and agent.ready < agent.replicas:
        yield f"{agent.ready} of {agent.replicas} pods are ready"
    for pod in pods:
        if not is_ready(pod) and "deletionTimestamp" not in pod["metadata"]:
            yield f"pod {pod['metadata']['name']} is not ready: {state_of(pod, _IMAGE_HINT)}"
    if not agent.lets_all_in and not agent.grants:
        yield "nobody may ask it: access.default is Deny, and access.allow names no groups and no serviceAccounts"


async def _token_reviews(api: Api, agent: Agent, pods: Sequence[Manifest]) -> list[Finding]:
    """Whether its pods may have tokens judged, where access names accounts; nothing for those who may not know."""
    accounts = sorted({str(pod["spec"].get("serviceAccountName") or "default") for pod in pods})
    if not agent.callers or not accounts:
        return []
    account = accounts[0]
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{agent.namespace}", "system:authenticated"]
    asked = {"verb": "create", "group": "authentication.k8s.io", "resource": "tokenreviews"}
    spec = {
        "user": f"system:serviceaccount:{agent.namespace}:{account}",
        "groups": groups,
        "resourceAttributes": asked,
    }
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    try:
        review = await api.create(_REVIEWS, body)
    except Refused as error:
        if error.status == 403:
            return []
        raise
    if review["status"].get("allowed"):
        return []
    message = f"its account {account} may not create tokenreviews, so callers outside of routes are not heard"
    return [(f"agent {agent.name}", "warning", f"{message}: see the chart's agents.directCallers")]


async def _offline(api: Api, agent: Agent, pods: Sequence[Manifest], arguments: Namespace) -> list[Finding]:
    """Whether the cluster enforces what Offline promises: tried out in one of the pods, since no API tells."""
    name = f"agent {agent.name}"
    path = f"/apis/networking.k8s.io/v1/namespaces/{agent.namespace}/networkpolicies/{agent.name}-agent"
    try:
        await api.get(path)
    except Refused as error:
        if error.status != 404:
            raise
        return [(name, "failed", "Offline without a NetworkPolicy: set the chart's policy.networkPolicies")]
    if not pods:
        return [(name, "warning", "Offline: not tried whether the cluster enforces it: no pod is ready")]
    pod = str(pods[0]["metadata"]["name"])
    try:
        target = await _operator_address(api, arguments.operator_namespace)
        said = await executed(
            *(agent.namespace, pod, AGENT_CONTAINER, "python3", "-c", _KNOCK, target, str(_OPERATOR_PORT)),
            kubeconfig=arguments.kubeconfig,
            context=arguments.context,
        )
    except (NotExecuted, operators.NoOperator, Refused) as error:
        return [(name, "warning", f"Offline: not tried whether the cluster enforces it: {error}")]
    if said.strip() == "closed":
        return [(name, "ok", f"Offline: pod {pod} reaches nothing that its NetworkPolicy denies, as tried")]
    message = f"Offline does not hold: pod {pod} reaches the operator's pod, which its NetworkPolicy denies"
    return [(name, "failed", f"{message}: use a network plug-in that enforces NetworkPolicies")]


async def _operator_address(api: Api, namespace: str) -> str:
    """Address of an operator's pod that listens."""
    found = await operators.find(api, namespace)
    for pod in serving(found.pods):
        address = (pod.get("status") or {}).get("podIP")
        if address and not pod["spec"].get("hostNetwork"):
            return str(address)
    raise operators.NoOperator(f"no operator's pod in {namespace} is there to knock at")
