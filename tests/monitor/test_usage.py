"""usage.py: what metrics-server measures, against what pods may use and nodes have."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from agentfleet.apierrors import NotFound
from agentfleet.autoscale.samples import UsageSample
from agentfleet.cache import Cache
from agentfleet.errors import InvalidSpec, Transient
from agentfleet.monitor.usage import Usage
from agentfleet.objects import FIELD_MANAGER, MANAGED_BY, Manifest

API = "/apis/metrics.k8s.io/v1beta1"
AT = 1795280100.0

NODES = {
    "kind": "NodeMetricsList",
    "apiVersion": "metrics.k8s.io/v1beta1",
    "metadata": {},
    "items": [
        {
            "metadata": {"name": "edge-1", "creationTimestamp": "2026-11-21T16:55:06Z"},
            "timestamp": "2026-11-21T16:54:58Z",
            "window": "20.043s",
            "usage": {"cpu": "500000000n", "memory": "6291456Ki"},
        }
    ],
}
PODS = {
    "kind": "PodMetricsList",
    "apiVersion": "metrics.k8s.io/v1beta1",
    "metadata": {},
    "items": [
        {
            "metadata": {
                "name": "llama-model-0a1b2c3d-xyz",
                "namespace": "team",
                "creationTimestamp": "2026-11-21T16:55:06Z",
            },
            "timestamp": "2026-11-21T16:55:00Z",
            "window": "13.318s",
            "containers": [
                {"name": "engine", "usage": {"cpu": "1500m", "memory": "3Gi"}},
                {"name": "agentfleet-sidecar", "usage": {"cpu": "2500u", "memory": "32768Ki"}},
            ],
        }
    ],
}


class Server:
    """Answers as the aggregated API does, or fails as it may."""

    def __init__(self, answers: Mapping[str, Manifest | Exception]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, str] | None]] = []

    async def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None) -> Manifest:
        assert method == "GET"
        self.asked.append((path, query))
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer


def _container(name: str, **limits: str) -> dict[str, Any]:
    return {"name": name, "resources": {"limits": limits, "requests": {"cpu": "1"}} if limits else {}}


def _cache(*containers: dict[str, Any], capacity: dict[str, str] | None = None) -> Cache:
    cache = Cache()
    cache.observe(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "llama-model-0a1b2c3d-xyz",
                "namespace": "team",
                "uid": "pod",
                "resourceVersion": "1",
                "labels": {MANAGED_BY: FIELD_MANAGER},
            },
            "spec": {
                "nodeName": "edge-1",
                "containers": [containers[0]] if containers else [],
                "initContainers": list(containers[1:]),
            },
        }
    )
    cache.observe(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "edge-1", "uid": "node", "resourceVersion": "2"},
            "status": {"capacity": capacity or {"cpu": "2", "memory": "8Gi", "pods": "110"}},
        }
    )
    return cache


def _server() -> Server:
    return Server({f"{API}/pods": PODS, f"{API}/nodes": NODES})


async def _one(cache: Cache, **options: Any) -> UsageSample:
    ((place, sample),) = (await Usage(_server(), cache, **options).read()).items()
    assert place == ("team", "llama-model-0a1b2c3d-xyz")
    return sample


async def test_pod_and_node() -> None:
    cache = _cache(
        _container("engine", cpu="2", memory="4Gi"), _container("agentfleet-sidecar", cpu="100m", memory="128Mi")
    )
    assert await _one(cache) == UsageSample(
        at=AT,
        cpu=pytest.approx(1.5025),
        memory=3 * 2**30 + 32 * 2**20,
        cpu_share=0.75,
        memory_share=0.75,
        node_cpu_share=0.25,
        node_memory_share=0.75,
    )


async def test_the_container_closest_to_its_limit_speaks_for_the_pod() -> None:
    sample = await _one(
        _cache(_container("engine", memory="6Gi"), _container("agentfleet-sidecar", memory="40Mi", cpu="5m"))
    )
    assert (sample.memory_share, sample.cpu_share) == (0.8, 0.5)


async def test_without_limits_there_is_no_share() -> None:
    sample = await _one(_cache(_container("engine"), _container("agentfleet-sidecar")))
    assert (sample.cpu_share, sample.memory_share) == (None, None)
    assert sample.memory == 3 * 2**30 + 32 * 2**20


async def test_what_the_cache_does_not_know_is_unknown() -> None:
    sample = await _one(Cache())
    assert sample.cpu == pytest.approx(1.5025)
    assert (sample.cpu_share, sample.node_cpu_share) == (None, None)


async def test_only_our_pods_are_asked_for_and_only_what_may_be() -> None:
    ours = {"labelSelector": f"{MANAGED_BY}={FIELD_MANAGER}"}
    server = _server()
    await Usage(server, _cache()).read()
    assert server.asked == [(f"{API}/pods", ours), (f"{API}/nodes", None)]
    server = Server({f"{API}/namespaces/a/pods": PODS, f"{API}/namespaces/b/pods": {"items": None}})
    found = await Usage(server, _cache(), namespaces=("a", "b"), nodes=False).read()
    assert server.asked == [(f"{API}/namespaces/a/pods", ours), (f"{API}/namespaces/b/pods", ours)]
    assert [sample.node_cpu_share for sample in found.values()] == [None]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotFound("GET: HTTP 404"), "metrics.k8s.io is not served"),
        (Transient("HTTP 503: the server is currently unable"), "HTTP 503"),
        (InvalidSpec("Rejected", "HTTP 403: forbidden"), "HTTP 403"),
    ],
)
async def test_where_it_is_absent_nothing_is_known_and_said_once(
    error: Exception, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server({f"{API}/pods": error, f"{API}/nodes": error})
    usage = Usage(server, _cache())
    with caplog.at_level(logging.INFO):
        assert await usage.read() == {}
        assert await usage.read() == {}
        assert [words in record.getMessage() for record in caplog.records] == [True]
        server.answers = {f"{API}/pods": PODS, f"{API}/nodes": NODES}
        assert len(await usage.read()) == 1
        assert "measured again" in caplog.records[-1].getMessage()


async def test_pods_are_read_from_the_cache_only_when_they_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = _cache(_container("engine", memory="6Gi"))
    usage = Usage(_server(), cache)
    await usage.read()
    read: list[str] = []
    get = cache.get
    monkeypatch.setattr(cache, "get", lambda key: read.append(key.kind) or get(key))
    await usage.read()
    assert read == ["Node"]
