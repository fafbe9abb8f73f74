"""Where an agent's audit lines are read: from the logs of its pods, or from the files that each of them keeps.

Logs have the lines of pods that are there, as far back as the nodes keep logs; files are bounded by the agent itself.
Lines of pods that are gone are where logs are collected, nowhere else.
"""

import base64
from argparse import Namespace
from collections.abc import AsyncIterator

import aiohttp

from agentfleet.cli.agents import AGENT_CONTAINER, AGENT_PORT, Agent, pods_of
from agentfleet.cli.api import Api, Refused
from agentfleet.cli.execute import executed
from agentfleet.cli.forward import NoTunnel, forwarded
from agentfleet.cli.output import remark
from agentfleet.cli.pods import serving
from agentfleet.errors import AgentfleetError
from agentfleet.objects import Manifest
from agentfleet.runtime.audit_chain import parse

_SECRET = "agentfleet-identity"  # noqa: S105 - a name
_KEYS = ("key", "key.previous")
_FILES = "cd /var/lib/agent && for number in 9. 8. 7. 6. 5. 4. 3. 2. 1. ''; do cat audit.${number}jsonl || :; done"
"""Oldest first (runtime/audit_file.py); those that are not there are complained of on stderr, which nobody reads."""
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_NO_LOG = (400, 404)
"""A container that has not started, or was never restarted."""


class NoLines(AgentfleetError):
    """There is no pod whose lines could be read."""


async def audit_lines(api: Api, found: Agent, arguments: Namespace) -> list[str]:
    """The lines of all its pods, each pod's in their order; what the process logged between them is left out."""
    pods = await pods_of(api, found)
    if arguments.source == "files":
        texts = [await _files(found, pod, arguments) for pod in serving(pods)]
    else:
        texts = [text for pod in pods for text in [each async for each in _logs(api, found, pod)]]
    if not texts:
        state = "ready" if arguments.source == "files" else "there"
        raise NoLines(f"no pod of {found.namespace}/{found.name} is {state}; audit verify FILE reads collected lines")
    return [line for text in texts for line in text.split("\n") if _is_audit(line)]


async def metrics_pages(api: Api, found: Agent, arguments: Namespace) -> list[str]:
    """What its pods say at /metrics, by `kubectl port-forward`; those that cannot be asked are named."""
    pages = []
    for pod in serving(await pods_of(api, found)):
        name = str(pod["metadata"]["name"])
        try:
            pages.append(await _metrics(found.namespace, name, arguments))
        except (NoTunnel, aiohttp.ClientError, TimeoutError) as error:
            remark(f"warning: {name} does not say how far its lines reach: {error or 'no answer in time'}")
    return pages


async def _metrics(namespace: str, pod: str, arguments: Namespace) -> str:
    cluster = {"kubeconfig": arguments.kubeconfig, "context": arguments.context}
    async with (
        forwarded(namespace, pod, AGENT_PORT, **cluster) as address,
        aiohttp.ClientSession(timeout=_TIMEOUT) as http,
        http.get(f"http://{address}/metrics") as response,
    ):
        return await response.text()


async def identity_keys(api: Api, namespace: str) -> list[bytes]:
    """The keys that lines of a namespace are chained with; none where there are none. Refused where that may not be
    read."""
    try:
        secret = await api.get(f"/api/v1/namespaces/{namespace}/secrets/{_SECRET}")
    except Refused as error:
        if error.status == 404:
            return []
        raise
    data = secret.get("data") or {}
    return [base64.b64decode(data[name]) for name in _KEYS if data.get(name)]


async def _logs(api: Api, found: Agent, pod: Manifest) -> AsyncIterator[str]:
    """Of the container before its restart, where there was one, and of this one."""
    path = f"/api/v1/namespaces/{found.namespace}/pods/{pod['metadata']['name']}/log"
    for previous in ("true", "false"):
        try:
            yield await api.text(path, container=AGENT_CONTAINER, previous=previous)
        except Refused as error:
            if error.status not in _NO_LOG:
                raise


async def _files(found: Agent, pod: Manifest, arguments: Namespace) -> str:
    name = str(pod["metadata"]["name"])
    cluster = {"kubeconfig": arguments.kubeconfig, "context": arguments.context}
    return await executed(found.namespace, name, AGENT_CONTAINER, "sh", "-c", _FILES, **cluster)


def _is_audit(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        parse(line)
    except ValueError:
        return False
    return True
