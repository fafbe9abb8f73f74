"""The API server as the command line sees it: plain GET, PATCH and POST with the user's kubeconfig.

Not KubeCluster: that one retries, counts and applies as the operator; here an error is told to a human and that is it.
"""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from agentfleet.errors import AgentfleetError
from agentfleet.objects import Manifest

_JSON = "application/json"
_MERGE = "application/merge-patch+json"
_PAGE = "500"
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
_MANAGER = {"fieldManager": "kubectl-agentfleet"}


class Refused(AgentfleetError):
    """The API server, or what it is a proxy for, answered with an error; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(AgentfleetError):
    """There is no API server at the other end, or no way to find it."""


class Api:
    """One connection; `namespace` is the one that the user's context names."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self.namespace = namespace

    async def get(self, path: str, **query: str) -> Manifest:
        """One object, as plain data."""
        return await self._call("GET", path, query=query)

    async def list(self, path: str, **query: str) -> list[Manifest]:
        """All objects of a collection, page by page."""
        items: list[Manifest] = []
        while True:
            page = await self.get(path, limit=_PAGE, **query)
            items += page["items"] or ()
            following = page["metadata"].get("continue")
            if not following:
                return items
            query["continue"] = following

    async def text(self, path: str, **query: str) -> str:
        """What is no JSON, such as a container's log."""
        status, data = await self._send("GET", path, None, query=query, content_type=_JSON, accept="*/*")
        if status >= 400:
            _content(status, data)
        return data.decode(errors="replace")

    async def merge(self, path: str, body: Manifest) -> Manifest:
        """Change an object by a merge patch."""
        return await self._call("PATCH", path, body, query=_MANAGER, content_type=_MERGE)

    async def create(self, path: str, body: Manifest) -> Manifest:
        """Create an object."""
        return await self._call("POST", path, body, query=_MANAGER)

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._client.configuration.host)

    async def _call(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        *,
        query: dict[str, str],
        content_type: str = _JSON,
    ) -> Manifest:
        return _content(*await self._send(method, path, body, query=query, content_type=content_type))

    async def _send(
        self,
        method: str,
        path: str,
        body: Manifest | None,
        *,
        query: dict[str, str],
        content_type: str,
        accept: str = _JSON,
    ) -> tuple[int, bytes]:
        prepared = await self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._client.call_api(*prepared, _request_timeout=_TIMEOUT)
            return response.status, await response.read()
        except TimeoutError as error:
            raise Unreachable(f"{self.server} does not answer; check --context and --kubeconfig") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot reach {self.server}: {error}; check --context and --kubeconfig") from error


@asynccontextmanager
async def connect(kubeconfig: str | None, context: str | None) -> AsyncIterator[Api]:
    """A connection by kubeconfig, else, inside a pod and where neither is named, by the pod's service account."""
    # the library warns of what is told as an error below
    logging.getLogger("kubernetes.aio.config.kube_config").setLevel(logging.ERROR)
    configuration = Configuration()
    namespace = "default"
    try:
        loader = await load_kube_config(kubeconfig, context, configuration, persist_config=False)
        namespace = (loader.current_context.get("context") or {}).get("namespace") or namespace
    except ConfigException as error:
        if kubeconfig or context or not _in_cluster(configuration):
            problem = f"the kubeconfig cannot be used: {error}"
            raise Unreachable(f"{problem}; set --kubeconfig, --context or KUBECONFIG") from error
    configuration.client_session_kwargs = {"trust_env": True}  # users reach clusters through proxies
    async with ApiClient(configuration) as client:
        client.user_agent = "kubectl-agentfleet"
        yield Api(client, namespace)


def _in_cluster(configuration: Configuration) -> bool:
    try:
        load_incluster_config(configuration)
    except ConfigException:
        return False
    return True


def _content(status: int, data: bytes) -> Manifest:
    try:
        content: Any = json.loads(data)
    except ValueError:
        content = None
    if status >= 400:
        # a Status of the API server, else what the operator behind its proxy says
        said = (content.get("message") or content.get("error")) if isinstance(content, dict) else None
        raise Refused(status, str(said or data[:300].decode(errors="replace").strip() or f"HTTP {status}"))
    if not isinstance(content, dict):
        raise Refused(status, f"not an answer of an API server: {data[:100].decode(errors='replace')}")
    return content
