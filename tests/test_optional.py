"""optional.py in virtual time: a kind whose CRD comes and goes. The real kopf and API server are e2e's part."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agentfleet.cache import Cache
from agentfleet.errors import Transient
from agentfleet.metrics import Metrics
from agentfleet.objects import FIELD_MANAGER, KINDS, MANAGED_BY, Key, Kind, Manifest, key_of
from agentfleet.optional import LOOK_EVERY, OptionalWatch
from tests.fakes import FakeCluster
from tests.virtual_time import run

KIND = KINDS["LeaderWorkerSet"]


class NotFound(Exception):
    """As kopf's, which has the status of the answer."""

    status = 404


class Stage:
    """An OptionalWatch between a FakeCluster and a cache, with a watch that tests can break."""

    def __init__(self) -> None:
        self.cluster, self.cache, self.gone = FakeCluster(), Cache(), list[Key]()
        self.cluster.absent_kinds = {KIND.name}
        self.changed: list[str] = []
        self.watching = 0
        self.broken: Exception | None = None
        self.silent = False
        self.optional = OptionalWatch(
            KIND,
            cluster=self.cluster,
            cache=self.cache,
            gone=self._drop,
            changed=self.changed.append,
            watch=self._watch,
            interval=300,
            metrics=Metrics(),
        )

    def _drop(self, key: Key) -> None:
        self.gone.append(key)
        self.cache.drop(key)

    async def _watch(self, kind: Kind) -> None:
        self.watching += 1
        try:
            while self.broken is None:
                if not self.silent:
                    for manifest in list(self.cluster.objects.values()):
                        self.cache.observe(manifest)
                        self.optional.seen(key_of(manifest), False)
                await asyncio.sleep(0.1)
            raise self.broken
        finally:
            self.watching -= 1

    def put(self, name: str) -> Manifest:
        metadata = {"name": name, "namespace": "demo", "labels": {MANAGED_BY: FIELD_MANAGER}}
        return self.cluster.put({"apiVersion": KIND.api_version, "kind": KIND.name, "metadata": metadata, "spec": {}})


def scenario(steps: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        stage = Stage()
        task = asyncio.create_task(stage.optional.run())
        try:
            await steps(stage)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(whole())


def test_nobody_waits_for_a_kind_that_is_not_there() -> None:
    async def steps(stage: Stage) -> None:
        await stage.optional.settle()
        assert asyncio.get_running_loop().time() == 0
        assert (stage.cache.served, stage.watching) == (frozenset(), 0)

    scenario(steps)


def test_it_is_served_once_the_cache_holds_what_exists() -> None:
    async def steps(stage: Stage) -> None:
        stage.put("one")
        stage.cluster.absent_kinds.clear()
        stage.silent = True
        await asyncio.sleep(5)
        assert (stage.cache.served, stage.watching) == (frozenset(), 1)
        stage.silent = False
        await stage.optional.settle()
        assert stage.cache.served == {KIND.name}
        assert stage.cache.count(KIND.name) == 1

    scenario(steps)


def test_it_comes_goes_and_comes_again() -> None:
    async def steps(stage: Stage) -> None:
        await stage.optional.settle()
        for _ in range(3):
            stage.cluster.absent_kinds.clear()
            made = stage.put("one")
            await asyncio.sleep(LOOK_EVERY + 1)
            assert (stage.cache.served, stage.watching) == ({KIND.name}, 1)
            stage.cluster.absent_kinds.add(KIND.name)
            stage.cluster.remove(key_of(made))
            await asyncio.sleep(2 * LOOK_EVERY)
            assert (stage.cache.served, stage.watching) == (frozenset(), 0)
            assert stage.cache.count(KIND.name) == 0
            assert stage.gone.pop() == key_of(made)
        assert stage.changed == 6 * [KIND.name], "told each time"

    scenario(steps)


def test_a_watch_that_finds_the_kind_gone_first_ends_it() -> None:
    async def steps(stage: Stage) -> None:
        stage.cluster.absent_kinds.clear()
        await asyncio.sleep(LOOK_EVERY + 1)
        stage.cluster.absent_kinds.add(KIND.name)
        stage.broken = NotFound("404 page not found")
        await asyncio.sleep(1)
        assert (stage.cache.served, stage.watching) == (frozenset(), 0)
        stage.broken = None
        stage.cluster.absent_kinds.clear()
        await asyncio.sleep(LOOK_EVERY + 1)
        assert stage.cache.served == {KIND.name}

    scenario(steps)


def test_a_silent_api_server_is_no_absence() -> None:
    async def steps(stage: Stage) -> None:
        stage.cluster.absent_kinds.clear()
        await asyncio.sleep(LOOK_EVERY + 1)
        stage.cluster.fail = lambda verb, key: Transient("503") if verb == "serves" else None
        await asyncio.sleep(10 * LOOK_EVERY)
        assert (stage.cache.served, stage.watching) == ({KIND.name}, 1)

    scenario(steps)


def test_the_workers_start_though_the_kind_may_not_be_listed() -> None:
    async def steps(stage: Stage) -> None:
        stage.cluster.absent_kinds.clear()
        stage.cluster.fail = lambda verb, key: Transient("may not list") if verb == "list" else None
        await stage.optional.settle()
        assert stage.cache.served == frozenset()
        assert asyncio.get_running_loop().time() <= 60

    scenario(steps)


def test_a_bug_in_the_watch_is_not_hidden() -> None:
    async def whole() -> None:
        stage = Stage()
        stage.cluster.absent_kinds.clear()
        stage.broken = ZeroDivisionError("a bug")
        with pytest.raises(ExceptionGroup) as caught:
            await stage.optional.run()
        assert caught.group_contains(ZeroDivisionError)

    run(whole())
