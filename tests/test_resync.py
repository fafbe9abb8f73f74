"""resync.py in virtual time: the warm-up gate, ghosts, and watches that died."""

import asyncio
from typing import Any

import pytest

from agentfleet.cache import Cache
from agentfleet.errors import Transient
from agentfleet.metrics import Metrics
from agentfleet.objects import KINDS, Key, Manifest, key_of
from agentfleet.resync import HistoryRewound, Resync, WatchStalled
from tests.fakes import FakeCluster
from tests.virtual_time import run


class Stage:
    """A Resync between a FakeCluster and a cache that a test fills as a watch would."""

    def __init__(self, kinds: tuple[str, ...] = ("ModelServer", "Node")) -> None:
        self.cluster, self.cache, self.metrics = FakeCluster(), Cache(), Metrics()
        self.gone: list[Key] = []
        self.resync = Resync(
            cluster=self.cluster, cache=self.cache, kinds=kinds, gone=self._drop, interval=300, metrics=self.metrics
        )

    def _drop(self, key: Key) -> None:
        self.gone.append(key)
        self.cache.drop(key)

    def put(self, name: str, kind: str = "ModelServer", **more: Any) -> Manifest:
        metadata = {"name": name} | ({"namespace": "default"} if KINDS[kind].namespaced else {})
        return self.cluster.put(
            {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata, "spec": more}
        )

    def watch(self, *manifests: Manifest, initial: bool = True) -> None:
        """What the watch delivers."""
        for manifest in manifests:
            self.cache.observe(manifest)
            self.resync.seen(key_of(manifest), initial)

    def watch_everything(self) -> None:
        self.watch(*self.cluster.objects.values())


def test_the_gate_opens_when_all_that_existed_has_been_seen() -> None:
    async def scenario() -> None:
        stage = Stage()
        objects = [stage.put(str(number)) for number in range(1000)] + [stage.put("n1", "Node")]
        await stage.resync.expect()
        warm = asyncio.create_task(stage.resync.warm_up())
        stage.watch(*objects[:-1])
        await asyncio.sleep(1)
        assert (warm.done(), stage.resync.warm, stage.resync.awaited) == (False, False, 1)
        stage.watch(objects[-1])
        await asyncio.sleep(0)
        await warm
        assert stage.resync.warm

    run(scenario())


def test_an_empty_cluster_is_warm_at_once() -> None:
    async def scenario() -> None:
        stage = Stage()
        await stage.resync.expect()
        await stage.resync.warm_up()
        assert asyncio.get_running_loop().time() == 0

    run(scenario())


def test_nothing_is_warm_before_the_listings() -> None:
    async def scenario() -> None:
        stage = Stage()
        warm = asyncio.create_task(stage.resync.warm_up())
        await asyncio.sleep(100)
        assert not warm.done()
        await stage.resync.expect()
        await warm

    run(scenario())


def test_an_object_deleted_meanwhile_does_not_block_the_gate() -> None:
    async def scenario() -> None:
        stage = Stage()
        kept, deleted = stage.put("kept"), stage.put("deleted")
        await stage.resync.expect()
        stage.cluster.remove(key_of(deleted))
        stage.watch(kept)
        await stage.resync.warm_up()
        assert asyncio.get_running_loop().time() == 3

    run(scenario())


def test_the_start_waits_for_the_api_server() -> None:
    async def scenario() -> None:
        stage = Stage()
        loop = asyncio.get_running_loop()
        stage.cluster.fail = lambda verb, key: Transient("refused") if loop.time() < 60 else None
        task = asyncio.create_task(stage.resync.expect())
        await asyncio.sleep(30)
        assert stage.resync.problem == "cannot list ModelServers: refused"
        await task
        assert stage.resync.problem is None
        assert loop.time() == 60

    run(scenario())


def test_ghosts_are_dropped_and_newcomers_are_not() -> None:
    async def scenario() -> None:
        stage = Stage()
        ghost = stage.put("ghost")
        stage.watch_everything()
        stage.cluster.remove(key_of(ghost))
        newcomer = {**stage.put("newcomer"), "kind": "ModelServer"}
        del stage.cluster.objects[key_of(newcomer)]  # created after the listing was taken
        newcomer["metadata"]["resourceVersion"] = "1000"
        listing = await stage.cluster.list_metadata("ModelServer")
        stage.watch(newcomer)
        stage.resync._drop_ghosts("ModelServer", listing)
        assert stage.gone == [key_of(ghost)]
        dropped = stage.metrics.registry.get_sample_value("agentfleet_ghosts_dropped_total", {"kind": "ModelServer"})
        assert dropped == 1

    run(scenario())


@pytest.mark.parametrize(("relisted", "after"), [(True, 10), (False, 310)], ids=["after a re-listing", "on interval"])
def test_when_ghosts_are_looked_for(relisted: bool, after: float) -> None:
    async def scenario() -> None:
        stage = Stage()
        ghost = stage.put("ghost")
        stage.put("n1", "Node")
        stage.watch_everything()
        await stage.resync.expect()
        stage.watch_everything()
        await stage.resync.warm_up()
        task = asyncio.create_task(stage.resync.run())
        await asyncio.sleep(1)
        stage.cluster.remove(key_of(ghost))
        if relisted:
            stage.watch_everything()
        await asyncio.sleep(after - 5)
        assert stage.gone == [key_of(ghost)]
        task.cancel()

    run(scenario())


def test_a_burst_is_compared_once_after_it_has_settled() -> None:
    async def scenario() -> None:
        stage = Stage(("ModelServer",))
        manifest = stage.put("a")
        await stage.resync.expect()
        stage.watch(manifest)
        await stage.resync.warm_up()
        lists: list[float] = []
        loop = asyncio.get_running_loop()

        def count(verb: str, key: Key) -> None:
            lists.append(loop.time())

        stage.cluster.fail = count
        task = asyncio.create_task(stage.resync.run())
        for _ in range(100):
            stage.watch(manifest)
            await asyncio.sleep(0.1)
        await asyncio.sleep(20)
        assert len(lists) == 1
        assert lists[0] >= 10
        task.cancel()

    run(scenario())


def test_a_dead_watch_ends_the_process() -> None:
    async def scenario() -> None:
        stage = Stage(("ModelServer",))
        seen = stage.put("seen")
        stage.watch(seen)
        await stage.resync.expect()
        await stage.resync.warm_up()
        stage.put("seen", replicas=2)  # and no event tells of it
        started = asyncio.get_running_loop().time()
        with pytest.raises(WatchStalled, match="ModelServer/default/seen is at 2"):
            await stage.resync.run()
        assert asyncio.get_running_loop().time() - started == 600

    run(scenario())


def test_a_watch_that_is_late_is_forgiven() -> None:
    async def scenario() -> None:
        stage = Stage(("ModelServer",))
        stage.watch(stage.put("a"))
        newer = stage.put("a", replicas=2)
        await stage.resync.repair("ModelServer")
        await asyncio.sleep(200)
        stage.watch(newer)
        newest = stage.put("a", replicas=3)
        await stage.resync.repair("ModelServer")
        await asyncio.sleep(100)
        stage.watch(newest)
        await stage.resync.repair("ModelServer")

    run(scenario())


def test_a_restored_backup_ends_the_process() -> None:
    async def scenario() -> None:
        stage = Stage()
        manifest = stage.put("a")
        manifest["metadata"]["resourceVersion"] = "5000"
        stage.watch(manifest)
        with pytest.raises(HistoryRewound, match="version 1, but 5000 was seen"):
            await stage.resync.repair("ModelServer")

    run(scenario())
