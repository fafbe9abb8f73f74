"""KubeCluster: the Cluster Protocol on a real API server, with plain dicts over the asyncio client of `kubernetes`.

The library gives configuration, authentication and TLS; its generated models and its dynamic client are left alone
(they cost two to three times the CPU of a call). Errors leave as those of errors.py. It decides nothing.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from agentfleet.apierrors import Expired, NotFound, content_of
from agentfleet.cluster import Listed, Listing
from agentfleet.errors import Conflict, InvalidSpec, Transient
from agentfleet.metrics import Metrics
from agentfleet.objects import FIELD_MANAGER, KINDS, MANAGED_BY, Key, Kind, Manifest, key_of
from agentfleet.planning.nodes import pod_requests, total

logger = logging.getLogger(__name__)

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE = "application/merge-patch+json"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_MANAGER = {"fieldManager": FIELD_MANAGER}
_PAGE = 200
_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=5)
_LISTING_ATTEMPTS = 3
_ON_NODES = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"

_LEASE, _EVENT = Kind("Lease", "coordination.k8s.io", "v1", "leases"), Kind("Event", "", "v1", "events")


async def connect(*, connections: int) -> ApiClient:
    """A client for the cluster that this process runs in, else for the current context of the kubeconfig."""
    configuration = Configuration()
    try:
        load_incluster_config(configuration)
    except ConfigException:
        try:
            await load_kube_config(client_configuration=configuration)
        except ConfigException as error:
            problem = f"no cluster: this is no pod, and the kubeconfig cannot be used: {error}; set KUBECONFIG"
            raise InvalidSpec("InvalidSettings", problem) from error
    # looking up proxies and netrc files for every request costs as much as the request itself
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.connection_pool_maxsize = connections
    client = ApiClient(configuration)
    client.user_agent = FIELD_MANAGER
    return client


def path_of(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The URL path of an object, or of a collection where `name` is empty."""
    parts = ["/apis" if kind.group else "/api", kind.api_version]
    if namespace and kind.namespaced:
        parts += ["namespaces", namespace]
    parts += [part for part in (kind.plural, name, subresource) if part]
    return "/".join(parts)


