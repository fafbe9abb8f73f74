"""What is written, and when."""

from datetime import timedelta

from agentfleet.autoscale.decision import Learnt, Step
from agentfleet.autoscale.samples import EngineSample
from agentfleet.objects import DELETION_COST
from tests.scaling.world import APPLY, ScalingWorld
from tests.world import KEY


async def test_ticks_without_news_write_nothing(world: ScalingWorld) -> None:
    await world.run(replicas=2, scaling=APPLY)
    world.cluster.writes.clear()
    woken = 0
    for _ in range(30):
        await world.tick()
        woken += len(world.enqueued)
    assert world.cluster.writes == []
    assert woken <= 1  # by the observations, once they know enough


async def test_capacity_is_kept_over_a_restart(world: ScalingWorld) -> None:
    world.script.learnt = Learnt(6.9, 500, world.seconds(), Step(0.011, 0.000079, 0.0000000512), prompt_tokens=1155.0)
    await world.run(replicas=1)
    world.now += timedelta(minutes=6)
    await world.reconcile(KEY)
    capacity = world.status["capacity"]
    assert (capacity["requestsPerSecond"], capacity["step"]["perKvToken"]) == ("6.9", "0.0000000512")
    world.start()
    await world.reconcile(KEY)
    begun = world.script.last.begun_with
    assert begun is not None
    assert (begun.requests_per_second, begun.step) == (6.9, Step(0.011, 0.000079, 0.0000000512))
    world.apply(replicas=1, llamaCpp={"threads": 3})
    await world.reconcile(KEY)
    assert world.script.last.forgotten == 1


async def test_what_became_of_a_change_is_in_history(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    await world.decide(3)
    world.script.says = "TTFT 0.4 s, foretold 0.5 s"
    await world.tick()
    assert world.scaling["history"][0]["verdict"] == "TTFT 0.4 s, foretold 0.5 s"


async def test_victims_are_marked_before_replicas_go(world: ScalingWorld) -> None:
    await world.run(replicas=3, scaling={"mode": "Manual"})
    [name] = world.deployments()

    busy = {
        f"{name}-{number}": EngineSample(at=world.seconds() + 5, running=load)
        for number, load in enumerate((2.0, 0.0, 5.0))
    }
    world.looks[KEY] = (busy, None, 0)
    await world.tick()
    world.cluster.writes.clear()
    world.apply(replicas=2, scaling={"mode": "Manual"})
    await world.reconcile(KEY)
    pods = {key.name: pod for key, pod in world.cluster.objects.items() if key.kind == "Pod"}
    costs = {pod: manifest["metadata"].get("annotations", {}).get(DELETION_COST) for pod, manifest in pods.items()}
    assert costs == {f"{name}-0": None, f"{name}-1": "-1", f"{name}-2": None}
    verbs = [verb for verb, _ in world.cluster.writes]
    assert verbs.index("apply") < verbs.index("scale")


async def test_former_pods_are_scaled_while_a_model_is_fetched_for_new_ones(world: ScalingWorld) -> None:
    await world.run(replicas=1, scaling=APPLY)
    [name] = world.deployments()
    cache = {"type": "PersistentVolume", "size": "1Gi", "preload": True}
    world.apply(replicas=1, scaling=APPLY, model={"uri": "hf://acme/other/m.gguf@main"}, cache=cache)
    await world.reconcile(KEY)
    assert world.condition("Reconciling") == ("True", "PreparingModel")
    world.script.target = 3
    await world.tick()
    assert (world.deployments(), world.scaling["desired"]) == ({name: 3}, 3)
