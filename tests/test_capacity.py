"""capacity.py: the API server is asked once for many askers, and not at all where it would refuse."""

import asyncio
from typing import Any

import pytest

from agentfleet.cache import Cache
from agentfleet.capacity import Capacity
from agentfleet.errors import Transient
from tests.fakes import FakeCluster
from tests.virtual_time import run

GPU = "nvidia.com/gpu"


class Stage:
    """Two nodes with four GPUs each; a pod uses one of them."""

    def __init__(self, *, known: bool = True) -> None:
        self.cluster, self.cache = FakeCluster(), Cache()
        self.cluster.on_change = lambda seen, deleted: self.cache.observe(seen, deleted=deleted)
        self.capacity = Capacity(self.cluster, self.cache, known=known)
        for name in ("b", "a"):
            status = {"allocatable": {GPU: "4"}, "conditions": [{"type": "Ready", "status": "True"}]}
            self.cluster.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status})
        self.pod("one", "a")

    def pod(self, name: str, node: str, phase: str = "Running") -> None:
        spec = {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {GPU: "1"}}}]}
        metadata = {"name": name, "namespace": "other"}
        pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        self.cluster.put(pod | {"status": {"phase": phase}})

    async def free(self) -> list[int]:
        nodes = await self.capacity.nodes()
        assert nodes is not None
        assert [node.name for node in nodes] == ["a", "b"]
        return [node.free()[GPU] for node in nodes]


def test_what_is_free() -> None:
    stage = Stage()
    stage.pod("ended", "b", phase="Succeeded")
    assert run(stage.free()) == [3, 4]


def test_one_answer_for_all_who_ask_at_once_and_for_a_while_after() -> None:
    async def scenario() -> None:
        stage = Stage()
        await asyncio.gather(*(stage.free() for _ in range(10)))
        await asyncio.sleep(14)
        stage.pod("two", "b")
        assert await stage.free() == [3, 4]
        assert stage.cluster.usage_asked == 1
        await asyncio.sleep(2)
        assert await stage.free() == [3, 3]
        assert stage.cluster.usage_asked == 2

    run(scenario())


def test_a_failed_answer_is_not_held() -> None:
    async def scenario() -> None:
        stage = Stage()
        stage.cluster.fail = lambda verb, key: Transient("503")
        with pytest.raises(Transient):
            await stage.capacity.nodes()
        stage.cluster.fail = lambda verb, key: None
        assert await stage.free() == [3, 4]

    run(scenario())


def test_nothing_is_known_and_nobody_asked_where_nodes_are_not_watched() -> None:
    stage = Stage(known=False)
    assert run(stage.capacity.nodes()) is None
    assert stage.cluster.usage_asked == 0
