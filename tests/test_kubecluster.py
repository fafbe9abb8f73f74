"""kubecluster.py and apierrors.py: paths, errors, and what goes over the wire, judged by a small HTTP server."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from agentfleet.apierrors import Expired, NotFound, error_of
from agentfleet.errors import Conflict, InvalidSpec, Transient
from agentfleet.kubecluster import KubeCluster, path_of
from agentfleet.metrics import Metrics
from agentfleet.objects import KINDS, Key, Manifest

SERVICE: Manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}}


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "subresource", "path"),
    [
        ("Pod", "n", "p", "", "/api/v1/namespaces/n/pods/p"),
        ("Pod", "", "", "", "/api/v1/pods"),
        ("Node", "n", "", "", "/api/v1/nodes"),
        ("Deployment", "n", "d", "scale", "/apis/apps/v1/namespaces/n/deployments/d/scale"),
        ("ModelServer", "n", "m", "status", "/apis/agentfleet.dev/v1alpha1/namespaces/n/modelservers/m/status"),
    ],
)
def test_paths(kind: str, namespace: str, name: str, subresource: str, path: str) -> None:
    assert path_of(KINDS[kind], namespace, name, subresource) == path


TERMINATING = {"message": "being terminated", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
ERRORS: list[tuple[int, Manifest, type[Exception]]] = [
    (400, {"message": "invalid"}, InvalidSpec),
    (401, {"message": "Unauthorized"}, Transient),
    (403, {"message": 'pods "p" is forbidden: exceeded quota: q'}, InvalidSpec),
    (403, {"message": 'pods is forbidden: User "op" cannot list resource "pods" in API group ""'}, Transient),
    (403, TERMINATING, Transient),
    (404, {"message": "not found"}, NotFound),
    (405, {"message": "method not allowed"}, RuntimeError),
    (409, {"message": "conflict"}, Conflict),
    (410, {"message": "expired"}, Expired),
    (413, {"message": "too large"}, InvalidSpec),
    (422, {"message": "immutable"}, InvalidSpec),
    (429, {"message": "storage is (re)initializing"}, Transient),
    (500, {"message": "etcdserver: request timed out"}, Transient),
    (500, {"message": 'failed to create typed patch object: duplicate entries for key [name="A"]'}, InvalidSpec),
    (503, {"message": "unavailable"}, Transient),
]


@pytest.mark.parametrize(("status", "answer", "expected"), ERRORS)
def test_what_an_error_means(status: int, answer: Manifest, expected: type[Exception]) -> None:
    error = error_of("PATCH /x", status, json.dumps(answer).encode())
    assert type(error) is expected
    assert str(error) == f"PATCH /x: HTTP {status}: {answer['message']}"


def test_a_proxy_that_answers_html_is_quoted() -> None:
    error = error_of("GET /x", 502, b"<html>bad gateway</html>")
    assert isinstance(error, Transient)
    assert str(error) == "GET /x: HTTP 502: <html>bad gateway</html>"


class Server:
    """Records requests and gives the answers of `answer`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Manifest]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[web.Request], tuple[int, object]] = lambda request: (200, {})

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.requests.append((request.method, request.path, dict(request.query), json.loads(text) if text else {}))
        self.headers.append(dict(request.headers))
        status, body = self.answer(request)
        return web.json_response(body, status=status)