class KubeCluster:
    """See cluster.Cluster for what the methods promise."""

    def __init__(self, client: ApiClient, *, namespaces: tuple[str, ...], metrics: Metrics) -> None:
        """`namespaces` limits listings; empty is the whole cluster."""
        self._client = client
        self._namespaces = namespaces
        self._metrics = metrics

    async def apply(self, manifest: Manifest, *, force: bool) -> Manifest:
        """Server-side apply."""
        key = key_of(manifest)
        path = path_of(KINDS[key.kind], key.namespace, key.name)
        return await self._write("apply", key.kind, "PATCH", path, manifest, query=_apply(force=force))

    async def create(self, manifest: Manifest) -> bool:
        """POST, which needs no permission to change what is there."""
        key = key_of(manifest)
        try:
            await self._write("create", key.kind, "POST", path_of(KINDS[key.kind], key.namespace), manifest)
        except Conflict:
            return False
        return True

    async def apply_status(self, manifest: Manifest) -> Manifest | None:
        """Server-side apply of the status sub-resource."""
        key = key_of(manifest)
        path = path_of(KINDS[key.kind], key.namespace, key.name, "status")
        try:
            return await self._write("apply_status", key.kind, "PATCH", path, manifest, query=_apply(force=True))
        except NotFound:
            return None

    async def scale(self, key: Key, replicas: int) -> None:
        """Server-side apply of the scale sub-resource; a merge patch for custom resources, where that is a 500."""
        body: Manifest = {"spec": {"replicas": replicas}}
        if KINDS[key.kind].optional:
            await self._merge("scale", key, body, "scale")
        else:
            metadata = {"name": key.name, "namespace": key.namespace}
            body |= {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata}
            path = path_of(KINDS[key.kind], key.namespace, key.name, "scale")
            await self._write("scale", key.kind, "PATCH", path, body, query=_apply(force=True))

    async def replace_ports(self, key: Key, ports: list[Manifest]) -> None:
        """Merge patch, in which a list is one value."""
        await self._merge("replace_ports", key, {"spec": {"ports": ports}})

    async def _merge(self, verb: str, key: Key, body: Manifest, subresource: str = "") -> None:
        path = path_of(KINDS[key.kind], key.namespace, key.name, subresource)
        await self._write(verb, key.kind, "PATCH", path, body, query=_MANAGER, content_type=_MERGE)

    async def get(self, key: Key) -> Manifest | None:
        """Read one object by a quorum read."""
        kind = KINDS[key.kind]
        try:
            found = await self.request("GET", path_of(kind, key.namespace, key.name))
        except NotFound:
            return None
        return {**found, "apiVersion": kind.api_version, "kind": kind.name}

    async def delete(self, key: Key, uid: str) -> None:
        """Delete in the background, on the condition that it still has this uid."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        path = path_of(KINDS[key.kind], key.namespace, key.name)
        try:
            await self._write("delete", key.kind, "DELETE", path, body)
        except (NotFound, Conflict):
            logger.debug("already gone", extra={"key": str(key)})

    async def list_metadata(self, kind: str) -> Listing:
        """A consistent listing of each watched namespace; the oldest of their versions speaks for all."""
        known = KINDS[kind]
        scopes = self._namespaces if known.namespaced and self._namespaces else ("",)
        try:
            listings = [await self._list_scope(known, namespace) for namespace in scopes]
        except NotFound as error:
            raise NotFound(f"{known.plural}.{known.group} is not served: install the CRDs, or upgrade them") from error
        return Listing(
            resource_version=min(listing.resource_version for listing in listings),
            items=tuple(item for listing in listings for item in listing.items),
        )

    async def serves(self, kind: str) -> bool:
        """By discovery of the kind's group and version, which any service account may read."""
        known = KINDS[kind]
        try:
            answer = await self.request("GET", f"/apis/{known.api_version}")
        except NotFound:
            return False
        return any(resource["name"] == known.plural for resource in answer["resources"])

    async def node_usage(self) -> dict[str, dict[str, int]]:
        """By pages of the pods that are bound to a node and have not ended; only the sums are kept."""
        usage: dict[str, dict[str, int]] = {}
        async for page in self._pages("/api/v1/pods", {"fieldSelector": _ON_NODES}):
            for pod in page["items"] or ():
                node = pod["spec"]["nodeName"]
                usage[node] = total((usage.get(node, {}), pod_requests(pod)))
        return usage

    async def pod_events(self, namespace: str, uid: str) -> list[Manifest]:
        """Events about one pod, by field selector."""
        answer = await self.request(
            "GET",
            f"/api/v1/namespaces/{namespace}/events",
            query={"fieldSelector": f"involvedObject.kind=Pod,involvedObject.uid={uid}"},
        )
        return sorted(answer["items"], key=_event_time)

    async def post_event(self, manifest: Manifest) -> None:
        """Create one Event."""
        await self._write("create", _EVENT.name, "POST", path_of(_EVENT, manifest["metadata"]["namespace"]), manifest)

    async def _list_scope(self, kind: Kind, namespace: str) -> Listing:
        for _ in range(_LISTING_ATTEMPTS - 1):
            try:
                return await self._list_pages(kind, namespace)
            except Expired:
                logger.info("listing of %s took longer than the server keeps it, started again", kind.plural)
        return await self._list_pages(kind, namespace)

    async def _list_pages(self, kind: Kind, namespace: str) -> Listing:
        query = {"labelSelector": f"{MANAGED_BY}={FIELD_MANAGER}"} if kind.managed_only else {}
        items: list[Listed] = []
        version = 0
        async for page in self._pages(path_of(kind, namespace), query, _METADATA_LIST):
            # the server sends null for no items
            items += [_listed(kind, item["metadata"]) for item in page["items"] or ()]
            version = int(page["metadata"]["resourceVersion"])
        return Listing(version, tuple(items))

    async def _pages(self, path: str, query: Mapping[str, str], accept: str = _JSON) -> AsyncIterator[Manifest]:
        """All pages of a list. No resourceVersion: the state at the time of the request, never an older one."""
        more: Mapping[str, str] = {}
        while True:
            page = await self.request("GET", path, accept=accept, query={"limit": str(_PAGE), **query, **more})
            yield page
            if not page["metadata"].get("continue"):
                return
            more = {"continue": page["metadata"]["continue"]}

    async def read_lease(self, namespace: str, name: str) -> Manifest | None:
        """The Lease, None where absent."""
        try:
            return await self.request("GET", path_of(_LEASE, namespace, name))
        except NotFound:
            return None

    async def write_lease(self, lease: Manifest) -> Manifest:
        """Create the Lease, or replace the one with its resourceVersion; Conflict where somebody was faster."""
        metadata = lease["metadata"]
        if "resourceVersion" in metadata:
            path = path_of(_LEASE, metadata["namespace"], metadata["name"])
            return await self._write("update", _LEASE.name, "PUT", path, lease)
        return await self._write("create", _LEASE.name, "POST", path_of(_LEASE, metadata["namespace"]), lease)

    async def request(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        *,
        accept: str = _JSON,
        query: Mapping[str, str] | None = None,
    ) -> Manifest:
        """One call to the API server; its answer as a dict, or an error of errors.py."""
        return content_of(f"{method} {path}", *await self._call(method, path, body, accept, query))

    async def _write(
        self,
        verb: str,
        kind: str,
        method: str,
        path: str,
        body: Manifest,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> Manifest:
        writes = self._metrics.api_writes
        try:
            status, data = await self._call(method, path, body, _JSON, query, content_type)
        except Transient:
            writes.labels(verb, kind, "unreachable").inc()
            raise
        writes.labels(verb, kind, "ok" if status < 400 else str(status)).inc()
        return content_of(f"{method} {path}", status, data)

    async def _call(
        self,
        method: str,
        path: str,
        body: Manifest | None,
        accept: str,
        query: Mapping[str, str] | None,
        content_type: str | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of an answer that came within 10 s. A PATCH is an apply unless its type is given."""
        content_type = content_type or (_APPLY if method == "PATCH" else _JSON)
        prepared = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._client.call_api(*prepared, _request_timeout=_TIMEOUT)
            return response.status, await response.read()
        except TimeoutError as error:
            raise Transient(f"{method} {path}: no answer within {_TIMEOUT.total:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Transient(f"{method} {path}: {error}") from error


def _listed(kind: Kind, metadata: Mapping[str, Any]) -> Listed:
    key = Key(kind.name, metadata.get("namespace", ""), metadata["name"])
    return Listed(key, metadata["uid"], int(metadata["resourceVersion"]))


def _event_time(event: Manifest) -> str:
    """When an Event last happened; old and new clients fill different fields."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((time for time in times if time), event["metadata"].get("creationTimestamp", "")))


def _apply(*, force: bool) -> dict[str, str]:
    return {**_MANAGER, "force": "true" if force else "false"}
