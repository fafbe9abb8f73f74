"""The scaling loop by itself: what it asks, what it passes on, when it wakes reconcile, and that it goes on."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agentfleet.autoscale.decision import Goal, Health, Learnt, Situation
from agentfleet.autoscale.samples import DemandSample, EngineSample, GpuSample, Tick, UsageSample
from agentfleet.cache import Cache
from agentfleet.metrics import Metrics
from agentfleet.monitor.demand import Guests
from agentfleet.monitor.loop import ScalingLoop
from agentfleet.monitor.scaling_metrics import ScalingCollector
from agentfleet.monitor.scrape import Look, Target
from agentfleet.objects import MANAGED_BY, MODEL_SERVER_LABEL, Key, Manifest
from agentfleet.planning.agent_scaling import agent_goal, subject
from agentfleet.planning.scaling_types import Standing
from tests.agents import agent
from tests.builders import server
from tests.scripted import Script, Scripted


class Bench:
    """A loop over a cache, a look that tests lay out, and a clock."""

    def __init__(self, **budgets: int) -> None:
        self.now = 1_000_000.0
        self.cache = Cache()
        self.script = Script()
        self.looks: dict[Key, Look] = {}
        self.targets: list[list[Target]] = []
        self.sources: Mapping[str, str] = {}
        self.guests: Guests = {}
        self.looked_thrice = asyncio.Event()
        self.woken: list[tuple[Key, float]] = []
        self.version = 0
        self.metrics = Metrics()
        self.loop = ScalingLoop(
            cache=self.cache,
            scraper=self,
            enqueue=lambda key, seconds: self.woken.append((key, seconds)),
            metrics=self.metrics,
            interval=5.0,
            budgets=budgets,
            make_controller=self.script,
            clock=lambda: self.now,
        )

    def set_demand_sources(self, sources: Mapping[str, str], guests: Guests) -> None:
        self.sources, self.guests = sources, guests

    async def look(self, targets: Sequence[Target], now: float) -> dict[Key, Look]:
        self.targets.append(list(targets))
        if len(self.targets) == 3:
            self.looked_thrice.set()
        return {target.key: self.looks.get(target.key, ({}, None, 0)) for target in targets}

    def stands(self, name: str = "phi", engine: str = "LlamaCpp", **fields: Any) -> Key:
        key = Key("ModelServer", "demo", name)
        spec = server(engine, name).spec
        standing = Standing(
            uid=f"uid-{name}", spec=spec, mode="Apply", wanted=1, revision="1", goal=Goal(), capacity_key="k"
        )
        self.put({"kind": "ModelServer", "metadata": {"name": name, "namespace": "demo", "uid": standing.uid}})
        self.loop.stands(key, replace(standing, **fields))
        return key

    def put(self, manifest: Manifest) -> None:
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        manifest["metadata"].setdefault("uid", f"uid-{self.version}")
        self.cache.observe(manifest)

    def pod(self, name: str, *, owner: str = "phi", revision: str = "1", **status: Any) -> None:
        labels = {MODEL_SERVER_LABEL: owner, MANAGED_BY: "agentfleet", "agentfleet.dev/revision": revision}
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "podIP": f"10.0.0.{name[-1]}", "phase": "Running"}
        metadata = {"name": name, "namespace": "demo", "labels": labels, "creationTimestamp": "2026-11-21T10:00:00Z"}
        self.put({"kind": "Pod", "metadata": metadata, "spec": {}, "status": status or ready})

    async def tick(self, seconds: float = 5.0) -> list[tuple[Key, float]]:
        """Who was woken by one look."""
        self.now += seconds
        self.woken.clear()
        await self.loop.tick()
        return list(self.woken)

    def seen(self, number: int = -1) -> Tick:
        """The last tick of the last controller."""
        return self.script.made[number].ticks[-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_pods_become_replicas(bench: Bench) -> None:
    key = bench.stands(max_running=4.0)
    bench.pod("pod-1")
    bench.pod("pod-2", revision="0")
    bench.pod(
        "pod-3", phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    )
    bench.pod("pod-4", phase="Failed", reason="Evicted")
    sample = EngineSample(at=bench.now, running=1.0)
    bench.looks[key] = ({"pod-1": sample}, None, 0)
    await bench.tick()
    [[target]] = bench.targets
    assert (target.engine, target.max_running, target.addresses) == (
        "LlamaCpp",
        4.0,
        {"pod-1": "10.0.0.1", "pod-2": "10.0.0.2"},
    )
    assert [(each.name, each.ready, each.current, each.problem) for each in bench.seen().replicas] == [
        ("pod-1", True, True, None),
        ("pod-2", True, False, None),
        ("pod-3", False, True, "Unschedulable"),
    ]
    assert bench.seen().engines == {"pod-1": sample}


async def test_a_pod_that_changes_is_looked_at_anew(bench: Bench) -> None:
    bench.stands()
    bench.pod("pod-1", phase="Pending")
    await bench.tick()
    assert [each.ready for each in bench.seen().replicas] == [False]
    bench.pod("pod-1")
    await bench.tick()
    assert [each.ready for each in bench.seen().replicas] == [True]


async def test_gateways_are_found_among_pods(bench: Bench) -> None:
    bench.stands()
    metadata = {"name": "gateway", "namespace": "demo", "labels": {MANAGED_BY: "agentfleet"}}
    metadata["labels"] |= {"agentfleet.dev/demand-source": "9000"}  # type: ignore[index,operator]
    bench.put({"kind": "Pod", "metadata": metadata, "spec": {}, "status": {"phase": "Running", "podIP": "10.0.0.9"}})
    await bench.tick()
    assert bench.sources == {"10.0.0.9:9000": "demo"}
    bench.cache.drop(Key("Pod", "demo", "gateway"))
    await bench.tick()
    assert bench.sources == {}


async def test_gateways_of_namespaces_that_are_let_in_are_told_from_others(bench: Bench) -> None:
    staff = {"from": "Selector", "selector": {"matchLabels": {"team": "staff"}}}
    bench.stands(spec=server("LlamaCpp", "phi", allowedNamespaces=staff).spec)
    bench.stands("own")
    labels = {MANAGED_BY: "agentfleet", "agentfleet.dev/demand-source": "9000"}
    for number, (name, team) in enumerate((("staff", "staff"), ("guests", "guests"))):
        bench.put({"kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}}})
        metadata = {"name": "gateway", "namespace": name, "labels": labels}
        status = {"phase": "Running", "podIP": f"10.0.0.{number}"}
        bench.put({"kind": "Pod", "metadata": metadata, "spec": {}, "status": status})
    await bench.tick()
    assert bench.guests == {Key("ModelServer", "demo", "phi"): frozenset({"staff"})}


async def test_reconcile_is_woken_for_news_and_only_once(bench: Bench) -> None:
    key = bench.stands()
    assert await bench.tick() == [(key, 0.02)]
    assert await bench.tick() == []
    bench.script.health = Health("Stale", 20.0)
    assert await bench.tick() == [(key, 0.0)]
    assert await bench.tick() == []
    bench.script.learnt = Learnt(5.0, 10, bench.now)
    assert await bench.tick() == [(key, 0.0)]
    bench.script.learnt = Learnt(5.3, 20, bench.now)
    assert await bench.tick() == []
    bench.script.learnt = Learnt(5.8, 30, bench.now)
    assert await bench.tick() == []  # capacity moves at nearly every tick while it is being learnt
    assert await bench.tick(60.0) == [(key, 0.0)]
    assert await bench.tick() == []


async def test_a_change_is_said_until_it_is_made(bench: Bench) -> None:
    key = bench.stands()
    bench.script.target = 3
    await bench.tick()
    assert await bench.tick() == [(key, 0.0)]
    bench.loop.settled(key, "uid-phi", 3, None)
    assert bench.script.situations[-1].wanted == 1
    assert await bench.tick() == [(key, 0.0)]  # it holds now, which is news too
    assert bench.script.situations[-1].wanted == 3
    assert await bench.tick() == []


async def test_what_waits_for_a_human_is_said_once(bench: Bench) -> None:
    key = bench.stands(open=True)
    bench.script.target = 3
    assert [key for key, _ in await bench.tick()] == [key]
    assert await bench.tick() == []
    bench.script.target = 1
    assert await bench.tick() == [(key, 0.0)]
    assert any([await bench.tick() for _ in range(13)]), "it is called for no longer"


async def test_after_a_start_first_words_are_spread(bench: Bench) -> None:
    for number in range(120):
        bench.stands(f"server-{number}")
    waits = [seconds for _, seconds in await bench.tick()]
    assert (len(waits), max(waits)) == (120, 120 / 50)


async def test_a_namesake_begins_anew(bench: Bench) -> None:
    key = bench.stands()
    await bench.tick()
    assert bench.loop.advice(key, "uid-phi") is not None
    bench.stands(uid="another")
    assert bench.loop.advice(key, "uid-phi") is None
    assert bench.loop.advice(key, "another") is None
    assert len(bench.script.made) == 2


async def test_a_changed_spec_keeps_what_was_learnt_unless_it_changes_the_pods(bench: Bench) -> None:
    bench.stands()
    bench.stands(goal=Goal(maximum=3))
    assert (bench.script.last.goal.maximum, bench.script.last.forgotten) == (3, 0)
    bench.stands(capacity_key="other")
    assert bench.script.last.forgotten == 1


async def test_what_a_former_process_has_learnt_is_begun_with(bench: Bench) -> None:
    learnt = Learnt(7.0, 100, bench.now)
    bench.stands(learnt=learnt)
    assert bench.script.last.begun_with == learnt


async def test_a_stalled_spec_is_watched_and_left_alone(bench: Bench) -> None:
    key = bench.stands()
    await bench.tick()
    bench.loop.stalls(key)
    bench.script.target = 5
    assert await bench.tick() == []
    advice = bench.loop.advice(key, "uid-phi")
    assert advice is not None
    assert advice.decision is None
    assert len(bench.script.last.ticks) == 2


async def test_a_bug_about_one_server_stops_no_other(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.stands("bad")
    bench.stands("good")
    bad: Scripted = bench.script.made[0]

    def broken(situation: Situation, now: float) -> Any:
        raise ZeroDivisionError("a bug")

    bad.decide = broken  # type: ignore[method-assign]
    with caplog.at_level(logging.ERROR):
        woken = await bench.tick()
    assert [key.name for key, _ in woken] == ["good"]
    assert "a bug in the scaling loop" in caplog.text
    assert len(await bench.tick()) == 1, "it began anew, with a new controller"


async def test_gpus_and_usage_reach_the_tick(bench: Bench) -> None:
    bench.stands()
    bench.pod("pod-1")
    gpu, used = GpuSample(bench.now, 1, 0.9), UsageSample(bench.now, cpu=0.5)
    place = ("demo", "pod-1")

    async def gpus() -> Mapping[tuple[str, str], GpuSample]:
        return {place: gpu, ("demo", "other"): gpu}

    async def usage() -> Mapping[tuple[str, str], UsageSample]:
        return {place: used}

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(self) for self in (bench.loop.follow_gpus(gpus), bench.loop.follow_usage(usage))]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
    await bench.tick()
    assert (bench.seen().gpus, bench.seen().usage) == ({"pod-1": gpu}, {"pod-1": used})


async def test_per_node_servers_are_watched_and_not_scaled(bench: Bench) -> None:
    key = bench.stands(mode=None)
    bench.pod("pod-1")
    await bench.tick()
    advice = bench.loop.advice(key, "uid-phi")
    assert advice is not None
    assert (advice.decision, advice.health.quality) == (None, "Fresh")
    assert len(bench.seen().replicas) == 1


async def test_in_flight_is_of_fresh_answers_only(bench: Bench) -> None:
    key = bench.stands()
    engines = {
        "pod-1": EngineSample(at=bench.now + 5, running=2.0, waiting=1.0),
        "pod-2": EngineSample(at=bench.now - 60, running=0.0),
        "pod-3": EngineSample(at=bench.now + 5),
    }
    bench.looks[key] = (engines, None, 0)
    await bench.tick()
    assert bench.loop.in_flight(key) == {"pod-1": 3.0}


# --- zero ------------------------------------------------------------------------------------------------------------


def demand(arrived: float, waiting: float = 0.0) -> Look:
    return {}, DemandSample(at=0.0, arrived=arrived, waiting=waiting, sources=1, answered=1), 1


@pytest.mark.parametrize(("then", "woken"), [(demand(7), False), (demand(8), True), (demand(7, 1), True)])
async def test_servers_at_zero_are_looked_at_in_between(bench: Bench, then: Look, woken: bool) -> None:
    key = bench.stands(wanted=0, goal=Goal(minimum=0))
    bench.stands("awake")
    bench.looks[key] = demand(7)
    await bench.tick()
    bench.script.target = 1
    bench.looks[key] = then
    bench.woken.clear()
    bench.now += 1
    await bench.loop.look_at_zero()
    assert [target.key.name for target in bench.targets[-1]] == ["phi"]
    assert bench.woken == ([(key, 0.0)] if woken else [])


async def test_nobody_at_zero_costs_nothing(bench: Bench) -> None:
    bench.stands()
    await bench.tick()
    await bench.loop.look_at_zero()
    assert len(bench.targets) == 1


# --- budgets ---------------------------------------------------------------------------------------------------------


async def test_two_that_grow_at_once_share_no_gpu() -> None:
    bench = Bench(demo=5)
    keys = [bench.stands(name, gpus=1) for name in ("a", "b")]
    bench.script.target = 4
    await bench.tick()
    targets = [
        advice.decision.target
        for key in keys
        if (advice := bench.loop.advice(key, f"uid-{key.name}")) and advice.decision
    ]
    assert targets == [4, 1]
    await bench.tick()  # not acted on yet, and still counted
    assert [situation.affordable for situation in bench.script.situations[-2:]] == [4, 1]


async def test_unknown_gpus_of_a_neighbour_stop_growth() -> None:
    bench = Bench(**{"*": 100})
    bench.stands(gpus=1)
    bench.stands("claims", gpus=None)
    bench.script.target = 4
    await bench.tick()
    assert bench.script.situations[0].affordable == 1
    advice = bench.loop.advice(Key("ModelServer", "demo", "phi"), "uid-phi")
    assert advice is not None
    assert not advice.budget_known


async def test_a_neighbour_that_never_worked_takes_nothing() -> None:
    bench = Bench(demo=3)
    bench.stands(gpus=1)
    bench.put({"kind": "ModelServer", "metadata": {"name": "broken", "namespace": "demo"}})
    await bench.tick()
    assert bench.script.situations[-1].affordable == 1
    bench.loop.stalls(Key("ModelServer", "demo", "broken"))
    await bench.tick()
    assert bench.script.situations[-1].affordable == 3


async def test_budgets_of_other_namespaces_do_not_matter() -> None:
    bench = Bench(elsewhere=0)
    bench.stands(gpus=1)
    await bench.tick()
    assert bench.script.situations[-1].affordable is None


# --- the loop itself -------------------------------------------------------------------------------------------------


async def test_it_ticks_until_it_is_cancelled() -> None:
    bench = Bench()
    bench.loop = ScalingLoop(
        cache=bench.cache,
        scraper=bench,
        enqueue=lambda key, seconds: None,
        metrics=bench.metrics,
        interval=0.01,
        budgets={},
        make_controller=bench.script,
    )
    bench.stands()
    task = asyncio.create_task(bench.loop.run())
    async with asyncio.timeout(5):
        await bench.looked_thrice.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.metrics.registry.get_sample_value("agentfleet_scaling_tick_seconds_count") >= 3  # type: ignore[operator]


async def test_metrics_are_of_what_is_known(bench: Bench) -> None:
    bench.metrics.registry.register(ScalingCollector(bench.loop))
    key = bench.stands()
    bench.pod("pod-1")
    bench.script.target = 3
    await bench.tick()
    page = bench.metrics.exposition().decode()
    labels = '{name="phi",namespace="demo"'
    assert f"agentfleet_scaling_desired_replicas{labels}}} 1.0" in page
    assert f"agentfleet_scaling_recommended_replicas{labels}}} 3.0" in page
    assert f"agentfleet_scaling_demand{labels}}} 3.21" in page
    assert 'action="scale_out",binding="Demand"' in page
    assert f"agentfleet_scaling_capacity_requests_per_second{labels}" not in page
    bench.loop.forget(key)
    assert "phi" not in bench.metrics.exposition().decode()


async def test_an_agent_may_be_called_as_a_server_is(bench: Bench) -> None:
    bench.metrics.registry.register(ScalingCollector(bench.loop))
    server, key, asked = bench.stands(), Key("Agent", "demo", "phi"), agent("phi", scaling={"maxReplicas": 3})
    standing = Standing("uid-agent", subject(asked), "Apply", 2, "1", agent_goal(asked))
    bench.loop.stands(key, standing)
    await bench.tick()
    [targets] = bench.targets
    assert [(target.key, target.engine) for target in targets] == [(server, "LlamaCpp"), (key, "Agent")]
    page = bench.metrics.exposition().decode()
    labels = '{name="phi",namespace="demo"}'
    assert f"agentfleet_scaling_desired_replicas{labels} 1.0" in page
    assert f"agentfleet_agent_scaling_desired_replicas{labels} 2.0" in page
    assert bench.loop.observations.history.replicas(server) is not None
    assert bench.loop.observations.history.replicas(key) is None, "reports and thresholds are those of ModelServers"


async def test_a_bug_in_reading_gpus_leaves_them_unknown(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.stands()
    bench.pod("pod-1")

    async def broken() -> Mapping[tuple[str, str], GpuSample]:
        raise KeyError("usage")

    task = asyncio.create_task(bench.loop.follow_gpus(broken))
    await asyncio.sleep(0)
    task.cancel()
    await bench.tick()
    assert bench.seen().gpus == {}
    assert "a bug in reading" in caplog.text


@pytest.mark.parametrize(("max_gpus", "told"), [(None, True), (6, True), (5, False)])
async def test_a_larger_size_has_to_be_within_the_budget(bench: Bench, max_gpus: int | None, told: bool) -> None:
    key = bench.stands(wanted=2, gpus=1, tensors=(1, 2), max_gpus=max_gpus)
    bench.script.tensor = 2
    await bench.tick()
    advice = bench.loop.advice(key, "uid-phi")
    assert advice is not None
    assert (advice.vertical is not None) is told


@pytest.mark.parametrize("seen_before", [True, False], ids=["gateway-rolled", "operator-restarted"])
async def test_a_gateway_that_is_away_wakes_nobody(bench: Bench, seen_before: bool) -> None:
    key = bench.stands(wanted=0, goal=Goal(minimum=0))
    if seen_before:
        bench.looks[key] = ({}, DemandSample(bench.now, arrived=5, waiting=0, sources=1, answered=1), 1)
        await bench.tick()
    bench.looks[key] = ({}, None, 0)
    await bench.tick()
    await bench.tick(500.0)
    assert {around.minimum for around in bench.script.situations} == {0}
    await bench.tick(200.0)
    assert bench.script.situations[-1].minimum == 1  # nobody stands before it any more