@asynccontextmanager
async def connected(server: Server, *namespaces: str) -> AsyncIterator[tuple[KubeCluster, Metrics]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        metrics = Metrics()
        async with ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client:
            yield KubeCluster(client, namespaces=namespaces, metrics=metrics), metrics
    finally:
        await runner.cleanup()


CALLS: list[tuple[Callable[[KubeCluster], Awaitable[object]], tuple[str, str, dict[str, str]]]] = [
    (
        lambda cluster: cluster.apply(SERVICE, force=False),
        ("PATCH", "/api/v1/namespaces/n/services/s", {"fieldManager": "agentfleet", "force": "false"}),
    ),
    (
        lambda cluster: cluster.apply_status({**SERVICE, "status": {}}),
        ("PATCH", "/api/v1/namespaces/n/services/s/status", {"fieldManager": "agentfleet", "force": "true"}),
    ),
    (
        lambda cluster: cluster.scale(Key("Deployment", "n", "d"), 0),
        ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale", {"fieldManager": "agentfleet", "force": "true"}),
    ),
    (lambda cluster: cluster.get(Key("Service", "n", "s")), ("GET", "/api/v1/namespaces/n/services/s", {})),
    (
        lambda cluster: cluster.delete(Key("Service", "n", "s"), "uid-1"),
        ("DELETE", "/api/v1/namespaces/n/services/s", {}),
    ),
]


@pytest.mark.parametrize(("call", "request_line"), CALLS, ids=[line[1] for _, line in CALLS])
async def test_what_is_asked(
    call: Callable[[KubeCluster], Awaitable[object]], request_line: tuple[str, str, dict[str, str]]
) -> None:
    server = Server()
    async with connected(server) as (cluster, _):
        await call(cluster)
    assert server.requests[0][:3] == request_line
    if request_line[0] == "PATCH":
        assert server.headers[0]["Content-Type"] == "application/apply-patch+yaml"


async def test_scaling_to_zero_says_so_and_a_deletion_names_the_uid() -> None:
    server = Server()
    async with connected(server) as (cluster, _):
        await cluster.scale(Key("Deployment", "n", "d"), 0)
        await cluster.delete(Key("Service", "n", "s"), "uid-1")
    assert server.requests[0][3]["spec"] == {"replicas": 0}
    assert server.requests[1][3]["preconditions"] == {"uid": "uid-1"}
    assert server.requests[1][3]["propagationPolicy"] == "Background"


@pytest.mark.parametrize("status", [404, 409])
async def test_what_is_gone_needs_no_deletion(status: int) -> None:
    server = Server()
    server.answer = lambda request: (status, {"message": "gone"})
    async with connected(server) as (cluster, _):
        await cluster.delete(Key("Service", "n", "s"), "uid-1")


@pytest.mark.parametrize(("status", "made"), [(201, True), (409, False)])
async def test_what_is_only_made_is_posted_and_never_changed(status: int, made: bool) -> None:
    server = Server()
    server.answer = lambda request: (status, {"message": "already exists"})
    secret: Manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}}
    async with connected(server) as (cluster, _):
        assert await cluster.create(secret) is made
    assert server.requests == [("POST", "/api/v1/namespaces/n/secrets", {}, secret)]


async def test_absent_is_none() -> None:
    server = Server()
    server.answer = lambda request: (404, {"message": "not found"})
    async with connected(server) as (cluster, _):
        assert await cluster.get(Key("Service", "n", "s")) is None
        assert await cluster.apply_status({**SERVICE, "status": {}}) is None


async def test_writes_are_counted_by_result() -> None:
    server = Server()
    answers = iter([(200, {}), (409, {"message": "conflict"}), (422, {"message": "no"})])
    server.answer = lambda request: next(answers)
    async with connected(server) as (cluster, metrics):
        await cluster.apply(SERVICE, force=True)
        for error in (Conflict, InvalidSpec):
            with pytest.raises(error):
                await cluster.apply(SERVICE, force=True)
    for result in ("ok", "409", "422"):
        labels = {"verb": "apply", "kind": "Service", "result": result}
        assert metrics.registry.get_sample_value("agentfleet_api_writes_total", labels) == 1


async def test_an_unreachable_server_is_transient() -> None:
    metrics = Metrics()
    async with ApiClient(Configuration(host="http://127.0.0.1:1")) as client:
        cluster = KubeCluster(client, namespaces=(), metrics=metrics)
        with pytest.raises(Transient, match=r"PATCH /api/v1/namespaces/n/services/s: Cannot connect"):
            await cluster.apply(SERVICE, force=True)
    labels = {"verb": "apply", "kind": "Service", "result": "unreachable"}
    assert metrics.registry.get_sample_value("agentfleet_api_writes_total", labels) == 1


def _page(version: int, *names: str, token: str = "") -> tuple[int, object]:
    items = [
        {"metadata": {"name": name, "namespace": "n", "uid": f"u-{name}", "resourceVersion": "5"}} for name in names
    ]
    # the real server sends null for no items
    return 200, {"metadata": {"resourceVersion": str(version), "continue": token}, "items": items or None}


async def test_a_listing_is_paged_and_selected_on_the_servers_side() -> None:
    server = Server()
    pages = {None: _page(9, "a", "b", token="next"), "next": _page(9, "c")}
    server.answer = lambda request: pages[request.query.get("continue")]
    async with connected(server) as (cluster, _):
        listing = await cluster.list_metadata("Pod")
    assert listing.resource_version == 9
    assert [item.key for item in listing.items] == [Key("Pod", "n", name) for name in "abc"]
    assert server.requests[0][2] == {"limit": "200", "labelSelector": "app.kubernetes.io/managed-by=agentfleet"}
    assert "as=PartialObjectMetadataList" in server.headers[0]["Accept"]


