"""The API server as scenarios see it: what users do goes through kubectl, what tests look at through plain HTTP.

HTTP goes through one ``kubectl proxy``, so that any way to authenticate works and a look costs milliseconds.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import httpx

from e2e.cluster import Cluster, ClusterError

Manifest = dict[str, Any]
"""A Kubernetes object as plain data."""

_RESOURCES = {
    "Agent": "/apis/agentfleet.dev/v1alpha1/agents",
    "AgentRoute": "/apis/agentfleet.dev/v1alpha1/agentroutes",
    "ConfigMap": "/api/v1/configmaps",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "Deployment": "/apis/apps/v1/deployments",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "Event": "/api/v1/events",
    "LeaderWorkerSet": "/apis/leaderworkerset.x-k8s.io/v1/leaderworkersets",
    "Lease": "/apis/coordination.k8s.io/v1/leases",
    "ModelServer": "/apis/agentfleet.dev/v1alpha1/modelservers",
    "Namespace": "/api/v1/namespaces",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "Node": "/api/v1/nodes",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "PersistentVolumeClaim": "/api/v1/persistentvolumeclaims",
    "Pod": "/api/v1/pods",
    "ReplicaSet": "/apis/apps/v1/replicasets",
    "Secret": "/api/v1/secrets",
    "Service": "/api/v1/services",
    "ServiceAccount": "/api/v1/serviceaccounts",
    "StatefulSet": "/apis/apps/v1/statefulsets",
}
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Refused(ClusterError):
    """The API server refused a request; ``status`` is the HTTP status and the text is what it said."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Kube:
    """One connection to the cluster's API server."""

    def __init__(self, cluster: Cluster, http: httpx.Client) -> None:
        self.cluster = cluster
        self._http = http

    def get(self, kind: str, name: str, namespace: str = "") -> Manifest | None:
        """One object, None where there is none."""
        response = self._http.get(path_of(kind, namespace, name))
        return None if response.status_code == 404 else _content(response)

    def list(self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> list[Manifest]:
        """Objects of one namespace, or of all; selected by labels or fields."""
        query = {name: value for name, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        items: list[Manifest] = _content(self._http.get(path_of(kind, namespace), params=query))["items"]
        return items

    def create(self, kind: str, manifest: Manifest, namespace: str = "") -> Manifest:
        """Create an object; Refused where the API server does not take it."""
        return _content(self._http.post(path_of(kind, namespace), json=manifest))

    def patch(
        self,
        kind: str,
        name: str,
        namespace: str,
        patch: Any,
        how: Literal["merge", "json", "apply"] = "merge",
        query: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Change an object with a patch of the named sort."""
        headers = {"Content-Type": _PATCHES[how]}
        url = path_of(kind, namespace, name)
        return _content(self._http.patch(url, json=patch, headers=headers, params=query or {}))

    def delete(self, kind: str, name: str, namespace: str = "", *, grace: int | None = None) -> None:
        """Delete an object in the background; one that is not there is as wanted."""
        query = {} if grace is None else {"gracePeriodSeconds": str(grace)}
        response = self._http.delete(path_of(kind, namespace, name), params=query)
        if response.status_code != 404:
            _content(response)

    def delete_all(self, kind: str, namespace: str, *, labels: str = "") -> None:
        """Delete all objects of a kind in a namespace, in the background; those alone that the labels select."""
        query = {"labelSelector": labels} if labels else {}
        _content(self._http.delete(path_of(kind, namespace), params=query))

    def text(self, path: str, **query: str) -> str:
        """What the API server answers as text: logs, and pods behind its proxy."""
        response = self._http.get(path, params=query)
        return _text(response)

    def call(self, method: str, path: str, content: str = "") -> str:
        """The same for other methods than GET, of pods behind the API server's proxy."""
        return _text(self._http.request(method, path, content=content))


@contextmanager
def connect(cluster: Cluster) -> Iterator[Kube]:
    """A connection for the time of the block."""
    argv = cluster.kubectl_command("proxy", "--port=0")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            line = proxy.stdout.readline()
            if "Starting to serve on " not in line:
                raise ClusterError(f"kubectl proxy did not start: {line.strip() or 'no message'}")
            address = line.rpartition(" ")[2].strip()
            with httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=30) as http:
                yield Kube(cluster, http)
        finally:
            proxy.terminate()


def path_of(kind: str, namespace: str = "", name: str = "") -> str:
    """The URL path of an object, or of a collection."""
    group, _, plural = _RESOURCES[kind].rpartition("/")
    parts = [group, *(("namespaces", namespace) if namespace else ()), plural, *((name,) if name else ())]
    return "/".join(parts)


def _text(response: httpx.Response) -> str:
    if response.is_error:
        raise Refused(response.status_code, response.text)
    return response.text


def _content(response: httpx.Response) -> Manifest:
    if response.is_error:
        try:
            message = response.json()["message"]
        except (ValueError, KeyError, TypeError):
            message = response.text
        raise Refused(response.status_code, message)
    content: Manifest = response.json()
    return content