async def test_listings_of_several_namespaces_speak_for_the_oldest_moment() -> None:
    server = Server()
    server.answer = lambda request: _page(20) if "/one/" in request.path else _page(23)
    async with connected(server, "one", "two") as (cluster, _):
        listing = await cluster.list_metadata("Service")
        nodes = await cluster.list_metadata("Node")
    assert (listing.resource_version, listing.items, nodes.resource_version) == (20, (), 23)
    assert [request[1] for request in server.requests] == [
        "/api/v1/namespaces/one/services",
        "/api/v1/namespaces/two/services",
        "/api/v1/nodes",
    ]


async def test_a_listing_that_expires_starts_again() -> None:
    server = Server()
    answers = iter([_page(9, "a", token="next"), (410, {"message": "expired"}), _page(12, "b")])
    server.answer = lambda request: next(answers)
    async with connected(server) as (cluster, _):
        listing = await cluster.list_metadata("Pod")
    assert (listing.resource_version, [item.key.name for item in listing.items]) == (12, ["b"])


async def test_a_missing_crd_says_what_to_do() -> None:
    server = Server()
    server.answer = lambda request: (404, {"message": "404 page not found"})
    async with connected(server) as (cluster, _):
        with pytest.raises(NotFound, match=r"modelservers.agentfleet.dev is not served: install the CRDs"):
            await cluster.list_metadata("ModelServer")


async def test_events_of_a_pod_come_oldest_first() -> None:
    server = Server()
    items = [
        {"metadata": {}, "lastTimestamp": "2026-01-01T00:00:03Z", "message": "third"},
        {"metadata": {}, "eventTime": "2026-01-01T00:00:02Z", "lastTimestamp": None, "message": "second"},
        {"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}, "message": "first"},
    ]
    server.answer = lambda request: (200, {"items": items})
    async with connected(server) as (cluster, _):
        events = await cluster.pod_events("n", "uid-1")
    assert [event["message"] for event in events] == ["first", "second", "third"]
    assert server.requests[0][2] == {"fieldSelector": "involvedObject.kind=Pod,involvedObject.uid=uid-1"}


async def test_a_lease_is_created_or_replaced() -> None:
    server = Server()
    async with connected(server) as (cluster, _):
        await cluster.write_lease({"metadata": {"namespace": "n", "name": "l"}})
        await cluster.write_lease({"metadata": {"namespace": "n", "name": "l", "resourceVersion": "4"}})
    assert [request[:2] for request in server.requests] == [
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/n/leases"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/n/leases/l"),
    ]


async def test_a_custom_resource_is_scaled_by_a_merge_patch() -> None:
    server = Server()
    async with connected(server) as (cluster, _):
        await cluster.scale(Key("LeaderWorkerSet", "n", "d"), 2)
    path = "/apis/leaderworkerset.x-k8s.io/v1/namespaces/n/leaderworkersets/d/scale"
    assert server.requests == [("PATCH", path, {"fieldManager": "agentfleet"}, {"spec": {"replicas": 2}})]
    assert server.headers[0]["Content-Type"] == "application/merge-patch+json"


@pytest.mark.parametrize(
    ("status", "answer", "served"),
    [
        (200, {"resources": [{"name": "leaderworkersets"}, {"name": "leaderworkersets/status"}]}, True),
        (200, {"resources": [{"name": "others"}]}, False),
        (404, {"message": "the server could not find the requested resource"}, False),
    ],
)
async def test_discovery_tells_whether_a_kind_is_served(status: int, answer: Manifest, served: bool) -> None:
    server = Server()
    server.answer = lambda request: (status, answer)
    async with connected(server) as (cluster, _):
        assert await cluster.serves("LeaderWorkerSet") is served
    assert server.requests[0][1] == "/apis/leaderworkerset.x-k8s.io/v1"


async def test_usage_is_summed_by_node_over_all_pages() -> None:
    def pod(node: str, gpus: int) -> Manifest:
        requests = {"nvidia.com/gpu": str(gpus), "cpu": "250m", "memory": "1Gi"}
        return {"spec": {"nodeName": node, "containers": [{"resources": {"requests": requests}}]}}

    def answer(request: web.Request) -> tuple[int, object]:
        if "continue" in request.query:
            return 200, {"items": [pod("a", 1)], "metadata": {}}
        return 200, {"items": [pod("a", 2), pod("b", 1)], "metadata": {"continue": "next"}}

    server = Server()
    server.answer = answer
    async with connected(server, "one") as (cluster, _):
        usage = await cluster.node_usage()
    assert usage == {
        "a": {"nvidia.com/gpu": 3, "cpu": 500, "memory": 2 * 2**30, "pods": 2},
        "b": {"nvidia.com/gpu": 1, "cpu": 250, "memory": 2**30, "pods": 1},
    }
    assert [path for _, path, _, _ in server.requests] == ["/api/v1/pods"] * 2
    assert "status.phase!=Succeeded" in server.requests[0][2]["fieldSelector"]
